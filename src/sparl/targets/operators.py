"""Values of a state from its actions' Q-values, other than the maxima that avoid overestimation."""

import jax
import jax.numpy as jnp

from sparl.targets.double_q import UNAVAILABLE


def maximum(q: jax.Array, avail_actions: jax.Array) -> jax.Array:
    """The largest available Q-value, `[..., C]` from `[..., A, C]` (Mnih et al., Nature 2015)."""
    return jnp.max(jnp.where(avail_actions, q, UNAVAILABLE), axis=-2)


def softmax(q: jax.Array, avail_actions: jax.Array, *, alpha: float) -> jax.Array:
    """The mean of available Q-values under their softmax (Song et al., ICML 2019).

    Args:
        q: Q-values `[..., A, C]`.
        avail_actions: Boolean `[..., A, C]`, at least one action available in each column.
        alpha: Temperature; 0 is the plain mean.

    Returns:
        `[..., C]`.
    """
    weights = jax.nn.softmax(alpha * q, axis=-2, where=avail_actions)
    return jnp.sum(weights * q, axis=-2)
