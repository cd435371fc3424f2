"""Double Q-learning: the online net chooses the action, the target net values it."""

import jax
import jax.numpy as jnp

UNAVAILABLE = -9999999.0
"""The Q-value that stands for an action that cannot be taken (PyMARL's constant)."""


def double_q(online_q: jax.Array, target_q: jax.Array, avail_actions: jax.Array) -> jax.Array:
    """Value of the online net's greedy available action (van Hasselt et al., AAAI 2016).

    Args:
        online_q: `[..., A, C]`.
        target_q: `[..., A, C]`.
        avail_actions: Boolean `[..., A, C]`, at least one action available in each column.

    Returns:
        `[..., C]`.
    """
    greedy = jnp.argmax(jnp.where(avail_actions, online_q, UNAVAILABLE), axis=-2, keepdims=True)
    # A one-hot product: gathers are slow on XLA's CPU backend.
    actions = jnp.arange(target_q.shape[-2])[:, None]
    return jnp.sum(jnp.where(actions == greedy, target_q, 0), axis=-2)
