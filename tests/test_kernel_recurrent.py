"""The sparse recurrent net against the dense one in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernel_cases import (
    INDEX_TYPES,
    assert_close,
    densities,
    each_instruction_set,
    links_of,
    needs_kernels,
    normal,
    random_net,
    values_of,
    with_index,
)
from sparl.compute import kernels

pytestmark = needs_kernels


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def dense_recurrent(layer, x, h0, length, dy, dh):
    """Outputs, hidden states and all gradients, in float64 and by hand."""
    layer = {name: np.asarray(array, np.float64) for name, array in layer.items()}
    x, h, length, dy, dh = (np.asarray(a, np.float64) for a in (x, h0, length, dy, dh))
    states, kept = [], []
    for t in range(len(x)):
        f = np.maximum(layer["fc1"] @ x[t] + layer["b1"][:, None], 0)
        from_f = np.split(layer["w_ih"] @ f + layer["b_ih"][:, None], 3)
        from_h = np.split(layer["w_hh"] @ h + layer["b_hh"][:, None], 3)
        reset, update = sigmoid(from_f[0] + from_h[0]), sigmoid(from_f[1] + from_h[1])
        candidate = np.tanh(from_f[2] + reset * from_h[2])
        kept.append((f, h, reset, update, candidate, from_h[2]))
        h = np.where(t < length, (1 - update) * candidate + update * h, 0)
        states.append(h)
    states = np.stack(states)
    y = layer["fc2"] @ states + layer["b2"][:, None]

    gradients = {name: np.zeros_like(array) for name, array in layer.items()}
    dx, carried = np.zeros_like(x), np.zeros_like(h)

    def through(weight, bias, back, inputs):
        gradients[weight] += back @ inputs.T
        gradients[bias] += back.sum(axis=1)
        return layer[weight].T @ back

    for t in reversed(range(len(x))):
        f, before, reset, update, candidate, product = kept[t]
        state = carried + dh[t] + through("fc2", "b2", dy[t], states[t])
        state = np.where(t < length, state, 0)
        of_candidate = state * (1 - update) * (1 - candidate**2)
        of_update = state * (before - candidate) * update * (1 - update)
        of_reset = of_candidate * product * reset * (1 - reset)
        from_h = np.concatenate([of_reset, of_update, of_candidate * reset])
        carried = state * update + through("w_hh", "b_hh", from_h, before)
        from_f = np.concatenate([of_reset, of_update, of_candidate])
        of_f = np.where(f > 0, through("w_ih", "b_ih", from_f, f), 0)
        dx[t] = through("fc1", "b1", of_f, x[t])
    return (y, states), (gradients, dx, carried)


@settings(max_examples=30)
@example((226, 64, 64, 13), 5, 0.1, 256, 0)
@example((1, 1, 1, 1), 1, 1.0, 1, 1)
@given(
    st.tuples(*[st.integers(1, 40)] * 4),
    st.integers(1, 6),
    densities,
    st.sampled_from([1, 3, 8, 17, 40, 64, 100]),
    st.integers(0, 2**32 - 1),
)
def test_recurrent_is_the_dense_net(widths, steps, density, columns, seed):
    rng = np.random.default_rng(seed)
    masks, layer, links = random_net(rng, *widths, density)
    inputs, _, hidden, outputs = widths
    x, h0 = normal(rng, (steps, inputs, columns)), normal(rng, (hidden, columns))
    length = jnp.asarray(rng.integers(0, steps + 2, columns), jnp.int32)
    dy = normal(rng, (steps, outputs, columns))
    dh = normal(rng, (steps, hidden, columns))
    expected, (weights, expected_dx, expected_dh0) = dense_recurrent(layer, x, h0, length, dy, dh)
    _, (weights_alone, _, _) = dense_recurrent(layer, x, h0, length, dy, jnp.zeros_like(dh))

    def assert_gradients(found, expected):
        for name, gradient in found.items():
            whole = expected[name][masks[name]] if name in masks else expected[name]
            assert_close(gradient, whole, 100)

    values = values_of(layer, links)
    for index in INDEX_TYPES:
        own = {name: with_index(of, index) for name, of in links.items()}

        def both(values, x, h0, links=own):
            return kernels.recurrent(values, links, x, h0, length, keep_h=True)

        # Without hidden states and without a gradient of the inputs.
        def outputs_alone(values, links=own):
            return kernels.recurrent(values, links, x, h0, length, keep_h=False)[0]

        for _ in each_instruction_set():
            found, pull_back = jax.vjp(both, values, x, h0)
            gradients, dx, dh0 = pull_back((dy, dh))
            jax.tree.map(partial(assert_close, scale=10), found, expected)
            assert_close(dx, expected_dx, 100)
            assert_close(dh0, expected_dh0, 100)
            assert_gradients(gradients, weights)

            y, pull_back = jax.vjp(outputs_alone, values)
            np.testing.assert_array_equal(y, found[0])
            assert_gradients(pull_back(dy)[0], weights_alone)


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


def test_what_lies_past_a_columns_end_does_not_count(isa):
    """Not even if it is no number, and though its neighbours go on."""
    rng = np.random.default_rng(0)
    _, layer, links = random_net(rng, 5, 6, 7, 3, 0.3)
    x, h0 = normal(rng, (6, 5, 70)), normal(rng, (7, 70))
    length = jnp.asarray(np.arange(70) % 8, jnp.int32)
    past = jnp.arange(6)[:, None, None] >= length
    found = []
    for padding in (0, jnp.nan):
        result, pull_back = jax.vjp(
            lambda v, x, h0: kernels.recurrent(v, links, x, h0, length, keep_h=True),
            values_of(layer, links),
            jnp.where(past, padding, x),
            h0,
        )
        found.append((result, pull_back(result)))
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_half_floats_count_as_the_floats_they_stand_for(isa):
    rng = np.random.default_rng(0)
    _, layer, links = random_net(rng, 9, 6, 7, 3, 0.3)
    values = values_of(layer, links)
    for columns in (1, 20, 77):
        half = normal(rng, (4, 9, columns), np.float16)
        h0, length = normal(rng, (7, columns)), jnp.full(columns, 4, jnp.int32)
        dy = normal(rng, (4, 3, columns))
        found = []
        for x in (half, half.astype(jnp.float32)):
            y, pull_back = jax.vjp(
                lambda v, x=x, h0=h0, length=length: kernels.recurrent(
                    v, links, x, h0, length, keep_h=False
                )[0],
                values,
            )
            found.append((y, *pull_back(dy)))
        jax.tree.map(np.testing.assert_array_equal, *found)


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
