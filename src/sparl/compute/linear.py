"""The product of one weight with feature-major activations."""

from typing import Any

import jax
import jax.numpy as jnp

from sparl.compute import kernels
from sparl.compute.bind import SparseWeight


def linear(layer: dict[str, Any], x: jax.Array, *, relu: bool = False) -> jax.Array:
    """`w x + b`, feature-major.

    Args:
        layer: `w` as `bind` returns it, standing for `[out, in]`; and, where there is one, `b`,
            `[out]`.
        x: float32 or float16 `[..., in, columns]`.
        relu: Whether to return the positive part.

    Returns:
        float32 `[..., out, columns]`.
    """
    weight = layer["w"]
    if isinstance(weight, SparseWeight):
        bias = layer["b"] if "b" in layer else jnp.zeros(weight.links.shape[0])
        return kernels.linear(weight.values, bias, x, weight.links, relu=relu)
    y = weight @ x.astype(jnp.float32)
    y = y + layer["b"][:, None] if "b" in layer else y
    return jax.nn.relu(y) if relu else y
