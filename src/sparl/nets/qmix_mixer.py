"""QMIX's monotonic mixing network and its hypernetworks (Rashid et al., ICML 2018)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sparl.compute import Tree, linear
from sparl.nets import mlp
from sparl.nets.layers import init_linear


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
        "hyper_w1": mlp.init(keys[0], (state_dim, hypernet, num_agents * embed)),
        "hyper_b1": init_linear(keys[1], state_dim, embed),
        "hyper_wf": mlp.init(keys[2], (state_dim, hypernet, embed)),
        "value": mlp.init(keys[3], (state_dim, embed, 1)),
    }


class Mixing(NamedTuple):
    """What the hypernetworks make of `C` states.

    Attributes:
        w1: Weights of the first layer, not negative, `[n embed, C]`, agent by agent.
        b1: Its biases `[embed, C]`.
        wf: Weights of the second layer, not negative, `[embed, C]`.
        value: Its bias `[C]`.
    """

    w1: jax.Array
    b1: jax.Array
    wf: jax.Array
    value: jax.Array


def prepare(weights: Tree, state: jax.Array) -> Mixing:
    """All of the mixer that depends on the state `[state_dim, C]` alone."""
    return Mixing(
        w1=jnp.abs(mlp.apply(weights["hyper_w1"], state)),
        b1=linear(weights["hyper_b1"], state),
        wf=jnp.abs(mlp.apply(weights["hyper_wf"], state)),
        value=mlp.apply(weights["value"], state)[0],
    )


def mix(mixing: Mixing, agent_qs: jax.Array) -> jax.Array:
    """`Q_tot`, monotonic in every agent's Q-value.

    Args:
        mixing: Of `prepare`.
        agent_qs: `[n, C]`, a column being one time step of one episode.

    Returns:
        `[C]`.
    """
    return _output(mixing, _hidden(mixing, agent_qs))


def deviate(mixing: Mixing, agent_qs: jax.Array, q: jax.Array) -> jax.Array:
    """`Q_tot` of every joint action in which one agent alone leaves a common one.

    Args:
        mixing: Of `prepare`.
        agent_qs: Values of the common joint action `[n, C]`.
        q: Values of each agent's actions `[n, A, C]`.

    Returns:
        `[n, A, C]`: where agent `i` takes action `a`, and the others what they took.
    """
    hidden = _hidden(mixing, agent_qs)  # Changes by one agent's share.
    change = q - agent_qs[:, None]
    w1 = mixing.w1.reshape(len(agent_qs), len(hidden), 1, -1)

    def add(unit: jax.Array, total: jax.Array) -> jax.Array:
        return total + jax.nn.elu(hidden[unit] + change * w1[:, unit]) * mixing.wf[unit]

    # Unit by unit, as arrays of all units would not stay in the cache; a loop of XLA's and not of
    # Python's, so that XLA does not work `change` out again for each.
    return jax.lax.fori_loop(0, len(hidden), add, jnp.zeros_like(q)) + mixing.value


def _hidden(mixing: Mixing, agent_qs: jax.Array) -> jax.Array:
    # XLA's CPU backend would fuse plain sums over the first axis into strided loops, fifty times
    # slower than one addition per agent and a product with ones.
    hidden = mixing.b1
    for q, w in zip(agent_qs, jnp.split(mixing.w1, len(agent_qs)), strict=True):
        hidden = hidden + q * w
    return hidden


def _output(mixing: Mixing, hidden: jax.Array) -> jax.Array:
    return jnp.ones(len(hidden)) @ (jax.nn.elu(hidden) * mixing.wf) + mixing.value
