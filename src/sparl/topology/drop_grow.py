"""Move a layer's weakest links to more promising places, keeping their number."""

import jax
import jax.numpy as jnp

from sparl.topology.top import top_mask


def drop_and_grow(
    weight: jax.Array, mask: jax.Array, promise: jax.Array, fraction: jax.Array | float
) -> jax.Array:
    """Drop the links of smallest magnitude and grow as many where `promise` is largest.

    With `k = int(fraction * links)`: the `links - k` active weights of largest magnitude survive;
    of all other places, the `k` just dropped included, the `k` of largest promise are active next
    (RigL, Evci et al., ICML 2020, algorithm 1; RLx2, Tan et al., ICLR 2023). Ties go to the place
    that comes first in row-major order.

    Args:
        weight: `[out, in]`.
        mask: Active links, boolean `[out, in]`.
        promise: How much a link is wanted at each place, `[out, in]`, not negative.
        fraction: Share of the links to move, in [0, 1]; may be traced.

    Returns:
        The new mask, with exactly as many links.
    """
    links = jnp.sum(mask)
    moved = jnp.floor(fraction * links).astype(links.dtype)
    survives = top_mask(jnp.abs(weight), links - moved, where=mask)
    return survives | top_mask(promise, moved, where=~survives)
