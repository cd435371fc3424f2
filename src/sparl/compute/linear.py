"""The product of one weight with feature-major activations."""

from collections.abc import Mapping
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
            `[out]`, which counts as float32 of whatever type it is.
        x: `[..., in, columns]`, float16 or what goes into float32.
        relu: Whether to return the positive part.

    Returns:
        float32 `[..., out, columns]`.

    Raises:
        InputError: If the weight is not bound, or the bias or `x` does not fit it.
    """
    x = jnp.asarray(x)
    _check(layer, x)
    weight = layer["w"]
    if isinstance(weight, SparseWeight):
        x = x if x.dtype == jnp.float16 else x.astype(jnp.float32)
        bias = jnp.asarray(layer.get("b", jnp.zeros(weight.links.shape[0])), jnp.float32)
        return kernels.linear(weight.values, bias, x, weight.links, relu=relu)
    y = weight @ x.astype(jnp.float32)
    y = y + jnp.asarray(layer["b"], jnp.float32)[:, None] if "b" in layer else y
    return jax.nn.relu(y) if relu else y


def _check(layer: dict[str, Any], x: jax.Array) -> None:
    if not isinstance(layer, Mapping):
        raise InputError(f"a layer is a dict of a weight w and perhaps a bias b, got {layer!r}")
    if "w" not in layer:
        raise InputError(f"a layer has a weight w and perhaps a bias b; this has {list(layer)}")
    weight: Weight = layer["w"]
    shape = weight.links.shape if isinstance(weight, SparseWeight) else weight.shape
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
    if "b" in layer and (found := jnp.shape(layer["b"])) != tuple(shape[:1]):
        raise InputError(f"the bias has shape {list(found)}, but the layer has {shape[0]} outputs")
