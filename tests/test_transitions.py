"""The ring of transitions against lists."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sparl.replay import transitions
from sparl.replay.transitions import Row
from sparl.spec import ControlSpec

SPEC = ControlSpec(obs_dim=2, action_dim=1, episode_limit=9)


class Lanes:
    """Environments whose observations count, and the rows that they leave behind."""

    def __init__(self, count, seed):
        self.rng = np.random.default_rng(seed)
        self.rows = [[] for _ in range(count)]
        self.now = [1000.0 * e for e in range(count)]

    def play(self, steps):
        """Rows `[E, L]` of some steps of each, as a rollout hands them over."""
        fresh = [[] for _ in self.rows]
        for e, rows in enumerate(fresh):
            for _ in range(steps):
                ended, terminated = self.rng.random() < 0.3, self.rng.random() < 0.5
                rows.append((self.now[e], False, bool(ended and terminated)))
                self.now[e] += 1
                if ended:
                    rows.append((self.now[e], True, False))
                    self.now[e] += 1
        longest = 2 * steps + 1
        count = [len(rows) for rows in fresh]
        for e, rows in enumerate(fresh):
            self.rows[e] += rows
            rows.append((self.now[e], False, False))
            rows.extend([(-1.0, False, False)] * (longest - len(rows)))
        return as_rows(*np.moveaxis(np.array(fresh), -1, 0)), np.array(count, np.int32)


def as_rows(obs, final, terminated):
    obs = np.asarray(obs, np.float32)
    return Row(
        obs=jnp.stack([obs, -obs], axis=-1),
        action=jnp.asarray(obs[..., None]) / 2,
        greedy=jnp.asarray(obs[..., None]) / 4,
        reward=jnp.asarray(obs) * 10,
        terminated=jnp.asarray(terminated, bool),
        final=jnp.asarray(final, bool),
    )


insert = jax.jit(transitions.insert)
draw = jax.jit(transitions.draw, static_argnums=2)
read = jax.jit(transitions.read, static_argnums=3)


def filled(envs, capacity, chunks, seed=0):
    lanes = Lanes(envs, seed)
    ring = transitions.init(
        transitions.empty_row(SPEC, greedy=True), capacity=capacity, num_envs=envs
    )
    for _ in range(chunks):
        ring = insert(ring, *lanes.play(4))
    return lanes, ring


@pytest.mark.parametrize(("envs", "capacity", "chunks"), [(1, 40, 3), (1, 40, 30), (3, 60, 17)])
def test_windows_are_what_was_played(envs, capacity, chunks):
    lanes, ring = filled(envs, capacity, chunks)
    assert ring.live.tolist() == [min(len(rows), -(-capacity // envs)) for rows in lanes.rows]
    lane, row = draw(ring, jax.random.key(1), 400)
    batch = read(ring, lane, row, 3)
    for b, (e, i) in enumerate(zip(lane.tolist(), row.tolist(), strict=True)):
        rows = [*lanes.rows[e], (lanes.now[e], False, False)]
        assert len(lanes.rows[e]) - ring.live[e] <= i < len(lanes.rows[e])
        assert not rows[i][1]
        assert batch.obs[0, b] == rows[i][0] == -batch.obs[1, b] == 2 * batch.action[0, b]
        going = True
        for k in range(3):
            going = going and (k == 0 or (i + k < len(lanes.rows[e]) and not rows[i + k][1]))
            assert batch.included[k, b] == going
            if going:
                assert batch.reward[k, b] == 10 * rows[i + k][0]
                assert batch.terminated[k, b] == rows[i + k][2]
                assert batch.next_obs[k, 0, b] == rows[i + k + 1][0]
    first = transitions.at_most(batch, jnp.int32(2))
    np.testing.assert_array_equal(first.included[:2], batch.included[:2])
    assert not first.included[2].any()


def test_steps_are_drawn_uniformly():
    lanes, ring = filled(2, 30, 9)
    keys = jax.random.split(jax.random.key(2), 6000)
    lane, row = jax.vmap(lambda key: transitions.draw(ring, key, 10))(keys)
    lane, row = lane.reshape(-1), row.reshape(-1)
    steps = {
        (e, i)
        for e, rows in enumerate(lanes.rows)
        for i in range(len(rows) - int(ring.live[e]), len(rows))
        if not rows[i][1]
    }
    counts = dict.fromkeys(steps, 0)
    for drawn in zip(lane.tolist(), row.tolist(), strict=True):
        counts[drawn] += 1  # A row that is no step would raise here.
    share = 1 / len(steps)
    expected, sigma = 60_000 * share, (60_000 * share * (1 - share)) ** 0.5
    assert max(abs(count - expected) for count in counts.values()) < 5 * sigma


def test_the_oldest_leave():
    lanes, ring = filled(2, 30, 9)
    less = transitions.discard(ring, jnp.float32(0.1))
    assert less.live.tolist() == [int(n) - int(0.1 * int(n)) for n in ring.live]
    # More than there are, so that what is not there is told.
    found, there = transitions.oldest(less, 40)
    for k, (obs, is_step) in enumerate(zip(found.obs[:, 0].tolist(), there.tolist(), strict=True)):
        lane, nth = k % 2, k // 2
        own = lanes.rows[lane][len(lanes.rows[lane]) - int(less.live[lane]) :]
        assert is_step == (nth < len(own) and not own[nth][1])
        if is_step:
            assert obs == own[nth][0]


def test_a_share_of_a_batch_is_of_the_newest_steps():
    lanes, ring = filled(2, 60, 30)
    dual = jax.jit(
        transitions.draw_dual, static_argnums=2, static_argnames=["window", "window_batch"]
    )
    keys = jax.random.split(jax.random.key(2), 200)
    lane, row = jax.vmap(lambda key: dual(ring, key, 10, window=16, window_batch=4))(keys)
    assert lane.shape == row.shape == (200, 10)

    def steps(most):
        """Lane and row of all steps among the newest rows of each lane."""
        kept = ((e, rows, len(rows)) for e, rows in enumerate(lanes.rows))
        return {(e, i) for e, rows, n in kept for i in range(n - most, n) if not rows[i][1]}

    def drawn(columns):
        pairs = (np.asarray(x)[:, columns].ravel().tolist() for x in (lane, row))
        return set(zip(*pairs, strict=True))

    assert drawn(slice(6, None)) == steps(8)  # Of each of two lanes.
    assert drawn(slice(6)) == steps(30)


def test_the_newest_row_alone_might_be_no_step():
    _, ring = filled(1, 40, 6)
    for seed in range(20):
        lane, row = transitions.draw_dual(ring, jax.random.key(seed), 3, window=1, window_batch=3)
        assert not ring.rows.final[lane, row % ring.rows.final.shape[1]].any()
