"""Weights that can multiply, joined from values and links."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from sparl.compute.links import Links
from sparl.errors import InputError

Tree = Any
"""A nested dict of arrays."""

Topology = Any
"""The same tree with, for each array, where it has links: `None` (everywhere), a boolean mask
`[out, in]`, or `Links`."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SparseWeight:
    """A weight of which only the links are held.

    Attributes:
        values: float32 `[L]`, row by row.
        links: Where they are.
    """

    values: jax.Array
    links: Links


Weight = jax.Array | SparseWeight
"""A weight that `linear` can multiply: an array `[out, in]`, or its links alone."""


def bind(params: Tree, topology: Topology) -> Tree:
    """Weights ready to multiply, from values and links.

    Call it once per loss or rollout, outside any `scan`, so that masking is not repeated at every
    time step. Differentiating through it yields exactly zero for absent links; binding with
    `dense(params)` in place of the topology yields the gradient of absent links too, which is what
    RigL grows by.

    Args:
        params: Nested dicts of arrays: under a mask absent links hold zero, under `Links` there
            are values for the links alone.
        topology: Where they have links.

    Returns:
        The same tree, each weight in the form that `linear` takes.

    Raises:
        InputError: If a weight has not the shape that its links ask for, if what should tell where
            links are does not, or if the trees differ.
    """
    try:
        return jax.tree_util.tree_map_with_path(_bind_one, params, topology)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        odd = ", ".join(sorted(filter(None, _paths(params) ^ _paths(topology))))
        how = f"they differ in {odd}" if odd else "or not in this order"
        raise InputError(
            f"parameters and topology are not of one tree, {how}: bind what sparl.topology.init "
            "returned together; layers that have all links take part as sparl.compute.dense(layers)"
        ) from error


def dense(params: Tree) -> Topology:
    """A topology of the shape of `params` in which every link exists."""
    return jax.tree.map(lambda _: None, params)


def _bind_one(path: tuple, values: jax.Array, links: Links | jax.Array | None) -> Weight:
    if links is None:
        return values
    if not (isinstance(links, Links) or jnp.issubdtype(jnp.result_type(links), jnp.bool)):
        raise InputError(
            f"the topology of {_name(path)} holds no links: {links!r}; "
            "pass the topology that sparl.topology.init returned beside the parameters"
        )
    expected = links.column.shape if isinstance(links, Links) else links.shape
    if values.shape != expected:
        raise InputError(
            f"{_name(path)} has shape {list(values.shape)}, but its links ask for "
            f"{list(expected)}: "
            "bind parameters with the topology that sparl.topology.init returned with them, and "
            "those of dense gradients with sparl.compute.dense(params)"
        )
    if isinstance(links, Links):
        return SparseWeight(values, links)
    return jnp.where(links, values, 0)


def _paths(tree: Tree) -> set[str]:
    def is_leaf(x: Any) -> bool:
        return x is None or isinstance(x, Links)

    leaves, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_leaf)
    return {_name(path) for path, _ in leaves}


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
