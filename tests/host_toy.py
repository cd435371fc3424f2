"""The toy environment on the host, and what can go wrong with one."""

import dataclasses
import os
import subprocess
import sys
import threading
import time

import numpy as np

from sparl.envs import Smac, TimeStep
from toy import Toy

UNLUCKY = 31
"""Episodes whose number is 3 modulo this one go wrong."""


class HostToy:
    """As `toy.Toy`, with the number of an episode from its seed."""

    spec = Toy.spec

    def reset(self, seed):
        self.number, self.steps = seed % 100, 0
        return self._seen(0.0)

    def step(self, actions):
        reward = self.number + self.steps / 10
        self.steps += 1
        if self.number % UNLUCKY == 3 and self.steps == 2:
            self.go_wrong()
        return self._seen(reward)

    def close(self):
        pass

    def go_wrong(self):
        pass

    def _seen(self, reward):
        ended = self.steps == 2 + self.number % 5
        truncated = ended and self.steps == 6
        avail = np.ones((2, 3), bool)
        avail[:, 2] = self.steps % 2 == 0
        return TimeStep(
            obs=np.array([[self.number, self.steps, i] for i in range(2)]),
            state=np.array([self.number, self.steps]),
            avail_actions=avail,
            reward=reward,
            terminated=ended and not truncated,
            truncated=truncated,
            won=ended and not truncated and self.number % 2 == 0,
        )


class Raising(HostToy):
    def go_wrong(self):
        raise RuntimeError("the game is lost")


class Dying(HostToy):
    def go_wrong(self):
        print("a last word", flush=True)
        os._exit(3)


class Hanging(HostToy):
    def go_wrong(self):
        time.sleep(1000)


class HangingAtOnce(HostToy):
    def step(self, actions):
        time.sleep(1000)


class Game(HostToy):
    """Dies, and has started a process that does not end by itself."""

    def go_wrong(self):
        subprocess.Popen(["sleep", "4242.5"])
        os._exit(3)


class Lingering(HostToy):
    """Raises what ends an interpreter, which a thread of its own then keeps."""

    def go_wrong(self):
        threading.Thread(target=time.sleep, args=(1000,)).start()
        os.close(int(sys.argv[2]))  # Its socket.
        raise SystemExit


class Large(HostToy):
    def _seen(self, reward):
        seen = super()._seen(reward)
        return seen._replace(obs=seen.obs + 1e5)


class NoClose:
    spec = Toy.spec

    def reset(self, seed):
        return HostToy().reset(seed)

    def step(self, actions):
        return HostToy().step(actions)


class NoSpec(HostToy):
    spec = None


def empty_spec():
    return dataclasses.replace(Toy.spec, num_agents=0)


class Gym(HostToy):
    def step(self, actions):
        return np.zeros((2, 3)), 0.0, False, False, {}


def broken_factory():
    raise RuntimeError("no licence")


NUMBER = 3


class Hopeless(HostToy):
    def step(self, actions):
        raise RuntimeError("there is no game")


class Slow(HostToy):
    def step(self, actions):
        time.sleep(0.02)
        return super().step(actions)


class Narrow(HostToy):
    def _seen(self, reward):
        seen = super()._seen(reward)
        return seen._replace(obs=seen.obs[:, :2])


class Endless(HostToy):
    """Never says that it has ended."""

    def _seen(self, reward):
        return super()._seen(reward)._replace(terminated=False, truncated=False)


class NoEnvironment:
    pass


class Battle:
    """The toy with the SMAC interface; a lost game is reported as SMAC reports it."""

    def __init__(self, seed, toy=None):
        self.rng = np.random.default_rng(seed)
        self.toy = toy or HostToy()
        if toy is None:
            self.toy.go_wrong = self._lose_game
        self.lost = False

    def get_env_info(self):
        spec = self.toy.spec
        return {
            "n_agents": spec.num_agents,
            "n_actions": spec.num_actions,
            "obs_shape": spec.obs_dim,
            "state_shape": spec.state_dim,
            "episode_limit": spec.episode_limit,
        }

    def reset(self):
        self.seen = self.toy.reset(int(self.rng.integers(2**32)))
        return self.get_obs(), self.get_state()

    def step(self, actions):
        assert all(type(action) is int for action in actions)
        self.seen = self.toy.step(actions)
        if self.lost:
            return 0, True, {}
        info = {"battle_won": self.seen.won}
        if self.seen.truncated:
            info["episode_limit"] = True
        return self.seen.reward, self.seen.terminated or self.seen.truncated, info

    def get_obs(self):
        return list(self.seen.obs)

    def get_state(self):
        return self.seen.state

    def get_avail_actions(self):
        return self.seen.avail_actions.astype(int).tolist()

    def close(self):
        pass

    def _lose_game(self):
        self.lost = True


def battle():
    return Smac(Battle)


def crashing_battle():
    return Smac(lambda seed: Battle(seed, Dying()))


def hanging_battle():
    return Smac(lambda seed: Battle(seed, Hanging()))
