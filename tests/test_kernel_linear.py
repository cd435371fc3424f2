"""The sparse linear layer against the dense product in float64."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernel_cases import (
    INDEX_TYPES,
    assert_close,
    columns,
    densities,
    in_float64,
    links_of,
    needs_kernels,
    normal,
    random_mask,
    shapes,
)
from sparl.compute import kernels
from sparl.compute.links import take

pytestmark = needs_kernels


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
        lambda v, b, x: kernels.linear(v, b, x, links, relu=relu), take(links, weight), bias, x
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
                lambda v, inputs=inputs: kernels.linear(v, bias, inputs, links), values
            )
            found.append((y, *pull_back(dy)))
        jax.tree.map(np.testing.assert_array_equal, *found)


def test_an_input_that_needs_no_gradient_costs_none():
    rng = np.random.default_rng(0)
    links = links_of(random_mask(rng, (8, 8), 0.3))
    values, x = normal(rng, links.column.shape), normal(rng, (8, 16))

    def loss(values, x):
        return jnp.sum(kernels.linear(values, jnp.zeros(8), x, links))

    def wants_dx(argument):
        text = str(jax.make_jaxpr(jax.grad(loss, argument))(values, x))
        return re.search(r"wants_dx\W+(True|False)", text)[1]

    assert (wants_dx(0), wants_dx(1)) == ("False", "True")
