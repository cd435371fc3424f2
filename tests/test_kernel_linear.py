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
    each_instruction_set,
    links_of,
    needs_kernels,
    normal,
    random_mask,
    shapes,
    with_index,
)
from sparl.compute import kernels
from sparl.compute.links import from_mask, take

pytestmark = needs_kernels


def dense_linear(weight, bias, x, dy, *, relu):
    """The output and the gradients of weight, bias and x, in float64 and by hand."""
    weight, bias, x, dy = (np.asarray(a, np.float64) for a in (weight, bias, x, dy))
    y = weight @ x + bias[:, None]
    dy = np.where(y > 0, dy, 0) if relu else dy
    entries = tuple(range(x.ndim - 2))
    dweight = (dy @ x.swapaxes(-1, -2)).sum(axis=entries)
    y = np.maximum(y, 0) if relu else y
    return y, (dweight, dy.sum(axis=(*entries, -1)), weight.T @ dy)


@pytest.mark.parametrize("relu", [False, True])
@settings(max_examples=40)
@example((64, 226), 0.1, 256, (2,), 0)
@example((3, 5), 0.5, 1100, (), 1)
@example((20, 20), 0.1, 7, (40,), 2)
@example((300, 200), 0.5, 40, (), 3)  # Links for two tasks, and more.
@example((700, 400), 0.3, 64, (), 8)  # One panel, of which two threads take half of the features.
@example((300, 200), 0.3, 200, (20,), 10)  # Groups of several pieces.
@example((9, 700), 0.5, 1, (3,), 9)  # Narrow panels, and rows with many links.
@example((1, 40000), 0.5, 3, (), 4)
@example((3, 20000), 1.0, 3, (2,), 5)
@example((4, 5), 0.5, 0, (), 6)
@example((4, 5), 0.5, 7, (0,), 7)
@given(shapes, densities, columns, st.sampled_from([(), (3,), (2, 2)]), st.integers(0, 2**32 - 1))
def test_linear_is_the_dense_product(relu, shape, density, columns, batch, seed):
    rng = np.random.default_rng(seed)
    mask = random_mask(rng, shape, density)
    links = links_of(mask)
    weight = jnp.where(mask, normal(rng, shape), 0)
    bias, x = normal(rng, shape[0]), normal(rng, (*batch, shape[1], columns))
    dy = normal(rng, (*batch, shape[0], columns))
    expected, (dweight, expected_dbias, expected_dx) = dense_linear(weight, bias, x, dy, relu=relu)
    # A sum close to 0 may fall to the other side of it and lose its gradient: leave such out.
    if relu and np.abs(expected[expected != 0]).min(initial=1) < 1e-5:
        return
    many, wide = np.sqrt(x.size / shape[1]), np.sqrt(max(shape) / 70) + 1
    values = take(links, weight)
    for index in INDEX_TYPES:
        own = with_index(links, index)
        for _ in each_instruction_set():
            y, pull_back = jax.vjp(
                lambda v, b, x, links=own: kernels.linear(v, b, x, links, relu=relu),
                values,
                bias,
                x,
            )
            dvalues, dbias, dx = pull_back(dy)
            assert_close(y, expected, wide)
            assert_close(dvalues, dweight[mask], many)
            assert_close(dbias, expected_dbias, many)
            assert_close(dx, expected_dx, wide)


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


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("columns", [1, 16, 100, 300])
def test_a_gradient_that_nobody_needs_costs_nothing_and_changes_no_other(columns, relu):
    rng = np.random.default_rng(0)
    links = links_of(random_mask(rng, (40, 24), 0.3))
    primals = normal(rng, links.column.shape), normal(rng, (40,)), normal(rng, (24, columns))

    def loss(values, bias, x):
        return jnp.sum(kernels.linear(values, bias, x, links, relu=relu) ** 2)

    everything = jax.grad(loss, (0, 1, 2))(*primals)
    for wanted in ((0,), (1,), (2,), (0, 2)):
        alone = jax.grad(loss, wanted)
        found = alone(*primals)
        for index, gradient in zip(wanted, found, strict=True):
            np.testing.assert_array_equal(gradient, everything[index])
        text = str(jax.make_jaxpr(alone)(*primals))
        for name, own in (("wants_dx", {2}), ("wants_dw", {0, 1})):
            said = re.search(rf"{name}\W+(True|False)", text)[1]
            assert said == str(bool(own & set(wanted)))


def test_a_weight_without_links_leaves_the_bias():
    links = from_mask(jnp.zeros((4, 3), bool), 0)
    x, dy = jnp.ones((3, 9)), jnp.ones((4, 9))
    bias = jnp.arange(4.0)
    y, pull_back = jax.vjp(lambda v, b, x: kernels.linear(v, b, x, links), jnp.zeros(0), bias, x)
    np.testing.assert_array_equal(y, np.repeat(bias[:, None], 9, axis=1))
    dvalues, dbias, dx = pull_back(dy)
    assert dvalues.shape == (0,)
    np.testing.assert_array_equal(dbias, np.full(4, 9))
    np.testing.assert_array_equal(dx, np.zeros((3, 9)))


def test_what_is_no_number_stays_in_its_own_call():
    """Scratch memory is used again; a gradient of NaN must leave nothing there."""
    rng = np.random.default_rng(0)
    links = links_of(random_mask(rng, (30, 20), 0.3))
    values, bias, x = normal(rng, links.column.shape), jnp.zeros(30), normal(rng, (20, 700))
    _, pull_back = jax.vjp(lambda v, x: kernels.linear(v, bias, x, links), values, x)
    dy = normal(rng, (30, 700))
    clean = pull_back(dy)
    assert np.isnan(pull_back(jnp.full_like(dy, jnp.nan))[0]).all()
    jax.tree.map(np.testing.assert_array_equal, pull_back(dy), clean)
