"""What a checkpoint restores goes on exactly as what it was taken from."""

import dataclasses

import jax
import numpy as np
import pytest

from sparl.config import ReplayConfig
from sparl.errors import SparlError
from sparl.train import snapshot
from sparl.train.checkpoint import CheckpointStore
from sparl.train.program import TrainState
from test_rollout import CONFIG, program_of

CONFIG = dataclasses.replace(
    CONFIG,
    replay=ReplayConfig(capacity=20, batch_size=4, window=8, window_batch=1, reserve=1.0),
)


def advance(program, state, chunks):
    seeds = program.config.num_seeds
    rollout, ring, learner = state
    for _ in range(chunks):
        rollout, finished = program.collect(learner.params, learner.topology, rollout)
        counts = np.asarray(finished.ended).reshape(seeds, -1).sum(axis=1)
        ring = program.store(ring, finished, np.int32(counts.max()))
        if (ring.live >= 4).all():
            learner, _ = program.learn(learner, ring, counts.astype(np.int32), np.int32(10))
            if program.config.method == "mast":
                learner, _ = program.evolve(learner, ring, np.int32(10), np.ones(seeds, bool))
    return TrainState(rollout, ring, learner)


def save(store, step, state):
    segments, live_from = snapshot.new_rows(state.ring, store.ends())
    store.save(step, snapshot.state_arrays(state), {}, segments, live_from)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "num_seeds"), [("mast", 1), ("mast", 2), ("dense", 1)])
def test_a_restored_state_goes_on_bit_for_bit(method, num_seeds, tmp_path):
    program = program_of(dataclasses.replace(CONFIG, method=method, num_seeds=num_seeds))
    template = jax.eval_shape(program.init, program.seeds)
    state = program.init(program.seeds)
    store = CheckpointStore(tmp_path)
    # Several saves, over more than a lap of the ring, so that segments are shared and evicted.
    for step in range(5):
        state = advance(program, state, 4)
        save(store, step, state)
    store.close()
    assert (state.ring.added > 40).all()

    restored = snapshot.restore(template, CheckpointStore(tmp_path).restore())
    ends = [
        snapshot.state_arrays(advance(program, begin, 6))
        for begin in (restored, jax.tree.map(lambda x: x.copy(), state))
    ]
    assert ends[0].keys() == ends[1].keys()
    for name, array in ends[0].items():
        np.testing.assert_array_equal(array, ends[1][name], err_msg=name)


def test_only_the_online_network_is_read_for_evaluation(tmp_path):
    program = program_of(dataclasses.replace(CONFIG, method="mast"))
    state = program.init(program.seeds)
    store = CheckpointStore(tmp_path)
    save(store, 0, state)
    store.close()
    checkpoint = CheckpointStore(tmp_path).restore(log=False)
    assert checkpoint.segments == {}
    learner = snapshot.restore_learner(program.template, checkpoint)
    jax.tree.map(np.testing.assert_array_equal, learner.params, state.learner.params)
    jax.tree.map(np.testing.assert_array_equal, learner.topology, state.learner.topology)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    program = program_of(dataclasses.replace(CONFIG, method="mast"))
    other = program_of(dataclasses.replace(CONFIG, method="mast", num_envs=5))
    store = CheckpointStore(tmp_path)
    save(store, 0, program.init(program.seeds))
    store.close()
    template = jax.eval_shape(other.init, other.seeds)
    with pytest.raises(SparlError, match="does not fit this configuration"):
        snapshot.restore(template, CheckpointStore(tmp_path).restore())
