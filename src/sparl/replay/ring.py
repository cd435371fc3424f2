"""A ring of whole episodes of different lengths, in one fixed piece of memory.

Episodes lie behind one another as rows, one row per step and one more for what was seen last. The
oldest leave when either their number or the rows run out. Rows are addressed by a logical address
that only ever grows; modulo the ring's size it is the place in memory, so one comparison tells
whether an episode has been overwritten.
"""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sparl.spec import EnvSpec


class Step(NamedTuple):
    """One row, as small as it gets: `n` agents, `A` actions.

    Attributes:
        obs: float16 `[n, obs_dim]`.
        state: float16 `[state_dim]`.
        avail_actions: uint8 `[n, ceil(A / 8)]`, one bit per action.
        actions: uint8 `[n]` (uint16 where there are more than 256 actions).
        greedy: What the policy of that moment held for best, of the same type.
        reward: float32 scalar.
        terminated: Boolean scalar, true at the last step of an episode that was not cut off.
    """

    obs: jax.Array
    state: jax.Array
    avail_actions: jax.Array
    actions: jax.Array
    greedy: jax.Array
    reward: jax.Array
    terminated: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Ring:
    """Episodes `added - live .. added - 1`, episode `e` described at `e % capacity`.

    Attributes:
        steps: Rows, each leaf `[rows + spare, ...]`; the spare ones are a place to write what is
            not kept.
        start: Logical address of each episode's first row, int32 `[capacity]`.
        length: Steps of each episode, int32 `[capacity]`.
        added: Episodes ever added.
        live: Episodes that are still there.
        end: Logical address behind the newest episode.
        rows: Rows that hold episodes.
    """

    steps: Step
    start: jax.Array
    length: jax.Array
    added: jax.Array
    live: jax.Array
    end: jax.Array
    rows: int = field(metadata={"static": True})


def ring_rows(spec: EnvSpec, capacity: int, reserve: float) -> int:
    """Rows that hold `capacity` episodes of `reserve` times the time limit on average.

    Never less than two of the longest episodes take.
    """
    longest = spec.episode_limit + 1
    return max(round(capacity * (reserve * spec.episode_limit + 1)), 2 * longest)


def action_type(num_actions: int) -> type:
    """The smallest type that holds an action."""
    return jnp.uint8 if num_actions <= 256 else jnp.uint16


def empty_step(spec: EnvSpec) -> Step:
    """A row of zeros of the right shapes and types."""
    n = spec.num_agents
    return Step(
        obs=jnp.zeros((n, spec.obs_dim), jnp.float16),
        state=jnp.zeros(spec.state_dim, jnp.float16),
        avail_actions=jnp.zeros((n, -(-spec.num_actions // 8)), jnp.uint8),
        actions=jnp.zeros(n, action_type(spec.num_actions)),
        greedy=jnp.zeros(n, action_type(spec.num_actions)),
        reward=jnp.zeros((), jnp.float32),
        terminated=jnp.zeros((), bool),
    )


def init(spec: EnvSpec, *, capacity: int, reserve: float) -> Ring:
    """An empty ring for at most `capacity` episodes; see `ring_rows` for `reserve`."""
    rows = ring_rows(spec, capacity, reserve)
    allocated = rows + spec.episode_limit + 1
    return Ring(
        steps=jax.tree.map(lambda x: jnp.zeros((allocated, *x.shape), x.dtype), empty_step(spec)),
        start=jnp.zeros(capacity, jnp.int32),
        length=jnp.zeros(capacity, jnp.int32),
        added=jnp.zeros((), jnp.int32),
        live=jnp.zeros((), jnp.int32),
        end=jnp.zeros((), jnp.int32),
        rows=rows,
    )


def insert(ring: Ring, episode: Step, length: jax.Array, *, keep: jax.Array | bool = True) -> Ring:
    """Add one episode; the oldest leave as far as they must.

    Args:
        ring: The ring.
        episode: Rows `[L, ...]`, `L` being one more than the longest episode. Rows up to `length`
            count, the row at `length` being what was seen last.
        length: Steps of the episode.
        keep: Where false the ring stays as it is. A traced condition costs no copy of the ring.

    Returns:
        The ring with the episode as its newest.
    """
    longest = episode.reward.shape[0]
    capacity, rows = ring.start.shape[0], ring.rows
    # An episode never wraps: where the rest of the ring is too short, it is left unused.
    place = ring.end % rows
    start = ring.end + jnp.where(place + longest > rows, rows - place, 0)

    def oldest_must_leave(live: jax.Array) -> jax.Array:
        oldest = ring.start[(ring.added - live) % capacity]
        overwritten = oldest + rows < start + longest
        return (live > 0) & (overwritten | (live == capacity))

    live = jax.lax.while_loop(oldest_must_leave, lambda live: live - 1, ring.live)
    place = jnp.where(keep, start % rows, rows)
    slot = ring.added % capacity

    def write(into: jax.Array, new: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_slice_in_dim(into, new, place, axis=0)

    def kept(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(keep, new, old)

    return replace(
        ring,
        steps=jax.tree.map(write, ring.steps, episode),
        start=ring.start.at[slot].set(kept(start, ring.start[slot])),
        length=ring.length.at[slot].set(kept(length, ring.length[slot])),
        added=kept(ring.added + 1, ring.added),
        live=kept(live + 1, ring.live),
        end=kept(start + length + 1, ring.end),
    )


def discard(ring: Ring, episodes: jax.Array) -> Ring:
    """Let the oldest `episodes` go; fewer than are there."""
    return replace(ring, live=ring.live - episodes)


def episode_lengths(ring: Ring, episodes: jax.Array) -> jax.Array:
    """Steps of each of `episodes`, which are counted from the oldest."""
    return ring.length[_slots(ring, episodes)]


def places(ring: Ring, episodes: jax.Array) -> jax.Array:
    """The first row of each of `episodes`, which are counted from the oldest."""
    return ring.start[_slots(ring, episodes)] % ring.rows


def gather(ring: Ring, episodes: jax.Array, longest: int) -> tuple[Step, jax.Array]:
    """Read episodes.

    Args:
        ring: The ring.
        episodes: Which, counted from the oldest: integers `[B]` in `[0, live)`.
        longest: Steps to read of each, at most the episode limit.

    Returns:
        Rows `[B, longest + 1, ...]`, those behind an episode's end holding anything, and the
        episodes' lengths `[B]`.
    """
    start = places(ring, episodes)

    def read(leaf: jax.Array) -> jax.Array:
        return jax.vmap(lambda s: jax.lax.dynamic_slice_in_dim(leaf, s, longest + 1))(start)

    return jax.tree.map(read, ring.steps), episode_lengths(ring, episodes)


def _slots(ring: Ring, episodes: jax.Array) -> jax.Array:
    return (ring.added - ring.live + episodes) % ring.start.shape[0]
