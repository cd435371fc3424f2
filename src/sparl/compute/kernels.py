"""The native kernels as differentiable JAX functions."""

import itertools
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp

from sparl.compute.links import Links
from sparl.compute.native import call


def linear(
    values: jax.Array, bias: jax.Array, x: jax.Array, links: Links, *, relu: bool = False
) -> jax.Array:
    """`w x + b`, or its positive part.

    Args:
        values: float32 `[L]`, of the links row by row.
        bias: float32 `[out]`.
        x: float32 or float16 `[..., in, columns]`.
        links: Of a weight `[out, in]`.
        relu: Whether what is negative becomes zero.

    Returns:
        float32 `[..., out, columns]`.

    Raises:
        InputError: If the kernels cannot be used here.
        JaxRuntimeError: At run time, if shapes, types or indices do not go together.
    """
    # Pyright loses the type of what custom_vjp returns.
    return cast("jax.Array", _linear(relu, values, bias, x, links))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _linear(relu: bool, values: Any, bias: Any, x: Any, links: Any) -> jax.Array:
    y = jax.ShapeDtypeStruct((*x.shape[:-2], links.shape[0], x.shape[-1]), jnp.float32)
    return call("sparl_linear_forward", y)(values, bias, x, *_arrays(links), relu=relu)


def _linear_forward(relu: bool, *primals: Any) -> tuple:
    values, bias, x, links = _plain(primals)
    y = linear(values, bias, x, links, relu=relu)
    wants_dw = _flag(primals[0].perturbed or primals[1].perturbed)
    return y, (values, x, y if relu else None, links, _flag(primals[2].perturbed), wants_dw)


def _linear_backward(relu: bool, saved: tuple, dy: Any) -> tuple:
    values, x, y, links, wants_dx, wants_dw = saved
    wants_dx, wants_dw = wants_dx is not None, wants_dw is not None
    if _is_zero(dy) or not (wants_dx or wants_dw):
        return None, None, None, None
    outputs = (
        jax.ShapeDtypeStruct(values.shape if wants_dw else (0,), jnp.float32),
        jax.ShapeDtypeStruct(links.shape[:1] if wants_dw else (0,), jnp.float32),
        jax.ShapeDtypeStruct(x.shape if wants_dx else (0,), jnp.float32),
    )
    dvalues, dbias, dx = call("sparl_linear_backward", outputs)(
        values,
        x,
        y if relu else jnp.zeros(0),
        dy,
        *_arrays(links),
        relu=relu,
        wants_dx=wants_dx,
        wants_dw=wants_dw,
    )
    dx = dx.astype(x.dtype) if wants_dx else None
    return (dvalues, dbias, dx, None) if wants_dw else (None, None, dx, None)


_linear.defvjp(_linear_forward, _linear_backward, symbolic_zeros=True)


# The weights of a recurrent net and their biases, in the order in which the kernels take them.
_WEIGHTS = (("fc1", "b1"), ("w_ih", "b_ih"), ("w_hh", "b_hh"), ("fc2", "b2"))


def recurrent(
    layers: dict[str, jax.Array],
    links: dict[str, Links],
    x: jax.Array,
    h0: jax.Array,
    length: jax.Array,
    *,
    keep_h: bool,
) -> tuple[jax.Array, jax.Array]:
    """Linear, ReLU, GRU, linear over whole sequences; see `sparl.compute.recurrent`.

    The backward pass computes again what lies between the inputs and the hidden states.

    Args:
        layers: Values of the links of `fc1`, `w_ih`, `w_hh` and `fc2`, float32 `[L]` each, and the
            biases `b1`, `b_ih`, `b_hh` and `b2`.
        links: Of `fc1` `[f, in]`, `w_ih` `[3h, f]`, `w_hh` `[3h, h]` and `fc2` `[out, h]`.
        x: float32 or float16 `[T, in, columns]`.
        h0: float32 `[h, columns]`.
        length: int32 `[columns]`: past a column's own steps its hidden states are 0.
        keep_h: Whether the hidden states are wanted.

    Returns:
        Outputs, float32 `[T, out, columns]`, and the hidden states `[T, h, columns]`, empty if they
        are not wanted.

    Raises:
        InputError: If the kernels cannot be used here.
        JaxRuntimeError: At run time, if shapes, types or indices do not go together.
    """
    return cast("tuple[jax.Array, jax.Array]", _recurrent(keep_h, layers, links, x, h0, length))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _recurrent(keep_h: bool, layers: Any, links: Any, x: Any, h0: Any, length: Any) -> tuple:
    steps, _, columns = x.shape
    outputs = (
        jax.ShapeDtypeStruct((steps, links["fc2"].shape[0], columns), jnp.float32),
        jax.ShapeDtypeStruct((steps, len(h0), columns) if keep_h else (0,), jnp.float32),
    )
    arguments = _recurrent_arguments(layers, links, x, h0, length)
    return tuple(call("sparl_recurrent_forward", outputs)(*arguments, keep_h=keep_h))


def _recurrent_forward(keep_h: bool, *primals: Any) -> tuple:
    layers, links, x, h0, length = _plain(primals)
    y, h = recurrent(layers, links, x, h0, length, keep_h=True)
    saved = (layers, links, x, h0, length, h, _flag(primals[2].perturbed))
    return (y, h if keep_h else jnp.zeros(0)), saved


def _recurrent_backward(keep_h: bool, saved: tuple, gradients: tuple) -> tuple:
    layers, links, x, h0, length, h, wants_dx = saved
    wants_dx = wants_dx is not None
    dy, dh = gradients
    has_dh = keep_h and not _is_zero(dh)
    if _is_zero(dy):
        dy = jnp.zeros((len(x), links["fc2"].shape[0], x.shape[-1]), jnp.float32)
    names = [name for pair in _WEIGHTS for name in pair]
    shapes = [layers[name].shape for name in names]
    shapes += [x.shape if wants_dx else (0,), h0.shape]
    outputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    *dlayers, dx, dh0 = call("sparl_recurrent_backward", outputs)(
        *_recurrent_arguments(layers, links, x, h0, length),
        h,
        dy,
        dh if has_dh else jnp.zeros(0),
        has_dh=has_dh,
        wants_dx=wants_dx,
    )
    dx = dx.astype(x.dtype) if wants_dx else None
    return dict(zip(names, dlayers, strict=True)), None, dx, dh0, None


_recurrent.defvjp(_recurrent_forward, _recurrent_backward, symbolic_zeros=True)


def _recurrent_arguments(layers: Any, links: Any, *inputs: Any) -> tuple:
    weights = ((layers[w], layers[b], *_arrays(links[w])) for w, b in _WEIGHTS)
    return (*itertools.chain.from_iterable(weights), *inputs)


def _arrays(links: Links) -> tuple[jax.Array, ...]:
    return links.row_start, links.column, links.column_start, links.row, links.order


def _plain(primals: Any) -> Any:
    return jax.tree.map(
        lambda primal: primal.value,
        primals,
        is_leaf=lambda x: isinstance(x, jax.custom_derivatives.CustomVJPPrimal),
    )


def _flag(condition: bool) -> tuple | None:
    """A condition as a pytree without leaves, which no transformation turns into an array."""
    return () if condition else None


def _is_zero(x: Any) -> bool:
    return isinstance(x, jax.custom_derivatives.SymbolicZero)
