"""The rule of DS-TD3: drop weak positive and weak negative links (Sokar et al., IJCAI 2022)."""

import jax
import jax.numpy as jnp

from sparl.topology.top import top_mask


def ds(
    key: jax.Array,
    weight: jax.Array,
    mask: jax.Array,
    gradient: jax.Array,
    fraction: jax.Array | float,
) -> jax.Array:
    """Drop the links nearest to zero from above and from below; grow as many at random.

    Of the positive weights the smallest `int(fraction * their number)` go, and of the negative ones
    likewise, so that neither sign starves the other; links that hold zero go, too. New links are
    drawn uniformly from all places without one, those just dropped included.

    Args:
        key: Random key.
        weight: `[out, in]`.
        mask: Active links, boolean `[out, in]`.
        gradient: Not used.
        fraction: Share of the links to move.

    Returns:
        The new mask, with exactly as many links.
    """
    del gradient
    survives = jnp.zeros_like(mask)
    for side in (mask & (weight > 0), mask & (weight < 0)):
        links = jnp.sum(side)
        dropped = jnp.floor(fraction * links).astype(links.dtype)
        survives |= top_mask(jnp.abs(weight), links - dropped, where=side)
    grown = jnp.sum(mask) - jnp.sum(survives)
    promise = jax.random.uniform(key, weight.shape)
    return survives | top_mask(promise, grown, where=~survives)
