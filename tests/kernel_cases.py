"""Random weights for the tests of the native kernels, and how close results must come."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from sparl.compute import native
from sparl.compute.links import from_mask, take

needs_kernels = pytest.mark.skipif(
    native.unavailable() is not None, reason=str(native.unavailable())
)

INDEX_TYPES = {"16": jnp.uint16, "32": jnp.int32}


shapes = st.tuples(st.integers(1, 70), st.integers(1, 70))
densities = st.sampled_from([0.0, 0.03, 0.1, 0.5, 1.0])
# Panels of one, two, four and eight vectors, full and not, on every instruction set.
columns = st.sampled_from([1, 3, 8, 16, 23, 33, 63, 64, 65, 130, 300])


def refused(match):
    """A kernel's sentence; XLA raises the one type at once and the other when results are read."""
    return pytest.raises((ValueError, jax.errors.JaxRuntimeError), match=f"sparl: .*{match}")


def random_mask(rng, shape, density):
    """A mask of about the density, of one link at 0, of all at 1."""
    mask = rng.random(shape) < density
    if not mask.any():
        mask[rng.integers(shape[0]), rng.integers(shape[1])] = True
    return mask


def links_of(mask, index="16"):
    return with_index(from_mask(jnp.asarray(mask), int(mask.sum())), index)


def with_index(links, index):
    """The same links, their indices of another type."""
    kind = INDEX_TYPES[index]
    return dataclasses.replace(links, column=links.column.astype(kind), row=links.row.astype(kind))


def each_instruction_set():
    """Lets the kernels use one after the other of those that the machine has."""
    chosen = native.info()["instruction_set"]
    try:
        for name in native.instruction_sets():
            assert native.choose_instruction_set(name)
            yield name
    finally:
        native.choose_instruction_set(chosen)


def normal(rng, shape, dtype=np.float32):
    return jnp.asarray(rng.normal(size=shape).astype(dtype))


def assert_close(found, expected, scale=1.0):
    """To within what float32 loses in sums of some hundred terms."""
    expected = np.asarray(expected)
    bound = 3e-6 * scale * (1 + np.abs(expected).max(initial=0))
    np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=bound)


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
