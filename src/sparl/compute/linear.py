"""The product of one weight with feature-major activations."""

import jax


def linear(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """`w x + b`, feature-major.

    Args:
        layer: `w` as `bind` returns it, standing for `[out, in]`; and, where there is one, `b`,
            `[out]`.
        x: `[in, columns]`.

    Returns:
        `[out, columns]`.
    """
    y = layer["w"] @ x
    return y + layer["b"][:, None] if "b" in layer else y
