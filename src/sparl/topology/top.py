"""The largest entries of an array, as a mask, for a number of them that may be traced."""

import jax
import jax.numpy as jnp


def top_mask(score: jax.Array, count: jax.Array | int, where: jax.Array | None = None) -> jax.Array:
    """Where the `count` largest entries of `score` are; ties go to the first in row-major order.

    Bisects the threshold on the bits of the floats, which are ordered as the numbers are. A sort
    would give the same, but XLA's CPU backend is slow to compile one for every layer.

    Args:
        score: Floats, nowhere negative.
        count: How many entries to mark, at most the number of candidates.
        where: Boolean array of the candidates; all by default.

    Returns:
        A boolean array of the shape of `score`, true at exactly `count` places.
    """
    # The sign bit of -0 would order it below everything else.
    bits = jax.lax.bitcast_convert_type(jnp.abs(score).astype(jnp.float32), jnp.int32)
    bits = bits if where is None else jnp.where(where, bits, -1)

    def halve(bounds: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple, None]:
        low, high = bounds  # at least `count` entries reach `low`, fewer reach `high`
        middle = low + (high - low) // 2
        enough = jnp.sum(bits >= middle) >= count
        return (jnp.where(enough, middle, low), jnp.where(enough, high, middle)), None

    start = (jnp.int32(0), jnp.int32(jnp.iinfo(jnp.int32).max))
    (threshold, _), _ = jax.lax.scan(halve, start, length=31)
    above = bits > threshold
    ties = (bits == threshold).reshape(-1)
    wanted = count - jnp.sum(above)
    return above | (ties & (jnp.cumsum(ties) <= wanted)).reshape(score.shape)
