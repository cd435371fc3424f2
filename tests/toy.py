"""A tiny environment whose every number can be foretold."""

import jax
import jax.numpy as jnp
import numpy as np

from sparl import replay
from sparl.envs import TimeStep
from sparl.spec import EnvSpec


class Toy:
    """Two agents, three actions; the state counts steps and remembers the reset's number.

    An episode drawn as `number` lasts `2 + number % 5` steps and then terminates, unless that is
    the limit of 6, where it is cut off. Action 2 is available at even steps only. The observation
    is (number, step, agent); the reward of a step is number + step / 10.
    """

    spec = EnvSpec(num_agents=2, num_actions=3, obs_dim=3, state_dim=2, episode_limit=6)

    def reset(self, key):
        state = {"number": jax.random.randint(key, (), 0, 100), "step": jnp.int32(0)}
        false = jnp.zeros((), bool)
        return state, self._seen(state, jnp.float32(0), false, false)

    def step(self, key, state, actions):
        reward = state["number"] + state["step"] / 10
        state = state | {"step": state["step"] + 1}
        ended = state["step"] == 2 + state["number"] % 5
        truncated = ended & (state["step"] == 6)
        return state, self._seen(state, reward, ended & ~truncated, truncated)

    def _seen(self, state, reward, terminated, truncated):
        number, step = state["number"].astype(jnp.float32), state["step"].astype(jnp.float32)
        obs = jnp.stack([jnp.stack([number, step, jnp.float32(i)]) for i in range(2)])
        avail = jnp.ones((2, 3), bool).at[:, 2].set(state["step"] % 2 == 0)
        return TimeStep(
            obs=obs,
            state=jnp.stack([number, step]),
            avail_actions=avail,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            won=terminated & (state["number"] % 2 == 0),
        )


def fill(program, chunks=12):
    """A ring of what a program plays, and how many episodes ended, by seed."""
    rollout, ring, learner = program.init(program.seeds)
    played = 0
    for _ in range(chunks):
        rollout, finished = program.collect(learner.params, learner.topology, rollout)
        ended = np.asarray(finished.ended)
        counts = ended.reshape(len(ended), -1).sum(axis=1)
        ring = program.store(ring, finished, np.int32(counts.max()))
        played = played + counts
    return ring, played


def numbers_of_whole_episodes(ring):
    """Check every episode of a ring, rewards having been doubled; its (seed, number)s."""
    numbers = set()
    for seed in range(len(ring.added)):
        own = jax.tree.map(lambda x, seed=seed: x[seed], ring)
        steps, lengths = replay.gather(own, jnp.arange(own.live), 6)
        for i, length in enumerate(lengths.tolist()):
            number = int(steps.obs[i, 0, 0, 0])
            numbers.add((seed, number))
            assert length == 2 + number % 5
            for t in range(length + 1):  # the last observation included
                for agent in range(2):
                    np.testing.assert_array_equal(steps.obs[i, t, agent], [number, t, agent])
                np.testing.assert_array_equal(steps.state[i, t], [number, t])
                avail = np.unpackbits(np.asarray(steps.avail_actions[i, t]), axis=-1, count=3)
                np.testing.assert_array_equal(avail, [[1, 1, t % 2 == 0]] * 2)
            rewards = 2 * (number + np.arange(length) / 10)
            np.testing.assert_allclose(steps.reward[i, :length], rewards, rtol=1e-6)
            # A time limit is no end: it bootstraps.
            ends = [False] * (length - 1) + [length != 6]
            np.testing.assert_array_equal(steps.terminated[i, :length], ends)
            chosen = np.asarray(steps.actions[i, :length])
            assert all(chosen[t].max() < 2 for t in range(1, length, 2))
    return numbers
