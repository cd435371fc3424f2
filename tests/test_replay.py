"""The ring against a list, the draws, and the memory that they take."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparl import replay
from sparl.replay.ring import Step, empty_step
from sparl.spec import EnvSpec
from toy import Toy

SPEC = Toy.spec
LIMIT = SPEC.episode_limit
CAPACITY = 7


def episode(number, length):
    """Rows that tell which episode and which step they are, rubbish behind the end."""
    row = np.arange(LIMIT + 1)
    mark = np.where(row <= length, 10 * number + row, -1.0)
    zeros = jax.tree.map(lambda x: np.zeros((LIMIT + 1, *x.shape), x.dtype), empty_step(SPEC))
    return zeros._replace(reward=mark.astype(np.float32))


insert = jax.jit(replay.insert)
gather = jax.jit(partial(replay.gather, longest=LIMIT))


@given(st.lists(st.tuples(st.integers(1, LIMIT), st.booleans()), max_size=40))
def test_ring_keeps_the_newest_episodes(additions):
    ring = replay.init(SPEC, capacity=CAPACITY, reserve=0.5)
    expected = []
    for number, (length, keep) in enumerate(additions):
        ring = insert(ring, episode(number, length), length, keep=keep)
        if keep:
            expected.append((number, length))
        live = int(ring.live)
        assert live <= min(CAPACITY, len(expected))
        # At least as many as fit if every episode took the longest possible room, and a lap's end.
        assert live >= min(len(expected), CAPACITY, ring.rows // (LIMIT + 1) - 1)
        steps, lengths = gather(ring, jnp.arange(CAPACITY) % max(live, 1))
        for i, (mark, steps_of_it) in enumerate(expected[len(expected) - live :]):
            rows = np.arange(steps_of_it + 1)
            assert lengths[i] == steps_of_it
            np.testing.assert_array_equal(steps.reward[i, : len(rows)], 10 * mark + rows)


def test_ring_holds_its_capacity_when_memory_allows():
    ring = replay.init(SPEC, capacity=CAPACITY, reserve=1.0)
    for number in range(50):
        ring = insert(ring, episode(number, LIMIT), LIMIT)
    # One episode's room is lost where a lap ends, and one where the next is written.
    assert int(ring.live) >= CAPACITY - 2


def test_an_insert_that_is_not_kept_changes_nothing_that_can_be_drawn():
    ring = insert(replay.init(SPEC, capacity=CAPACITY, reserve=0.5), episode(3, 4), 4)
    after = insert(ring, episode(9, 5), 5, keep=False)
    kept = jax.tree.map(lambda x: x[: ring.rows] if x.ndim else x, ring)
    still = jax.tree.map(lambda x: x[: ring.rows] if x.ndim else x, after)
    jax.tree.map(np.testing.assert_array_equal, kept, still)


def test_3s5z_fits_into_1_5_gb():
    spec = EnvSpec(num_agents=8, num_actions=13, obs_dim=205, state_dim=192, episode_limit=100)
    ring = jax.eval_shape(lambda: replay.init(spec, capacity=5000, reserve=0.75))
    assert sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(ring)) < 1.5e9


@pytest.mark.parametrize(
    ("draw", "parts"),
    [
        (partial(replay.uniform, batch_size=4), [(0, 4, 0)]),
        (partial(replay.dual, batch_size=6, window=5, window_batch=2), [(0, 4, 0), (4, 6, 5)]),
    ],
)
@pytest.mark.parametrize("live", [4, 9])
def test_draws_are_distinct_and_uniform(draw, parts, live):
    keys = jax.random.split(jax.random.key(0), 6000)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: draw(key, jnp.int32(live))))(keys))
    for begin, end, window in parts:
        part = drawn[:, begin:end]
        oldest = live - min(window or live, live)
        size = live - oldest
        assert ((part >= oldest) & (part < live)).all()
        assert all(len(set(row)) == end - begin for row in part.tolist())
        # Every place of the part is uniform up to what Floyd's order allows; the set as a whole is.
        share = np.bincount(part.ravel(), minlength=live)[oldest:] / len(keys)
        expected = (end - begin) / size
        sigma = max((expected * (1 - expected) / len(keys)) ** 0.5, 1e-9)
        assert np.abs(share - expected).max() < 5 * sigma + 1e-9


def test_batch_layout():
    """Agents lie side by side; past the end all is zero and every action available."""
    rng = np.random.default_rng(0)
    n, actions, obs_dim = 2, 10, 3
    steps = Step(
        obs=jnp.asarray(rng.normal(size=(2, 4, n, obs_dim)), jnp.float16),
        state=jnp.asarray(rng.normal(size=(2, 4, 2)), jnp.float16),
        avail_actions=jnp.packbits(jnp.asarray(rng.random((2, 4, n, actions)) < 0.5), axis=-1),
        actions=jnp.asarray(rng.integers(0, actions, (2, 4, n)), jnp.uint8),
        greedy=jnp.asarray(rng.integers(0, actions, (2, 4, n)), jnp.uint8),
        reward=jnp.asarray(rng.normal(size=(2, 4)), jnp.float32),
        terminated=jnp.ones((2, 4), bool),
    )
    batch = replay.to_batch(steps, jnp.asarray([3, 1]), actions)
    avail = np.unpackbits(np.asarray(steps.avail_actions), axis=-1, count=actions)
    for b, length in enumerate((3, 1)):
        for a in range(n):
            column = b * n + a
            for t in range(4):
                seen, last = t <= length, 0 < t <= length
                inputs = np.asarray(batch.inputs[t, :, column])
                np.testing.assert_array_equal(inputs[:obs_dim], steps.obs[b, t, a] * seen)
                one_hot = np.zeros(actions)
                if last:
                    one_hot[steps.actions[b, t - 1, a]] = 1
                np.testing.assert_array_equal(inputs[obs_dim : obs_dim + actions], one_hot)
                np.testing.assert_array_equal(inputs[obs_dim + actions :], np.eye(n)[a])
                expected = avail[b, t, a].astype(bool) | (not seen)
                np.testing.assert_array_equal(batch.avail_actions[t, :, column], expected)
                np.testing.assert_array_equal(batch.state[:, t, b], steps.state[b, t] * seen)
    np.testing.assert_array_equal(batch.filled, [[True, True], [True, False], [True, False]])
    np.testing.assert_array_equal(batch.terminated, batch.filled)
    np.testing.assert_array_equal(batch.reward, np.where(batch.filled, steps.reward.T[:3], 0))
