"""How large a share of the links each topology change moves."""

import jax
import jax.numpy as jnp


def cosine(progress: jax.Array | float, *, start: float) -> jax.Array:
    """`(start / 2) (1 + cos(pi progress))`, from `start` down to 0.

    Evci et al. (ICML 2020), as RLx2 (Tan et al., ICLR 2023) uses it over all of its updates.

    Args:
        progress: Share of training, or of its updates, that is over; 1 and beyond give 0.
        start: The share of links moved at the beginning.
    """
    return start / 2 * (1 + jnp.cos(jnp.pi * jnp.minimum(progress, 1.0)))
