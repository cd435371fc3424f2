"""RigL: grow where the loss asks for a link (Evci et al., ICML 2020)."""

import jax
import jax.numpy as jnp

from sparl.topology.drop_grow import drop_and_grow


def rigl(
    key: jax.Array,
    weight: jax.Array,
    mask: jax.Array,
    gradient: jax.Array,
    fraction: jax.Array | float,
) -> jax.Array:
    """Drop by magnitude, grow by the magnitude of the dense gradient.

    Args:
        key: Not used.
        weight: `[out, in]`.
        mask: Active links, boolean `[out, in]`.
        gradient: Gradient of the loss in every weight, active or not, `[out, in]`.
        fraction: Share of the links to move.

    Returns:
        The new mask.
    """
    del key
    return drop_and_grow(weight, mask, jnp.abs(gradient), fraction)
