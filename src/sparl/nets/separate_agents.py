"""Agents with a network of their own each, as in MAST's role experiment (Hu et al., 2024, 4.2).

Their weights are stacked, `[n out, in]`, the rows of one agent side by side: to the topology that
is one layer with one budget of links, which may move from agent to agent.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sparl.compute import Tree
from sparl.nets import agent


def init(key: jax.Array, inputs: int, hidden: int, actions: int, *, networks: int) -> Tree:
    """Parameters of `networks` agents, drawn independently."""
    keys = jax.random.split(key, networks)
    each = jax.vmap(lambda k: agent.init(k, inputs, hidden, actions))(keys)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), each)


def step(
    weights: Tree, inputs: jax.Array, hidden: jax.Array, *, networks: int
) -> tuple[jax.Array, jax.Array]:
    """As `agent.step`, column `c` by the network of agent `c % networks`."""
    q, hidden = _each(agent.step, weights, networks, inputs, hidden)
    return _together(q), _together(hidden)


def unroll(weights: Tree, inputs: jax.Array, length: jax.Array, *, networks: int) -> jax.Array:
    """As `agent.unroll`, column `c` by the network of agent `c % networks`."""
    return _together(_each(agent.unroll, weights, networks, inputs, length))


def activity(
    weights: Tree, inputs: jax.Array, length: jax.Array, *, networks: int
) -> dict[str, jax.Array]:
    """As `agent.activity`, the units of all networks behind one another."""
    layers = _each(agent.activity, weights, networks, inputs, length)
    return {name: units.reshape(-1) for name, units in layers.items()}


def _each(fn: Callable, weights: Tree, networks: int, *columns: jax.Array) -> Any:
    """`fn` of each agent's weights and columns; what it returns gains a first axis of agents."""
    own = jax.tree.map(lambda x: x.reshape(networks, -1, *x.shape[1:]), weights)
    apart = (jnp.moveaxis(x.reshape(*x.shape[:-1], -1, networks), -1, 0) for x in columns)
    # One after the other: XLA's CPU backend multiplies batches of matrices slowly.
    return jax.lax.map(lambda each: fn(*each), (own, *apart))


def _together(x: jax.Array) -> jax.Array:
    """`[n, ..., B]` to `[..., B n]`."""
    x = jnp.moveaxis(x, 0, -1)
    return x.reshape(*x.shape[:-2], -1)
