"""VDN's mixer: the sum of the agents' Q-values (Sunehag et al., AAMAS 2018)."""

import jax
import jax.numpy as jnp

from sparl.compute import Tree


def init() -> Tree:
    """No parameters."""
    return {}


def prepare(weights: Tree, state: jax.Array) -> None:
    """Nothing depends on the state."""
    del weights, state


def mix(mixing: None, agent_qs: jax.Array) -> jax.Array:
    """`Q_tot` `[C]` from the agents' Q-values `[n, C]`."""
    del mixing
    return jnp.sum(agent_qs, axis=0)


def deviate(mixing: None, agent_qs: jax.Array, q: jax.Array) -> jax.Array:
    """`Q_tot` `[n, A, C]` where one agent alone leaves a common joint action.

    Args:
        mixing: Of `prepare`.
        agent_qs: Values of the common joint action `[n, C]`.
        q: Values of each agent's actions `[n, A, C]`.
    """
    return mix(mixing, agent_qs) + q - agent_qs[:, None]
