"""What is played is taken down as it was, in every environment by itself."""

import dataclasses

import jax
import numpy as np

from sparl.envs import TimeStep
from sparl.methods import resolve
from sparl.spec import ControlSpec
from sparl.train.program import build
from test_control_run import pendulum


class Scripted:
    """An episode that ends after two steps, one that is cut off after three, one that breaks."""

    spec = ControlSpec(obs_dim=1, action_dim=1, episode_limit=3)
    episode = 0

    def reset(self, seed):
        Scripted.episode += 1
        self.steps = 0
        return self._seen(terminated=False)

    def step(self, action):
        self.steps += 1
        if Scripted.episode == 3 and self.steps == 2:
            raise RuntimeError("broken")
        return self._seen(terminated=Scripted.episode == 1 and self.steps == 2)

    def close(self):
        pass

    def _seen(self, *, terminated):
        obs = np.array([10.0 * Scripted.episode + self.steps])
        nothing = np.zeros(0)
        return TimeStep(obs, nothing, nothing, float(self.steps), terminated, False, False)


class Uneven:
    """Two environments, whose episodes have three steps and five; the other's second one breaks."""

    spec = ControlSpec(obs_dim=1, action_dim=1, episode_limit=9)

    def __init__(self):
        self.env = None

    def reset(self, seed):
        if self.env is None:
            self.env = next(Uneven.envs)
        Uneven.episodes[self.env] += 1
        self.steps = 0
        return self._seen()

    def step(self, action):
        self.steps += 1
        if (self.env, Uneven.episodes[self.env], self.steps) == (1, 2, 2):
            raise RuntimeError("broken")
        return self._seen()

    def close(self):
        pass

    def _seen(self):
        obs = np.array([10.0 * Uneven.episodes[self.env] + self.steps])
        nothing, ended = np.zeros(0), self.steps == (3, 5)[self.env]
        return TimeStep(obs, nothing, nothing, float(self.steps), ended, False, False)


def collected(name, **changed):
    """What is played in ten steps of an environment of this module, stored and as it came."""
    config = pendulum("td3", "dense", total_steps=2000)
    config = dataclasses.replace(
        config,
        env=f"python:test_control_player:{name}",
        chunk=10,
        replay=dataclasses.replace(config.replay, kind="dynamic"),
        control=dataclasses.replace(config.control, min_replay=5000),
        **changed,
    )
    program = build(resolve(config))
    try:
        rollout, ring, learner = program.init(program.seeds)
        _, played = program.collect(learner.params, learner.topology, rollout)
    finally:
        program.close()
    return program.store(ring, played, np.int32(0)), played


def test_episodes_that_end_apart_are_taken_down_apart():
    Uneven.envs, Uneven.episodes = iter((0, 1, 1)), [0, 0]
    ring, played = collected("Uneven", num_envs=2)
    expected = (  # What was seen; which rows are final; which are terminal.
        ([10, 11, 12, 13, 20, 21, 22, 23, 30, 31, 32, 33, 40, 41], (3, 7, 11), (2, 6, 10)),
        ([10, 11, 12, 13, 14, 15, 20, 21, 30, 31, 32, 33], (5, 7), (4,)),
    )
    for lane, (seen, final, terminal) in enumerate(expected):
        count = int(ring.added[0, lane])
        assert count == len(seen) - 1
        rows = jax.tree.map(lambda x, lane=lane: np.asarray(x[0, lane]), ring.rows)
        assert rows.obs[: count + 1, 0].tolist() == seen
        assert np.flatnonzero(rows.final[:count]).tolist() == list(final)
        assert np.flatnonzero(rows.terminated[:count]).tolist() == list(terminal)
        steps = [i for i in range(count) if i not in final]
        assert (rows.reward[steps] == np.array(seen)[steps] % 10 + 1).all()
        assert np.abs(rows.action[steps]).all()
    assert np.argwhere(played.ended[0]).tolist() == [[2, 0], [4, 1], [5, 0], [8, 0]]


def test_every_step_is_taken_down_as_it_was():
    Scripted.episode = 0
    ring, played = collected("Scripted")
    count = int(ring.added[0, 0])
    rows = jax.tree.map(lambda x: x[0, 0, : count + 1].tolist(), ring.rows)
    assert [obs[0] for obs in rows.obs] == [10, 11, 12, 20, 21, 22, 23, 30, 31, 40, 41, 42, 43, 50]
    assert rows.final == [i in (2, 6, 8, 12) for i in range(14)]
    assert rows.terminated == [i == 1 for i in range(14)]
    assert [rows.reward[i] for i in (0, 1, 3, 4, 5, 7, 9, 10, 11)] == [1, 2, 1, 2, 3, 1, 1, 2, 3]
    # The first steps are random, and count as the policy's.
    assert rows.greedy[:2] == rows.action[:2]
    assert played.broken.item() == 1
    assert played.ended[0, :, 0].tolist() == [i in (1, 4, 9) for i in range(10)]
