"""SET: grow at random (Mocanu et al., Nature Communications 2018)."""

import jax

from sparl.topology.drop_grow import drop_and_grow


def set_(
    key: jax.Array,
    weight: jax.Array,
    mask: jax.Array,
    gradient: jax.Array,
    fraction: jax.Array | float,
) -> jax.Array:
    """Drop by magnitude, grow uniformly at random among the places without a link.

    Args:
        key: Random key.
        weight: `[out, in]`.
        mask: Active links, boolean `[out, in]`.
        gradient: Not used.
        fraction: Share of the links to move.

    Returns:
        The new mask.
    """
    del gradient
    return drop_and_grow(weight, mask, jax.random.uniform(key, weight.shape), fraction)
