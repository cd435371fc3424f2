"""The native kernels against dense products in float64: values, gradients, and what they refuse."""

import dataclasses
import hashlib
import os
import re
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sparl.compute import kernels, native
from sparl.compute.links import Links, from_mask, put, take, to_mask

pytestmark = pytest.mark.skipif(native.library() is None, reason=str(native.unavailable()))

INDEX_TYPES = {"16": jnp.uint16, "32": jnp.int32}


@pytest.fixture(scope="module", params=native.instruction_sets())
def isa(request):
    """Each instruction set of this machine in turn."""
    widest = native.instruction_sets()[0]
    assert native.choose_instruction_set(request.param)
    yield request.param
    native.choose_instruction_set(widest)


def random_mask(rng, shape, density):
    """A mask of about the density, of one link at 0, of all at 1."""
    mask = rng.random(shape) < density
    if not mask.any():
        mask[rng.integers(shape[0]), rng.integers(shape[1])] = True
    return mask


def links_of(mask, index="16"):
    links = from_mask(jnp.asarray(mask), int(mask.sum()))
    kind = INDEX_TYPES[index]
    return dataclasses.replace(links, column=links.column.astype(kind), row=links.row.astype(kind))


def normal(rng, shape, dtype=np.float32):
    return jnp.asarray(rng.normal(size=shape).astype(dtype))


def assert_close(found, expected, scale=1.0):
    """To within what float32 loses in sums of some hundred terms."""
    expected = np.asarray(expected)
    bound = 3e-6 * scale * (1 + np.abs(expected).max(initial=0))
    np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=bound)


def in_float64(fn, *arguments):
    """`fn` with every array in 64 bits."""
    with jax.enable_x64(True):
        wide = jax.tree.map(
            lambda a: (
                jnp.asarray(np.asarray(a), jnp.float64)
                if jnp.issubdtype(a.dtype, jnp.floating)
                else jnp.asarray(np.asarray(a))
            ),
            arguments,
        )
        return jax.tree.map(np.asarray, fn(*wide))


shapes = st.tuples(st.integers(1, 70), st.integers(1, 70))
densities = st.sampled_from([0.0, 0.03, 0.1, 0.5, 1.0])
columns = st.sampled_from([1, 3, 16, 63, 64, 65, 130, 300])


# Links.


@given(shapes, densities, st.integers(0, 2**32 - 1))
def test_links_are_those_of_the_mask(shape, density, seed):
    rng = np.random.default_rng(seed)
    mask = random_mask(rng, shape, density)
    links = links_of(mask)
    rows, places = np.nonzero(mask)
    np.testing.assert_array_equal(links.column, places)
    np.testing.assert_array_equal(np.diff(links.row_start), mask.sum(axis=1))
    by_column = np.nonzero(mask.T)[1]
    np.testing.assert_array_equal(links.row, by_column)
    np.testing.assert_array_equal(np.diff(links.column_start), mask.sum(axis=0))
    np.testing.assert_array_equal(rows[links.order], by_column)
    assert links.shape == shape
    np.testing.assert_array_equal(to_mask(links), mask)
    dense = normal(rng, shape)
    np.testing.assert_array_equal(put(links, take(links, dense)), np.where(mask, dense, 0))


def test_a_wide_weight_has_wide_indices():
    mask = np.zeros((2, 70_000), bool)
    mask[1, 69_999] = mask[0, 3] = True
    links = from_mask(jnp.asarray(mask), 2)
    assert links.column.dtype == jnp.int32
    x = jnp.zeros((70_000, 1)).at[69_999].set(2.0)
    y = kernels.linear(False, jnp.array([5.0, 7.0]), jnp.zeros(2), x, links)
    np.testing.assert_array_equal(y, [[0.0], [14.0]])


# Linear.


def dense_linear(weight, bias, x, dy, *, relu):
    def loss(weight, bias, x):
        y = weight @ x + bias[:, None]
        y = jnp.maximum(y, 0) if relu else y
        return jnp.sum(y * dy), y

    (_, y), gradients = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(weight, bias, x)
    return y, gradients


@pytest.mark.parametrize("index", INDEX_TYPES)
@pytest.mark.parametrize("relu", [False, True])
@settings(max_examples=8)
@example((64, 226), 0.1, 256, (2,), 0)
@example((3, 5), 0.5, 1100, (), 1)
@example((20, 20), 0.1, 7, (40,), 2)
@given(shapes, densities, columns, st.sampled_from([(), (3,), (2, 2)]), st.integers(0, 2**32 - 1))
def test_linear_is_the_dense_product(isa, index, relu, shape, density, columns, batch, seed):
    rng = np.random.default_rng(seed)
    mask = random_mask(rng, shape, density)
    links = links_of(mask, index)
    weight = jnp.where(mask, normal(rng, shape), 0)
    bias, x = normal(rng, shape[0]), normal(rng, (*batch, shape[1], columns))
    dy = normal(rng, (*batch, shape[0], columns))

    y, pull_back = jax.vjp(
        lambda v, b, x: kernels.linear(relu, v, b, x, links), take(links, weight), bias, x
    )
    dvalues, dbias, dx = pull_back(dy)

    expected, (dweight, expected_dbias, expected_dx) = in_float64(
        lambda *a: dense_linear(*a, relu=relu), weight, bias, x, dy
    )
    # A sum close to 0 may fall to the other side of it and lose its gradient: leave such out.
    if relu and np.abs(expected[expected != 0]).min(initial=1) < 1e-5:
        return
    assert_close(y, expected)
    many = np.sqrt(x.size / shape[1])
    assert_close(dvalues, dweight[mask], many)
    assert_close(dbias, expected_dbias, many)
    assert_close(dx, expected_dx)


def test_half_floats_count_as_the_floats_they_stand_for(isa):
    rng = np.random.default_rng(0)
    links = links_of(random_mask(rng, (9, 11), 0.3))
    values, bias = normal(rng, links.column.shape), normal(rng, 9)
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    x = every[np.isfinite(every)][: 11 * 5000].reshape(11, 5000)
    for half in (jnp.asarray(x), jnp.asarray(x[:, :77])):
        dy = normal(rng, (9, half.shape[1]))
        found = []
        for inputs in (half, half.astype(jnp.float32)):
            y, pull_back = jax.vjp(
                lambda v, inputs=inputs: kernels.linear(False, v, bias, inputs, links), values
            )
            found.append((y, *pull_back(dy)))
        jax.tree.map(np.testing.assert_array_equal, *found)


def test_an_input_that_needs_no_gradient_costs_none():
    rng = np.random.default_rng(0)
    links = links_of(random_mask(rng, (8, 8), 0.3))
    values, x = normal(rng, links.column.shape), normal(rng, (8, 16))

    def loss(values, x):
        return jnp.sum(kernels.linear(False, values, jnp.zeros(8), x, links))

    def wants_dx(argument):
        text = str(jax.make_jaxpr(jax.grad(loss, argument))(values, x))
        return re.search(r"wants_dx\W+(True|False)", text)[1]

    assert (wants_dx(0), wants_dx(1)) == ("False", "True")


# Recurrent.


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


def random_net(rng, inputs, features, hidden, outputs, density, index="16"):
    shapes = {
        "fc1": (features, inputs),
        "w_ih": (3 * hidden, features),
        "w_hh": (3 * hidden, hidden),
        "fc2": (outputs, hidden),
    }
    biases = {"b1": features, "b_ih": 3 * hidden, "b_hh": 3 * hidden, "b2": outputs}
    masks = {name: random_mask(rng, shape, density) for name, shape in shapes.items()}
    layer = {
        name: jnp.where(mask, normal(rng, mask.shape), 0) / (1 + density * mask.shape[1]) ** 0.5
        for name, mask in masks.items()
    }
    layer |= {name: normal(rng, size) for name, size in biases.items()}
    return masks, layer, {name: links_of(mask, index) for name, mask in masks.items()}


def values_of(layer, links):
    return {k: take(links[k], array) if k in links else array for k, array in layer.items()}


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
        return kernels.recurrent(True, values, links, x, h0, length)

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
        return kernels.recurrent(False, values, links, x, h0, length)[0]

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
        return kernels.recurrent(True, values, links, x, h0, length)[1]

    h, pull_back = jax.vjp(states, x)
    assert jnp.all(jnp.where(past, h == 0, h != 0))
    (dx,) = pull_back(past.astype(jnp.float32))
    assert not dx.any()


def test_what_is_not_a_number_stays_so(isa):
    rng = np.random.default_rng(0)
    _, layer, links = random_net(rng, 4, 4, 4, 4, 1.0)
    x = normal(rng, (2, 4, 20)).at[0, 0, 3].set(np.nan)
    h0, length = jnp.zeros((4, 20)), jnp.full(20, 2, jnp.int32)
    y, h = kernels.recurrent(True, values_of(layer, links), links, x, h0, length)
    for array in (y, h):
        assert np.flatnonzero(np.isnan(array).any(axis=(0, 1))).tolist() == [3]
    mask = np.ones((3, 4), bool)
    y = kernels.linear(True, jnp.ones(12), jnp.zeros(3), x[0], links_of(mask))
    assert np.flatnonzero(np.isnan(y).all(axis=0)).tolist() == [3]


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
            True, values, links, x[None, None], jnp.zeros((1, 300)), jnp.ones(300, jnp.int32)
        )
        wide = sign * np.asarray(x, np.float64)
        expected = (1 - 1 / (1 + np.exp(-np.clip(wide, -700, 700)))) * np.tanh(wide)
        np.testing.assert_allclose(h[0, 0], expected, rtol=0, atol=4e-7)


# Under JAX's transformations.


def test_seeds_are_vectorised():
    rng = np.random.default_rng(0)
    masks = np.stack([random_mask(rng, (6, 9), 0.2) for _ in range(3)])
    count = int(masks.sum(axis=(1, 2)).min())
    for mask in masks:  # As many links for each.
        rows, places = np.nonzero(mask)
        mask[rows[count:], places[count:]] = False
    links = jax.vmap(lambda mask: from_mask(mask, count))(jnp.asarray(masks))
    values, x = normal(rng, (3, count)), normal(rng, (3, 9, 10))

    def loss(values, x, links):
        return jnp.sum(jnp.tanh(kernels.linear(True, values, jnp.ones(6), x, links)))

    for transform in (lambda f: f, lambda f: jax.grad(f, (0, 1))):
        together = jax.jit(jax.vmap(transform(loss)))(values, x, links)
        for seed in range(3):
            own = jax.tree.map(lambda leaf, seed=seed: leaf[seed], (values, x, links))
            alone = transform(loss)(*own)
            jax.tree.map(lambda a, b, seed=seed: assert_close(a[seed], b), together, alone)
    total = jax.grad(lambda v: jnp.sum(jax.vmap(loss)(v, x, links)))(values)
    assert_close(total, jax.vmap(jax.grad(loss))(values, x, links))


THREADS = """
import os, sys
os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:int(sys.argv[1])]))
from test_kernels import digest
print(digest())
"""


def digest():
    """Of the bits of all that both kernels return for some large arguments."""
    rng = np.random.default_rng(0)
    _, layer, links = random_net(rng, 30, 25, 20, 5, 0.1)
    x, h0 = normal(rng, (20, 30, 300)), normal(rng, (20, 300))
    length = jnp.asarray(rng.integers(0, 21, 300), jnp.int32)
    wide = links_of(random_mask(rng, (40, 30), 0.1))
    values = normal(rng, wide.column.shape)

    def call(layer_values, values, x):
        y, h = kernels.recurrent(True, layer_values, links, x, h0, length)
        return y, h, kernels.linear(True, values, jnp.zeros(40), x, wide)

    found, pull_back = jax.vjp(call, values_of(layer, links), values, x)
    arrays = jax.tree.leaves((found, pull_back(found)))
    return hashlib.sha256(b"".join(np.asarray(array).tobytes() for array in arrays)).hexdigest()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_bits_do_not_depend_on_the_number_of_threads():
    paths = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])  # noqa: PTH120
    digests = [
        subprocess.run(
            [sys.executable, "-c", THREADS, str(threads)],
            env=os.environ | {"PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in (1, len(os.sched_getaffinity(0)))
    ]
    assert digests[0] == digests[1] != ""


# What they refuse.


def refused(match):
    return pytest.raises(jax.errors.JaxRuntimeError, match=f"sparl: .*{match}")


def replaced(links, **arrays):
    return dataclasses.replace(links, **{k: jnp.asarray(v) for k, v in arrays.items()})


def good_links() -> Links:
    return links_of(np.array([[1, 0, 1], [0, 1, 0]], bool))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"column": np.array([0, 3, 1], np.uint16)}, r"column has an index outside of \[0, 3\)"),
        ({"column": np.array([0, -1, 1], np.int32)}, "column has an index outside"),
        ({"row_start": np.array([0, 2, 4], np.int32)}, "row_start must rise from 0 to"),
        ({"row_start": np.array([0, 5, 3], np.int32)}, "row_start must rise from 0 to"),
        ({"row_start": np.array([1, 2, 3], np.int32)}, "row_start must rise from 0 to"),
        ({"column": np.array([0, 2], np.uint16)}, r"column has shape \[2\], expected \[3\]"),
        ({"order": np.array([0], np.int32)}, r"order has shape \[1\], expected \[3\]"),
        ({"row": np.array([0, 1, 0], np.int32)}, "row and column must be of one type"),
        ({"column": np.array([0.0, 2.0, 1.0], np.float32)}, "indices must be uint16 or int32"),
    ],
)
def test_links_that_lead_astray_are_refused(change, match):
    links = replaced(good_links(), **change)
    if "column" in change and change["column"].dtype != np.uint16:
        links = replaced(links, row=good_links().row.astype(change["column"].dtype))
    with refused(match):
        jax.block_until_ready(
            kernels.linear(False, jnp.ones(3), jnp.ones(2), jnp.ones((3, 4)), links)
        )


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"row": np.array([0, 2, 0], np.uint16)}, r"row has an index outside of \[0, 2\)"),
        ({"order": np.array([0, 3, 1], np.int32)}, r"order has an index outside of \[0, 3\)"),
        ({"column_start": np.array([0, 1, 2, 4], np.int32)}, "column_start must rise from 0 to"),
    ],
)
def test_links_that_lead_the_gradient_astray_are_refused(change, match):
    links = replaced(good_links(), **change)

    def loss(x):
        return jnp.sum(kernels.linear(False, jnp.ones(3), jnp.ones(2), x, links))

    with refused(match):
        jax.block_until_ready(jax.grad(loss)(jnp.ones((3, 4))))


@pytest.mark.parametrize(
    ("values", "bias", "x", "match"),
    [
        (3, 2, (4, 5), r"x has shape \[4, 5\], expected \[..., 3, columns\]"),
        (3, 2, (3,), r"x has shape \[3\], expected"),
        (4, 2, (3, 5), r"column has shape \[3\], expected \[4\]"),
        (3, 3, (3, 5), r"bias has shape \[3\], expected \[2\]"),
    ],
)
def test_arrays_of_the_wrong_shape_are_refused(values, bias, x, match):
    with refused(match):
        jax.block_until_ready(
            jax.ffi.ffi_call("sparl_linear_forward", jax.ShapeDtypeStruct((2, 5), jnp.float32))(
                jnp.ones(values), jnp.ones(bias), jnp.ones(x), *arrays(good_links()), relu=False
            )
        )


def test_a_net_of_the_wrong_shape_is_refused():
    rng = np.random.default_rng(0)
    _, layer, links = random_net(rng, 5, 6, 4, 3, 0.5)
    values, x = values_of(layer, links), normal(rng, (2, 5, 3))
    h0, length = jnp.zeros((4, 3)), jnp.full(3, 2, jnp.int32)

    def call(values=values, links=links, x=x, h0=h0, length=length):
        jax.block_until_ready(kernels.recurrent(True, values, links, x, h0, length))

    call()
    odd = links_of(np.ones((11, 6), bool))
    with refused("three rows for each hidden unit"):
        call(values | {"w_ih": jnp.ones(66), "b_ih": jnp.ones(11)}, links | {"w_ih": odd})
    odd = links_of(np.ones((3, 5), bool))
    with refused("fc2 the hidden state"):
        call(values | {"fc2": jnp.ones(15)}, links | {"fc2": odd})
    with refused("bias has shape"):
        call(values | {"b1": jnp.ones(5)})
    with refused("the indices of all weights must be of one type"):
        call(links=links | {"fc2": links_of(np.asarray(to_mask(links["fc2"])), "32")})
    for change, match in (
        ({"x": normal(rng, (2, 6, 3))}, "x has shape"),
        ({"h0": jnp.zeros((4, 2))}, "h0 has shape"),
        ({"length": length[:1]}, "length has shape"),
        ({"length": length.astype(jnp.float32)}, "length is missing or of wrong type"),
    ):
        with refused(match):
            call(**change)


def test_a_mask_of_another_number_of_links_is_refused():
    with refused("the mask does not have 2 links"):
        jax.block_until_ready(from_mask(jnp.ones((2, 2), bool), 2))


def arrays(links):
    return links.row_start, links.column, links.column_start, links.row, links.order
