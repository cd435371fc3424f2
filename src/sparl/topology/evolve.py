"""One topology change over a whole tree of parameters."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from sparl.compute import Topology, Tree, bind, carry_over, link_counts_of, to_masked, to_sparse
from sparl.topology.ds import ds
from sparl.topology.names import by_name, name_of
from sparl.topology.rigl import rigl
from sparl.topology.set import set_

Rule = Callable[[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]
"""`(key, weight, mask, gradient, fraction)` of one layer to its new mask of as many links."""

RULES: dict[str, Rule | None] = {
    "dense": None,
    "tiny": None,
    "static": None,
    "set": set_,
    "rigl": rigl,
    "ds": ds,
}
"""The evolution rule of each topology kind; `None` where links never move."""

WHOLE = ("dense", "tiny")
"""The kinds that have all links; `tiny` is narrow instead."""


def evolve(
    rule: Rule,
    key: jax.Array,
    params: Tree,
    topology: Tree,
    gradients: Tree,
    fraction: jax.Array | float,
    apart: Mapping[str, int] | None = None,
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
        apart: Networks (the first part of a layer's name) whose weights stack several agents', and
            how many: each keeps its number of links. In others links move wherever they will.

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
        blocks = (apart or {}).get(name.split("/")[0], 1)
        new = _by_blocks(rule, blocks, keys[name], weight, mask, gradient, jnp.asarray(fraction))
        changed[name] = jnp.sum(new & ~mask) / jnp.sum(mask)
        return new

    topology = jax.tree_util.tree_map_with_path(change, params, topology, gradients)
    return bind(params, topology), topology, changed


def move_links(
    rule: Rule,
    key: jax.Array,
    optimizer: optax.GradientTransformation,
    trained: tuple[Tree, Any, Topology],
    gradients: Tree,
    fraction: jax.Array | float,
    apart: Mapping[str, int] | None = None,
) -> tuple[tuple[Tree, Any, Topology], dict[str, jax.Array]]:
    """`evolve` for what is being trained, in any form of compute.

    Args:
        rule: A rule of `RULES`.
        key: Random key.
        optimizer: Whose state is carried along: moments of new links are zero.
        trained: Parameters, the optimiser's state, and the topology.
        gradients: Dense gradients: `[out, in]` for every weight.
        fraction: Share of each layer's links to move.
        apart: See `evolve`.

    Returns:
        The same three after the change, and for each sparse layer by name the share of its links
        that are new.
    """
    params, opt_state, topology = trained
    masked, masks = to_masked(params, topology)
    masked, masks, changed = evolve(rule, key, masked, masks, gradients, fraction, apart)
    moved, after = to_sparse(masked, masks, link_counts_of(params, topology))
    return (moved, carry_moments(optimizer, opt_state, topology, after), after), changed


def carry_moments(
    optimizer: optax.GradientTransformation, opt_state: Any, before: Topology, after: Topology
) -> Any:
    """An optimiser's state on other links, or on the same in another form."""
    return map_moments(optimizer, carry_over, opt_state, before, after)


def map_moments(
    optimizer: optax.GradientTransformation,
    function: Callable[..., Any],
    opt_state: Any,
    *trees: Tree,
) -> Any:
    """An optimiser's state with `function` of each moment and its parameter's leaves in `trees`."""

    def mapped(moments: Any, *leaves: Any) -> Any:
        # `optax.masked` and `optax.partition` leave out what is not theirs.
        return moments if isinstance(moments, optax.MaskedNode) else function(moments, *leaves)

    return optax.tree_utils.tree_map_params(
        optimizer,
        mapped,
        opt_state,
        *trees,
        is_leaf=lambda x: isinstance(x, optax.MaskedNode),
    )


def _by_blocks(
    rule: Rule,
    blocks: int,
    key: jax.Array,
    weight: jax.Array,
    mask: jax.Array,
    gradient: jax.Array,
    fraction: jax.Array,
) -> jax.Array:
    """The rule on each of the equal blocks of rows by itself."""
    if blocks == 1:
        return rule(key, weight, mask, gradient, fraction)
    keys = jax.random.split(key, blocks)
    weight, mask, gradient = (x.reshape(blocks, -1, x.shape[1]) for x in (weight, mask, gradient))
    by_block = jax.vmap(rule, in_axes=(0, 0, 0, 0, None))
    return by_block(keys, weight, mask, gradient, fraction).reshape(-1, mask.shape[-1])
