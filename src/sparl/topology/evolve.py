"""One topology change over a whole tree of parameters."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from sparl.compute import Tree, bind
from sparl.topology.names import by_name, name_of
from sparl.topology.rigl import rigl
from sparl.topology.set import set_

Rule = Callable[[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]
"""`(key, weight, mask, gradient, fraction)` of one layer to its new mask of as many links."""

RULES: dict[str, Rule | None] = {"dense": None, "static": None, "set": set_, "rigl": rigl}
"""The evolution rule of each topology kind; `None` where links never move."""


def evolve(
    rule: Rule,
    key: jax.Array,
    params: Tree,
    topology: Tree,
    gradients: Tree,
    fraction: jax.Array | float,
) -> tuple[Tree, Tree, dict[str, jax.Array]]:
    """Change the topology of every sparse layer by `rule`.

    Surviving links, and links dropped and grown again at once, keep their weight; new links start
    at zero; absent ones hold zero.

    Args:
        rule: A rule of `RULES`.
        key: Random key.
        params: Weights and biases.
        topology: Their links.
        gradients: Dense gradients of the shape of `params`.
        fraction: Share of each layer's links to move.

    Returns:
        The new parameters, the new topology, and for each sparse layer by name the share of its
        links that are new.
    """
    masks = by_name(topology)
    keys = dict(zip(masks, jax.random.split(key, len(masks)), strict=True))
    changed = {}

    def change(path: tuple, weight: jax.Array, mask: jax.Array | None, gradient: jax.Array):
        if mask is None:
            return None
        name = name_of(path)
        new = rule(keys[name], weight, mask, gradient, jnp.asarray(fraction))
        changed[name] = jnp.sum(new & ~mask) / jnp.sum(mask)
        return new

    topology = jax.tree_util.tree_map_with_path(change, params, topology, gradients)
    return bind(params, topology), topology, changed
