"""A ring of single steps in one fixed piece of memory, for algorithms that learn from transitions.

Each environment has a lane of its own, in which its episodes follow one another as rows: one row
per step, and after an episode's last step one more for what was seen last. So no observation is
held twice. Where a lane ends lies what its environment sees now, not yet acted on, which the next
step writes over.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sparl.spec import ControlSpec

REDRAWS = 32
"""How often a draw is made, as it may hit the row behind an episode. Where every other row is such
a row, all 32 hit one once in 2**32 times."""

FEWEST = 8
"""Rows of a lane that a draw is made from at least, as the newest may be no steps."""


class Row(NamedTuple):
    """One row.

    Attributes:
        obs: float32 `[obs_dim]`.
        action: float32 `[action_dim]`, in [-1, 1]; none at a final row.
        greedy: What the policy of that moment held for best, likewise, or `[0]` where nobody asks.
        reward: float32 scalar.
        terminated: The episode ended in a terminal state at this step.
        final: This is what was seen last; no step begins here.
    """

    obs: jax.Array
    action: jax.Array
    greedy: jax.Array
    reward: jax.Array
    terminated: jax.Array
    final: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Transitions:
    """Rows `added - live .. added - 1` of each of `E` lanes; row `i` lies at `i % R`.

    Attributes:
        rows: Leaves `[E, R, ...]`.
        added: Rows ever added to each lane, int32 `[E]`.
        live: Rows of each lane that are still there, int32 `[E]`, at most `R - 1`.
    """

    rows: Row
    added: jax.Array
    live: jax.Array

    @property
    def size(self) -> jax.Array:
        """Rows that are still there, of all lanes."""
        return jnp.sum(self.live)


class TransitionBatch(NamedTuple):
    """`B` steps and the `N - 1` that follow them, feature-major.

    Attributes:
        obs: `[obs_dim, B]`.
        action: `[action_dim, B]`.
        reward: `[N, B]`.
        terminated: Boolean `[N, B]`.
        included: Boolean `[N, B]`: the step belongs to the same episode and has been taken; those
            that do come first, and the first always does.
        next_obs: What was seen after each, `[N, obs_dim, B]`; what was not, is anything.
    """

    obs: jax.Array
    action: jax.Array
    reward: jax.Array
    terminated: jax.Array
    included: jax.Array
    next_obs: jax.Array


Draw = Callable[[Transitions, jax.Array], tuple[jax.Array, jax.Array]]
"""`(ring, key)` to the lanes and the logical rows of the drawn steps, int32 `[B]`."""


def empty_row(spec: ControlSpec, *, greedy: bool) -> Row:
    """A row of zeros of the right shapes and types, which keeps the `greedy` action or none."""
    return Row(
        obs=jnp.zeros(spec.obs_dim),
        action=jnp.zeros(spec.action_dim),
        greedy=jnp.zeros(spec.action_dim if greedy else 0),
        reward=jnp.zeros(()),
        terminated=jnp.zeros((), bool),
        final=jnp.zeros((), bool),
    )


def init(row: Row, *, capacity: int, num_envs: int) -> Transitions:
    """An empty ring for `capacity` rows like `row`, shared out among `num_envs` lanes."""
    rows = -(-capacity // num_envs) + 1
    return Transitions(
        rows=jax.tree.map(lambda x: jnp.zeros((num_envs, rows, *x.shape), x.dtype), row),
        added=jnp.zeros(num_envs, jnp.int32),
        live=jnp.zeros(num_envs, jnp.int32),
    )


def insert(ring: Transitions, rows: Row, count: jax.Array) -> Transitions:
    """Add rows to every lane; the oldest leave as far as they must.

    Args:
        ring: The ring.
        rows: Leaves `[E, L, ...]`, `L` less than the rows of a lane. Of lane `e` the first
            `count[e]` are added, and the one behind them is what is seen now.
        count: int32 `[E]`, below `L`.
    """
    envs, lane = ring.rows.reward.shape
    index = jnp.arange(rows.reward.shape[1])
    place = (ring.added[:, None] + index) % lane
    # What is out of range is not written.
    place = jnp.where(index <= count[:, None], place, lane)
    each = jnp.arange(envs)[:, None]

    def write(into: jax.Array, new: jax.Array) -> jax.Array:
        return into.at[each, place].set(new, mode="drop", unique_indices=False)

    return Transitions(
        rows=jax.tree.map(write, ring.rows, rows),
        added=ring.added + count,
        live=jnp.minimum(ring.live + count, lane - 1),
    )


def discard(ring: Transitions, share: jax.Array) -> Transitions:
    """Let the oldest `share` of every lane go."""
    gone = jnp.floor(share * ring.live).astype(jnp.int32)
    return replace(ring, live=ring.live - gone)


def draw(ring: Transitions, key: jax.Array, batch_size: int) -> tuple[jax.Array, jax.Array]:
    """Steps drawn uniformly and with replacement: their lanes and logical rows, int32 `[B]`.

    At least one step must be there.
    """
    bounds = jnp.cumsum(ring.live)
    draw_key, shift_key = jax.random.split(key)
    draws = jax.random.randint(draw_key, (batch_size,), 0, bounds[-1])
    # A draw that is shifted by a random number is as uniform as another one, and costs less.
    shifts = jax.random.randint(shift_key, (REDRAWS, 1), 0, bounds[-1])
    draws = (draws + shifts) % bounds[-1]
    lane = jnp.searchsorted(bounds, draws, side="right").astype(jnp.int32)
    row = (ring.added - bounds)[lane] + draws
    steps = ~ring.rows.final[lane, row % ring.rows.final.shape[1]]
    first = (jnp.argmax(steps, axis=0), jnp.arange(batch_size))
    return lane[first], row[first]


def draw_dual(
    ring: Transitions, key: jax.Array, batch_size: int, *, window: int, window_batch: int
) -> tuple[jax.Array, jax.Array]:
    """Steps drawn from all, and `window_batch` from the newest (MAST, section 3.2); see `draw`.

    Args:
        ring: The ring.
        key: Random key.
        batch_size: Steps in all.
        window: How many rows, shared out among the lanes, are the newest; at least `FEWEST` each.
        window_batch: How many steps come from these.
    """
    all_key, window_key = jax.random.split(key)
    most = max(-(-window // len(ring.live)), FEWEST)
    newest = replace(ring, live=jnp.minimum(ring.live, most))
    from_all = draw(ring, all_key, batch_size - window_batch)
    from_newest = draw(newest, window_key, window_batch)
    lane, row = map(jnp.concatenate, zip(from_all, from_newest, strict=True))
    return lane, row


DRAWS: dict[str, Callable[..., tuple[jax.Array, jax.Array]]] = {
    "uniform": draw,
    "dual": draw_dual,
    "dynamic": draw,
}
"""The ways to draw, as in `sparl.replay.draw`."""


def oldest(ring: Transitions, count: int) -> tuple[Row, jax.Array]:
    """The oldest `count` rows, lane by lane in turn, and which of them are steps that are there."""
    envs, length = ring.rows.reward.shape
    index = jnp.arange(count, dtype=jnp.int32)
    lane, nth = index % envs, index // envs
    place = ((ring.added - ring.live)[lane] + nth) % length
    rows = jax.tree.map(lambda leaf: leaf[lane, place], ring.rows)
    return rows, ~rows.final & (nth < ring.live[lane])


def read(ring: Transitions, lane: jax.Array, row: jax.Array, steps: int) -> TransitionBatch:
    """Read steps and what followed.

    Args:
        ring: The ring.
        lane: Lane of each step, `[B]`.
        row: Its logical row, `[B]`; not a final one.
        steps: `N`, how many steps to read from there.
    """
    length = ring.rows.reward.shape[1]

    def at(k: int) -> Row:
        return jax.tree.map(lambda leaf: leaf[lane, (row + k) % length], ring.rows)

    window = [at(k) for k in range(steps + 1)]
    included = [jnp.ones(row.shape, bool)]
    for k in range(1, steps):
        included.append(included[-1] & ~window[k].final & (row + k < ring.added[lane]))
    return TransitionBatch(
        obs=window[0].obs.T,
        action=window[0].action.T,
        reward=jnp.stack([each.reward for each in window[:-1]]),
        terminated=jnp.stack([each.terminated for each in window[:-1]]),
        included=jnp.stack(included),
        next_obs=jnp.stack([each.obs.T for each in window[1:]]),
    )


def at_most(batch: TransitionBatch, steps: jax.Array) -> TransitionBatch:
    """A batch of which no more than the first `steps` of each column are included."""
    first = jnp.arange(len(batch.included))[:, None] < steps
    return batch._replace(included=batch.included & first)
