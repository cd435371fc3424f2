"""Links of a mask, by rows and by columns."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernel_cases import densities, links_of, needs_kernels, normal, random_mask, shapes
from sparl.compute import kernels
from sparl.compute.links import from_mask, put, take, to_mask

pytestmark = needs_kernels


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
    y = kernels.linear(jnp.array([5.0, 7.0]), jnp.zeros(2), x, links)
    np.testing.assert_array_equal(y, [[0.0], [14.0]])
    gradient = jax.grad(lambda v: jnp.sum(kernels.linear(v, jnp.zeros(2), x, links)))(jnp.ones(2))
    np.testing.assert_array_equal(gradient, [0.0, 2.0])
