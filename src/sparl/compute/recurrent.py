"""A gated recurrent unit between two linear layers, step by step or over whole sequences.

The GRU is that of Cho et al. (2014) in PyTorch's form: the reset gate acts on the recurrent
product, and both products carry a bias.
"""

from typing import Any

import jax
import jax.numpy as jnp

from sparl.compute import kernels
from sparl.compute.bind import SparseWeight
from sparl.compute.linear import linear
from sparl.compute.links import Links

Layers = dict[str, Any]
"""`fc1`, `rnn` and `fc2`; see `step`."""


def step(layers: Layers, x: jax.Array, hidden: jax.Array) -> tuple[jax.Array, jax.Array]:
    """One step of linear, ReLU, GRU, linear.

    Args:
        layers: Bound weights `fc1` `{w [f, in], b [f]}`; `rnn` `{w_ih [3h, f], w_hh [3h, h],
            b_ih [3h], b_hh [3h]}`, rows in the order reset, update, candidate; and `fc2`
            `{w [out, h], b [out]}`. All of them sparse, or none.
        x: `[in, columns]`.
        hidden: `[h, columns]`.

    Returns:
        Outputs `[out, columns]` and the next hidden state `[h, columns]`.
    """
    if _is_sparse(layers):
        once = jnp.ones(x.shape[-1], jnp.int32)
        y, h = kernels.recurrent(*_values_and_links(layers), x[None], hidden, once, keep_h=True)
        return y[0], h[0]
    hidden = _gru_cell(layers["rnn"], linear(layers["fc1"], x, relu=True), hidden)
    return linear(layers["fc2"], hidden), hidden


def unroll(layers: Layers, x: jax.Array, length: jax.Array) -> jax.Array:
    """Outputs of whole sequences, each from a zero hidden state.

    Args:
        layers: See `step`.
        x: `[T, in, columns]`, float32 or float16.
        length: int32 `[columns]`: how many steps each column has. Past them its hidden state is
            0, whatever `x` holds, and nothing flows back through it. The kernels skip what lies
            past the end of neighbouring columns.

    Returns:
        `[T, out, columns]`.
    """
    return _unroll(layers, x, length, keep_h=False)[0]


def states(layers: Layers, x: jax.Array, length: jax.Array) -> jax.Array:
    """The hidden states `[T, h, columns]` that `unroll` passes through, 0 past a column's end."""
    return _unroll(layers, x, length, keep_h=True)[1]


def _unroll(layers: Layers, x: jax.Array, length: jax.Array, *, keep_h: bool) -> tuple:
    hidden = layers["rnn"]["b_hh"].shape[0] // 3
    initial = jnp.zeros((hidden, x.shape[-1]))
    if _is_sparse(layers):
        arguments = (*_values_and_links(layers), x, initial, length)
        return kernels.recurrent(*arguments, keep_h=keep_h)

    def body(hidden: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple:
        x_t, t = inputs
        # Both, as what is no number would come back through a choice of the state alone.
        features = linear(layers["fc1"], jnp.where(t < length, x_t, 0), relu=True)
        hidden = jnp.where(t < length, _gru_cell(layers["rnn"], features, hidden), 0)
        return hidden, (linear(layers["fc2"], hidden), hidden if keep_h else None)

    # All four products stay inside the scan: small products of [h, C] that keep to the cache run
    # faster on XLA's CPU backend than hoisted ones of [h, T C] and the transposes they bring.
    return jax.lax.scan(body, initial, (x, jnp.arange(len(x))))[1]


def _gru_cell(layer: dict[str, Any], x: jax.Array, hidden: jax.Array) -> jax.Array:
    from_input = layer["w_ih"] @ x + layer["b_ih"][:, None]
    from_hidden = layer["w_hh"] @ hidden + layer["b_hh"][:, None]
    reset_i, update_i, candidate_i = jnp.split(from_input, 3)
    reset_h, update_h, candidate_h = jnp.split(from_hidden, 3)
    reset = jax.nn.sigmoid(reset_i + reset_h)
    update = jax.nn.sigmoid(update_i + update_h)
    candidate = jnp.tanh(candidate_i + reset * candidate_h)
    return (1 - update) * candidate + update * hidden


def _is_sparse(layers: Layers) -> bool:
    return isinstance(layers["rnn"]["w_hh"], SparseWeight)


def _values_and_links(layers: Layers) -> tuple[dict[str, jax.Array], dict[str, Links]]:
    fc1, rnn, fc2 = layers["fc1"], layers["rnn"], layers["fc2"]
    weights = {"fc1": fc1["w"], "w_ih": rnn["w_ih"], "w_hh": rnn["w_hh"], "fc2": fc2["w"]}
    biases = {"b1": fc1["b"], "b_ih": rnn["b_ih"], "b_hh": rnn["b_hh"], "b2": fc2["b"]}
    biases = {name: jnp.asarray(bias, jnp.float32) for name, bias in biases.items()}
    values = {name: weight.values for name, weight in weights.items()}
    return values | biases, {name: weight.links for name, weight in weights.items()}
