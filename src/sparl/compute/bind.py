"""Join parameters and links into weights that multiply."""

from typing import Any

import jax
import jax.numpy as jnp

Tree = Any
"""A nested dict of arrays."""

Links = jax.Array | None
"""Where one weight has its links: `None` (everywhere) or a boolean mask `[out, in]`."""


FORMS = ("dense", "masked")
"""The forms in which weights can be held."""


def bind(params: Tree, topology: Tree) -> Tree:
    """Weights ready to multiply, from values and links.

    Call it once per loss or rollout, outside any `scan`, so that masking is not repeated at every
    time step. Differentiating through it yields exactly zero for absent links; binding with
    `dense(params)` in place of the topology yields the gradient of absent links too, which is what
    RigL grows by.

    Args:
        params: Nested dicts of arrays; absent links hold zero.
        topology: The same tree with, for each array, its `Links`.

    Returns:
        The same tree, each weight in the form that `linear` takes.
    """
    return jax.tree.map(_bind_one, params, topology)


def dense(params: Tree) -> Tree:
    """A topology of the shape of `params` in which every link exists."""
    return jax.tree.map(lambda _: None, params)


def _bind_one(values: jax.Array, links: Links) -> jax.Array:
    return values if links is None else jnp.where(links, values, 0)
