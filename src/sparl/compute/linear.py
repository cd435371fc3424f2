"""The product of one weight with feature-major activations."""

from typing import Any

import jax
import jax.numpy as jnp

from sparl.compute import kernels
from sparl.compute.bind import SparseWeight, Weight
from sparl.errors import InputError


def linear(layer: dict[str, Any], x: jax.Array, *, relu: bool = False) -> jax.Array:
    """`w x + b`, feature-major.

    Args:
        layer: `w` as `bind` returns it, standing for `[out, in]`; and, where there is one, `b`,
            `[out]`.
        x: float32 or float16 `[..., in, columns]`.
        relu: Whether to return the positive part.

    Returns:
        float32 `[..., out, columns]`.

    Raises:
        InputError: If the weight is not bound, or `x` does not fit it.
    """
    weight = layer["w"]
    _check(weight, x)
    if isinstance(weight, SparseWeight):
        bias = layer["b"] if "b" in layer else jnp.zeros(weight.links.shape[0])
        return kernels.linear(weight.values, bias, x, weight.links, relu=relu)
    y = weight @ x.astype(jnp.float32)
    y = y + layer["b"][:, None] if "b" in layer else y
    return jax.nn.relu(y) if relu else y


def _check(weight: Weight, x: jax.Array) -> None:
    sparse = isinstance(weight, SparseWeight)
    shape = weight.links.shape if sparse else weight.shape
    if len(shape) != 2:
        raise InputError(
            f"a layer's w has shape {list(shape)}, not [out, in]: join parameters and topology by "
            "sparl.compute.bind(params, topology) first"
        )
    if x.ndim < 2 or x.shape[-2] != shape[1]:
        raise InputError(
            f"x has shape {list(x.shape)}, but the layer takes [..., {shape[1]}, batch]: features "
            "come before samples, so it may have to be transposed"
        )
    if sparse and x.dtype not in (jnp.float32, jnp.float16):
        raise InputError(f"x is {x.dtype}, but the kernels take float32 or float16: convert it")
