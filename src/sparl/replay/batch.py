"""Episodes as the learner takes them: feature-major, 32-bit, zero past their end."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sparl.nets import inputs as net_inputs
from sparl.replay.ring import Step


class Batch(NamedTuple):
    """`B` episodes of at most `T` steps, `n` agents, `A` actions, `C = n B` columns.

    Columns of agents are ordered agent by agent: column `a B + b` is agent `a` of episode `b`.

    Attributes:
        inputs: Agent inputs `[T + 1, in, C]`; see `sparl.nets.inputs`.
        avail_actions: Boolean `[T + 1, A, C]`; past an episode's end all are available.
        state: `[state_dim, T + 1, B]`.
        actions: Integers `[T, C]`.
        reward: `[T, B]`.
        terminated: Boolean `[T, B]`.
        filled: Boolean `[T, B]`: the step belongs to the episode.
    """

    inputs: jax.Array
    avail_actions: jax.Array
    state: jax.Array
    actions: jax.Array
    reward: jax.Array
    terminated: jax.Array
    filled: jax.Array


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

    obs = steps.obs.transpose(1, 3, 2, 0).astype(jnp.float32)  # [T + 1, obs, n, B]
    obs = jnp.where(seen[:, None, None], obs, 0)
    actions = steps.actions.transpose(1, 2, 0).astype(jnp.int32)[:-1]  # [T, n, B]
    actions = jnp.where(filled[:, None], actions, 0)
    # There is no last action at the first step, nor past the end.
    last = jnp.where(filled[:, None], actions, net_inputs.NO_ACTION)
    last = jnp.concatenate([jnp.full_like(last[:1], net_inputs.NO_ACTION), last])

    avail = jnp.unpackbits(steps.avail_actions, axis=-1, count=num_actions)
    avail = avail.transpose(1, 3, 2, 0).astype(bool) | ~seen[:, None, None]
    state = steps.state.transpose(2, 1, 0).astype(jnp.float32)
    columns = n * episodes
    return Batch(
        inputs=net_inputs.agent_inputs(
            obs.reshape(rows, -1, columns), last.reshape(rows, columns), n, num_actions
        ),
        avail_actions=avail.reshape(rows, num_actions, columns),
        state=jnp.where(seen, state, 0),
        actions=actions.reshape(rows - 1, columns),
        reward=jnp.where(filled, steps.reward.T[:-1], 0),
        terminated=steps.terminated.T[:-1] & filled,
        filled=filled,
    )
