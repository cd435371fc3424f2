"""Neurons that do nothing."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from sparl.compute import Topology, Tree, to_masked

DORMANT = 0.025
"""At most this share of its layer's mean magnitude, and a unit counts as dormant."""


def dormant(activity: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """`dormant_LAYER`, the share of dormant units (Sokar et al., ICML 2023).

    Args:
        activity: The mean magnitude of each unit, `[units]` by layer.
    """
    return {
        f"dormant_{layer}": jnp.mean(units <= DORMANT * jnp.mean(units))
        for layer, units in activity.items()
    }


def empty_neurons(params: Tree, topology: Topology) -> dict[str, jax.Array]:
    """`empty_neurons`, the share of outputs of all sparse weights that no link leads to, if any."""
    _, masks = to_masked(params, topology)
    empty = [~jnp.any(mask, axis=1) for mask in jax.tree.leaves(masks)]
    return {"empty_neurons": jnp.mean(jnp.concatenate(empty))} if empty else {}
