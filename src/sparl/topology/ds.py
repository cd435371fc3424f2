"""The rules of DS-TD3 (Sokar et al., IJCAI 2022).

Its links are dropped for their weakness among those of their own sign; the last change of the
topology replaces none of them; and target networks follow with links of their own.
"""

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
    survives = _strongest_of_each_sign(weight, mask, fraction)
    grown = jnp.sum(mask) - jnp.sum(survives)
    promise = jax.random.uniform(key, weight.shape)
    return survives | top_mask(promise, grown, where=~survives)


def prune(weight: jax.Array, mask: jax.Array, fraction: jax.Array | float, count: int) -> jax.Array:
    """Drop as `ds` does and grow nothing, until exactly `count` links are left.

    Where rounding by sign, or links that hold zero, would leave others than these, the strongest
    links of any sign decide.

    Args:
        weight: `[out, in]`.
        mask: Active links, boolean `[out, in]`.
        fraction: Share of the links to drop.
        count: How many stay, at most as many as there are.

    Returns:
        The new mask.
    """
    survives = _strongest_of_each_sign(weight, mask, fraction)
    found, size = jnp.sum(survives), jnp.abs(weight)
    return top_mask(size, jnp.minimum(found, count), where=survives) | top_mask(
        size, jnp.maximum(count - found, 0), where=mask & ~survives
    )


def trim(target: jax.Array, target_mask: jax.Array, mask: jax.Array) -> jax.Array:
    """The links that a target network keeps when it has come to have too many.

    Args:
        target: The target's weight `[out, in]`, which has followed the online one everywhere.
        target_mask: The links that it had, boolean `[out, in]`.
        mask: The online network's links.

    Returns:
        Of all these the strongest in the target, as many as the online network has.
    """
    return top_mask(jnp.abs(target), jnp.sum(mask), where=target_mask | mask)


def _strongest_of_each_sign(
    weight: jax.Array, mask: jax.Array, fraction: jax.Array | float
) -> jax.Array:
    """The links but for the weakest share of the positive and of the negative ones."""
    survives = jnp.zeros_like(mask)
    for side in (mask & (weight > 0), mask & (weight < 0)):
        links = jnp.sum(side)
        dropped = jnp.floor(fraction * links).astype(links.dtype)
        survives |= top_mask(jnp.abs(weight), links - dropped, where=side)
    return survives
