"""WQMIX's unrestricted mixer: a plain network on state and values (Rashid et al., NeurIPS 2020)."""

import jax
import jax.numpy as jnp

from sparl.compute import Tree
from sparl.nets import mlp


def init(key: jax.Array, state_dim: int, num_agents: int, embed: int) -> Tree:
    """Parameters of the network and of the state's own value.

    Args:
        key: Random key.
        state_dim: Length of the global state.
        num_agents: Number of agents `n`.
        embed: Width of all hidden layers (Rashid et al.: 256).
    """
    keys = jax.random.split(key)
    return {
        "net": mlp.init(keys[0], (state_dim + num_agents, embed, embed, embed, 1)),
        "value": mlp.init(keys[1], (state_dim, embed, 1)),
    }


def mix(weights: Tree, agent_qs: jax.Array, state: jax.Array) -> jax.Array:
    """`Q*` `[C]` from values `[n, C]` and states `[state_dim, C]`; monotonic in nothing."""
    both = jnp.concatenate([state.astype(agent_qs.dtype), agent_qs])
    return (mlp.apply(weights["net"], both) + mlp.apply(weights["value"], state))[0]
