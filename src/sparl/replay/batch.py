"""Episodes as the learner takes them: feature-major, zero past their end."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sparl.compute import native
from sparl.nets import inputs as net_inputs
from sparl.replay.ring import Ring, Step, gather, places


class Batch(NamedTuple):
    """`B` episodes of at most `T` steps, `n` agents, `A` actions, `C = B n` columns.

    Column `b n + a` is agent `a` of episode `b`, so that neighbours end at the same time.

    Attributes:
        inputs: Agent inputs, float16 `[T + 1, in, C]`; see `sparl.nets.inputs`.
        avail_actions: Boolean `[T + 1, A, C]`; past an episode's end all are available.
        state: float16 `[state_dim, T + 1, B]`.
        actions: Integers `[T, C]`.
        greedy: Integers `[T, C]`: what the policy that played held for best.
        reward: `[T, B]`.
        terminated: Boolean `[T, B]`.
        filled: Boolean `[T, B]`: the step belongs to the episode.
        length: int32 `[B]`, steps of each episode.
    """

    inputs: jax.Array
    avail_actions: jax.Array
    state: jax.Array
    actions: jax.Array
    greedy: jax.Array
    reward: jax.Array
    terminated: jax.Array
    filled: jax.Array
    length: jax.Array


def read_batch(ring: Ring, episodes: jax.Array, longest: int, num_actions: int) -> Batch:
    """Read episodes as a batch.

    Args:
        ring: Where from.
        episodes: Which, counted from the oldest: integers `[B]` in `[0, live)`.
        longest: `T`, no less than their longest has steps, at most the episode limit.
        num_actions: `A`; the ring holds availability as bits.
    """
    steps, length = gather(ring, episodes, longest)
    batch = to_batch(steps, length, num_actions)
    if native.unavailable():
        return batch
    # One pass from the rows to the large arrays. Compiled, what made them above is never run.
    columns = episodes.shape[0] * steps.actions.shape[-1]
    outputs = (
        jax.ShapeDtypeStruct(batch.inputs.shape, jnp.float16),
        jax.ShapeDtypeStruct(batch.state.shape, jnp.float16),
        jax.ShapeDtypeStruct((longest + 1, num_actions, columns), jnp.bool),
    )
    rows = ring.steps
    inputs, state, avail_actions = native.call("sparl_gather", outputs, batched=True)(
        rows.obs, rows.state, rows.avail_actions, rows.actions, places(ring, episodes), length
    )
    return batch._replace(inputs=inputs, state=state, avail_actions=avail_actions)


def to_batch(steps: Step, length: jax.Array, num_actions: int) -> Batch:
    """Turn rows of the ring into a batch.

    Whatever lies behind an episode's end is overwritten, so that a batch depends on its episodes
    alone and not on what the ring held before them.

    Args:
        steps: Rows `[B, T + 1, ...]`.
        length: Steps of each episode `[B]`.
        num_actions: `A`; the ring holds availability as bits.
    """
    episodes, rows, n = steps.actions.shape
    row = jnp.arange(rows)
    seen = row[:, None] <= length  # [T + 1, B], what was seen last included
    filled = row[:-1, None] < length

    def by_column(actions: jax.Array) -> jax.Array:
        actions = actions.swapaxes(0, 1).astype(jnp.int32)[:-1]  # [T, B, n]
        return jnp.where(filled[..., None], actions, 0).reshape(rows - 1, -1)

    avail = jnp.unpackbits(steps.avail_actions, axis=-1, count=num_actions)
    avail = avail.transpose(1, 3, 0, 2).astype(bool) | ~seen[:, None, :, None]
    state = steps.state.transpose(2, 1, 0)
    columns = n * episodes
    return Batch(
        inputs=_inputs(steps.obs, steps.actions, length, num_actions),
        avail_actions=avail.reshape(rows, num_actions, columns),
        state=jnp.where(seen, state, 0),
        actions=by_column(steps.actions),
        greedy=by_column(steps.greedy),
        reward=jnp.where(filled, steps.reward.T[:-1], 0),
        terminated=steps.terminated.T[:-1] & filled,
        filled=filled,
        length=length,
    )


def _inputs(obs: jax.Array, actions: jax.Array, length: jax.Array, num_actions: int) -> jax.Array:
    """Agent inputs `[T + 1, in, C]` from `[B, T + 1, n, obs_dim]` and `[B, T + 1, n]`."""
    _, rows, n, obs_dim = obs.shape
    seen = jnp.arange(rows)[:, None] <= length
    obs = obs.transpose(1, 3, 0, 2)  # [T + 1, obs, B, n]
    obs = jnp.where(seen[:, None, :, None], obs, 0).reshape(rows, obs_dim, -1)
    # There is no last action at the first step, nor past the end.
    last = actions.swapaxes(0, 1).astype(jnp.int32)[:-1]  # [T, B, n]
    last = jnp.where(seen[1:, :, None], last, net_inputs.NO_ACTION).reshape(rows - 1, -1)
    last = jnp.concatenate([jnp.full_like(last[:1], net_inputs.NO_ACTION), last])
    return net_inputs.agent_inputs(obs, last, n, num_actions)
