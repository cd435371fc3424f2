"""Episodes that reach the ring are those that were played, to their last observation."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sparl import replay
from sparl.config import Config, NetworkConfig, ReplayConfig
from sparl.envs.make import INTERFACES
from sparl.methods import resolve
from sparl.nets.inputs import NO_ACTION
from sparl.train import team_program
from sparl.train.program import build
from toy import Toy, fill, numbers_of_whole_episodes

CONFIG = Config(
    env="toy:toy",
    num_envs=3,
    chunk=4,
    sparsity=0.4,
    reward_scale=2.0,
    network=NetworkConfig(hidden=8, embed=4, hypernet=8),
    replay=ReplayConfig(capacity=60, batch_size=4, window=8, window_batch=1, reserve=1.0),
)


@functools.cache
def program_of(config, lengths=(6,), env=Toy):
    """The program of a configuration, compiled once for all tests; batches have few `lengths`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(INTERFACES, "toy", lambda _: env())
        patch.setattr(team_program, "_lengths", lambda _: lengths)
        if config.method != "mast":  # The others have no use for a window.
            replay = dataclasses.replace(config.replay, window=100, window_batch=8)
            config = dataclasses.replace(config, replay=replay)
        return build(resolve(config))


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_stored_episodes_are_whole(num_seeds):
    program = program_of(dataclasses.replace(CONFIG, num_seeds=num_seeds))
    ring, played = fill(program)
    np.testing.assert_array_equal(ring.added, played)
    assert (ring.live == np.minimum(played, 60)).all()
    assert len(numbers_of_whole_episodes(ring)) > 10 * num_seeds


def test_an_episode_begins_without_memory():
    program = program_of(CONFIG)
    rollout, _, learner = program.init(program.seeds)
    begun = 0
    for _ in range(12):
        rollout, _ = program.collect(learner.params, learner.topology, rollout)
        fresh = np.asarray(rollout.steps[0]) == 0
        hidden = np.asarray(rollout.hidden[0]).reshape(8, 3, 2)  # Units, environments, agents.
        assert ((hidden == 0).all(axis=0) == fresh[:, None]).all()
        assert ((np.asarray(rollout.last_actions[0]) == NO_ACTION) == fresh[:, None]).all()
        begun += fresh.sum()
    assert begun > 0


def test_no_target_crosses_the_end_of_an_episode():
    """With values known to be huge behind the end, terminal targets stay at the reward."""
    vdn = {"algorithm": "vdn", "network": NetworkConfig(hidden=8)}
    program = program_of(dataclasses.replace(CONFIG, method="dense", **vdn))
    rollout, ring, learner = program.init(program.seeds)
    for _ in range(12):
        rollout, finished = program.collect(learner.params, learner.topology, rollout)
        ring = program.store(ring, finished, np.int32(finished.ended.sum()))
    own = jax.tree.map(lambda x: x[0], ring)
    batch = replay.to_batch(*replay.gather(own, jnp.arange(own.live), 6), 3)
    target = program.algorithm.target.returns(
        batch.reward, jnp.full_like(batch.reward, 1e6), batch.terminated, batch.filled, jnp.int32(0)
    )
    target, terminated, filled = map(np.asarray, (target, batch.terminated, batch.filled))
    assert terminated.any()
    np.testing.assert_array_equal(target[terminated], np.asarray(batch.reward)[terminated])
    last = filled & ~np.concatenate([filled[1:], np.zeros_like(filled[:1])])
    cut_off = last & ~terminated
    assert cut_off.any()
    assert (target[cut_off] > 9e5).all()
    # Every episode ends once, in one of the two ways.
    np.testing.assert_array_equal(last.sum(axis=0), 1)


def test_exploration_is_uniform_over_available_actions():
    program = program_of(dataclasses.replace(CONFIG, num_envs=64, chunk=50))
    rollout, _, learner = program.init(program.seeds)
    _, finished = program.collect(learner.params, learner.topology, rollout)
    steps = jax.tree.map(lambda x: np.asarray(x[0, 6:]), finished.rows)
    even = steps.state[..., 1] % 2 == 0
    for mask, actions in ((even, 3), (~even, 2)):
        chosen = steps.actions[mask].ravel()
        share = np.bincount(chosen, minlength=3) / chosen.size
        np.testing.assert_allclose(share[:actions], 1 / actions, atol=0.03)
