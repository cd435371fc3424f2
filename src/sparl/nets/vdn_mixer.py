"""VDN's mixer: the sum of the agents' Q-values (Sunehag et al., AAMAS 2018)."""

import jax
import jax.numpy as jnp

from sparl.compute import Tree


def init() -> Tree:
    """No parameters."""
    return {}


def mix(weights: Tree, agent_qs: jax.Array, state: jax.Array) -> jax.Array:
    """`Q_tot` `[C]` from the agents' Q-values `[n, C]`; the state is not used."""
    del weights, state
    return jnp.sum(agent_qs, axis=0)
