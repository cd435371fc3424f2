"""The arrays of a nested tree by path, e.g. `agent/fc1/w`."""

from typing import Any

import jax

from sparl.compute import Tree


def by_name(tree: Tree) -> dict[str, Any]:
    """The leaves of `tree`, keyed by their path joined with slashes; `None` is no leaf."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {name_of(path): leaf for path, leaf in leaves}


def name_of(path: tuple[Any, ...]) -> str:
    """The name of a leaf whose path JAX gives as a tuple of keys."""
    return jax.tree_util.keystr(path, simple=True, separator="/")
