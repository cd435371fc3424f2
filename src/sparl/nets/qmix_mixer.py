"""QMIX's monotonic mixing network and its hypernetworks (Rashid et al., ICML 2018)."""

import jax
import jax.numpy as jnp

from sparl.compute import Tree, linear
from sparl.nets.layers import init_linear, init_mlp


def init(key: jax.Array, state_dim: int, num_agents: int, embed: int, hypernet: int) -> Tree:
    """Parameters of the hypernetworks; the mixing weights themselves are their outputs.

    Args:
        key: Random key.
        state_dim: Length of the global state.
        num_agents: Number of agents `n`.
        embed: Width of the mixing layer (PyMARL: 32).
        hypernet: Hidden width of the two-layer hypernetworks (PyMARL: 64).
    """
    keys = jax.random.split(key, 4)
    return {
        "hyper_w1": init_mlp(keys[0], (state_dim, hypernet, num_agents * embed)),
        "hyper_b1": init_linear(keys[1], state_dim, embed),
        "hyper_wf": init_mlp(keys[2], (state_dim, hypernet, embed)),
        "value": init_mlp(keys[3], (state_dim, embed, 1)),
    }


def mix(weights: Tree, agent_qs: jax.Array, state: jax.Array) -> jax.Array:
    """`Q_tot`, monotonic in every agent's Q-value.

    Args:
        weights: Bound weights of `init`.
        agent_qs: `[n, C]`, a column being one time step of one episode.
        state: `[state_dim, C]`.

    Returns:
        `[C]`.
    """
    num_agents = agent_qs.shape[0]
    w1 = jnp.abs(_two_layers(weights["hyper_w1"], state))
    b1 = linear(weights["hyper_b1"], state)
    wf = jnp.abs(_two_layers(weights["hyper_wf"], state))
    value = _two_layers(weights["value"], state)[0]
    # XLA's CPU backend would fuse plain sums over the first axis into strided loops, fifty times
    # slower than one addition per agent and a product with ones.
    hidden = b1
    for q, w in zip(agent_qs, jnp.split(w1, num_agents), strict=True):
        hidden = hidden + q * w
    return jnp.ones(len(wf)) @ (jax.nn.elu(hidden) * wf) + value


def _two_layers(weights: Tree, x: jax.Array) -> jax.Array:
    return linear(weights["1"], linear(weights["0"], x, relu=True))
