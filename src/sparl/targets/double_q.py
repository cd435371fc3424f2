"""Double Q-learning: the online net chooses the action, the target net values it."""

import jax
import jax.numpy as jnp

UNAVAILABLE = -9999999.0
"""The Q-value that stands for an action that cannot be taken (PyMARL's constant)."""


def greedy(q: jax.Array, avail_actions: jax.Array) -> jax.Array:
    """Which action is the best that is available: one-hot, boolean `[..., A, C]`.

    One-hot, since gathers are slow on XLA's CPU backend.
    """
    best = jnp.argmax(jnp.where(avail_actions, q, UNAVAILABLE), axis=-2, keepdims=True)
    return jnp.arange(q.shape[-2])[:, None] == best


def double_q(online_q: jax.Array, target_q: jax.Array, avail_actions: jax.Array) -> jax.Array:
    """Value of the online net's greedy available action (van Hasselt et al., AAAI 2016).

    Args:
        online_q: `[..., A, C]`.
        target_q: `[..., A, C]`.
        avail_actions: Boolean `[..., A, C]`, at least one action available in each column.

    Returns:
        `[..., C]`.
    """
    return jnp.sum(jnp.where(greedy(online_q, avail_actions), target_q, 0), axis=-2)
