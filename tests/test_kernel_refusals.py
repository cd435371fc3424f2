"""What the kernels refuse to read, each with a sentence."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernel_cases import links_of, needs_kernels, normal, random_net, refused, values_of, with_index
from sparl.compute import kernels
from sparl.compute.links import Links, from_mask, to_mask

pytestmark = needs_kernels


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
        jax.block_until_ready(kernels.linear(jnp.ones(3), jnp.ones(2), jnp.ones((3, 4)), links))


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
        return jnp.sum(kernels.linear(jnp.ones(3), jnp.ones(2), x, links))

    with refused(match):
        jax.block_until_ready(jax.grad(loss)(jnp.ones((3, 4))))


@pytest.mark.parametrize(
    "change",
    [
        {"row": np.array([1, 0, 0], np.uint16)},
        {"column": np.array([2, 2, 2], np.uint16)},
        {"column_start": np.array([0, 0, 0, 3], np.int32)},
        {"order": np.array([0, 0, 0], np.int32)},
    ],
)
def test_links_of_no_mask_read_nothing_else(change):
    """Each array is in its range, and they contradict one another: garbage, but of the call."""
    links = replaced(good_links(), **change)
    values, x = jnp.array([1.0, 2.0, 4.0]), jnp.full((3, 4), 8.0)
    gradient = jax.grad(lambda v: jnp.sum(kernels.linear(v, jnp.full(2, 1e6), x, links)))(values)
    np.testing.assert_array_equal(gradient, np.full(3, 32.0))  # Whatever link is taken for another.


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
        jax.block_until_ready(kernels.recurrent(values, links, x, h0, length, keep_h=True))

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
    odd = jax.tree.map(lambda a: a.astype(jnp.int8) if a.dtype == jnp.uint16 else a, links["w_ih"])
    wide = {name: with_index(of, "32") for name, of in links.items()}
    with refused("the indices of all weights must be of one type"):
        call(links=wide | {"w_ih": odd})
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
