"""The sparse recurrent net against the dense one in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernel_cases import (
    INDEX_TYPES,
    assert_close,
    densities,
    in_float64,
    links_of,
    needs_kernels,
    normal,
    random_net,
    values_of,
)
from sparl.compute import kernels

pytestmark = needs_kernels


def dense_recurrent(layer, x, h0, length, dy, dh):
    def cell(layer, x, h):
        x = jnp.maximum(layer["fc1"] @ x + layer["b1"][:, None], 0)
        from_x = jnp.split(layer["w_ih"] @ x + layer["b_ih"][:, None], 3)
        from_h = jnp.split(layer["w_hh"] @ h + layer["b_hh"][:, None], 3)
        reset, update = (jax.nn.sigmoid(a + b) for a, b in zip(from_x[:2], from_h[:2], strict=True))
        candidate = jnp.tanh(from_x[2] + reset * from_h[2])
        return (1 - update) * candidate + update * h

    def loss(layer, x, h0):
        states, h = [], h0
        for t in range(len(x)):
            h = jnp.where(t < length, cell(layer, x[t], h), 0)
            states.append(h)
        states = jnp.stack(states)
        y = layer["fc2"] @ states + layer["b2"][:, None]
        return jnp.sum(y * dy) + jnp.sum(states * dh), (y, states)

    (_, found), gradients = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(layer, x, h0)
    return found, gradients


@pytest.mark.parametrize("index", INDEX_TYPES)
@settings(max_examples=5)
@example((226, 64, 64, 13), 5, 0.1, 256, 0)
@example((1, 1, 1, 1), 1, 1.0, 1, 1)
@given(
    st.tuples(*[st.integers(1, 40)] * 4),
    st.integers(1, 6),
    densities,
    st.sampled_from([1, 3, 17, 64, 100]),
    st.integers(0, 2**32 - 1),
)
def test_recurrent_is_the_dense_net(isa, index, widths, steps, density, columns, seed):
    rng = np.random.default_rng(seed)
    masks, layer, links = random_net(rng, *widths, density, index)
    inputs, _, hidden, outputs = widths
    x, h0 = normal(rng, (steps, inputs, columns)), normal(rng, (hidden, columns))
    length = jnp.asarray(rng.integers(0, steps + 2, columns), jnp.int32)
    dy = normal(rng, (steps, outputs, columns))
    dh = normal(rng, (steps, hidden, columns))

    def sparse(values, x, h0):
        return kernels.recurrent(values, links, x, h0, length, keep_h=True)

    found, pull_back = jax.vjp(sparse, values_of(layer, links), x, h0)
    gradients, dx, dh0 = pull_back((dy, dh))

    expected, (weights, expected_dx, expected_dh0) = in_float64(
        dense_recurrent, layer, x, h0, length, dy, dh
    )
    jax.tree.map(partial(assert_close, scale=10), found, expected)
    assert_close(dx, expected_dx, 100)
    assert_close(dh0, expected_dh0, 100)
    for name, gradient in gradients.items():
        whole = weights[name][masks[name]] if name in masks else weights[name]
        assert_close(gradient, whole, 100)

    # The same without hidden states and without a gradient of the inputs.
    def outputs_alone(values):
        return kernels.recurrent(values, links, x, h0, length, keep_h=False)[0]

    y, pull_back = jax.vjp(outputs_alone, values_of(layer, links))
    np.testing.assert_array_equal(y, found[0])
    _, (weights, _, _) = in_float64(dense_recurrent, layer, x, h0, length, dy, jnp.zeros_like(dh))
    for name, gradient in pull_back(dy)[0].items():
        whole = weights[name][masks[name]] if name in masks else weights[name]
        assert_close(gradient, whole, 100)


def test_past_its_own_end_a_column_is_zero_and_nothing_flows_back():
    rng = np.random.default_rng(0)
    _, layer, links = random_net(rng, 5, 6, 7, 3, 0.3)
    x, h0 = normal(rng, (6, 5, 70)), normal(rng, (7, 70))
    length = jnp.asarray(np.arange(70) % 8, jnp.int32)
    values = values_of(layer, links)
    past = jnp.broadcast_to(jnp.arange(6)[:, None, None] >= length, (6, 7, 70))

    def states(x):
        return kernels.recurrent(values, links, x, h0, length, keep_h=True)[1]

    h, pull_back = jax.vjp(states, x)
    assert jnp.all(jnp.where(past, h == 0, h != 0))
    (dx,) = pull_back(past.astype(jnp.float32))
    assert not dx.any()


def test_gates_saturate_without_becoming_odd(isa):
    """1, 0 or -1 to within some units in the last place, however large the sums."""
    links = {name: links_of(np.ones((3, 1), bool)) for name in ("w_ih", "w_hh")}
    links |= {name: links_of(np.ones((1, 1), bool)) for name in ("fc1", "fc2")}
    values = {"w_ih": jnp.ones(3), "w_hh": jnp.zeros(3), "fc1": jnp.ones(1), "fc2": jnp.ones(1)}
    values |= {"b_ih": jnp.zeros(3), "b_hh": jnp.zeros(3), "b1": jnp.zeros(1), "b2": jnp.zeros(1)}
    x = jnp.logspace(-8, 38, 300)
    for sign in (1, -1):
        values["w_ih"] = jnp.full(3, sign, jnp.float32)
        _, h = kernels.recurrent(
            values,
            links,
            x[None, None],
            jnp.zeros((1, 300)),
            jnp.ones(300, jnp.int32),
            keep_h=True,
        )
        wide = sign * np.asarray(x, np.float64)
        expected = (1 - 1 / (1 + np.exp(-np.clip(wide, -700, 700)))) * np.tanh(wide)
        np.testing.assert_allclose(h[0, 0], expected, rtol=0, atol=4e-7)
