"""The recurrent agent of PyMARL: linear, ReLU, GRU, linear, shared by all agents."""

import jax
import jax.numpy as jnp

from sparl.compute import Tree, linear, recurrent
from sparl.nets.layers import init_gru, init_linear


def init(key: jax.Array, inputs: int, hidden: int, actions: int) -> Tree:
    """Parameters of an agent with `inputs` features, `hidden` units and `actions` outputs."""
    keys = jax.random.split(key, 3)
    return {
        "fc1": init_linear(keys[0], inputs, hidden),
        "rnn": init_gru(keys[1], hidden, hidden),
        "fc2": init_linear(keys[2], hidden, actions),
    }


def initial_hidden(hidden: int, columns: int) -> jax.Array:
    """The hidden state with which an episode starts: zeros `[hidden, columns]`."""
    return jnp.zeros((hidden, columns))


def step(weights: Tree, inputs: jax.Array, hidden: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Q-values of one time step.

    Args:
        weights: Bound weights.
        inputs: `[in, C]` where `C` counts columns, one per agent and environment.
        hidden: `[h, C]`.

    Returns:
        Q-values `[A, C]` over `A` actions and the next hidden state `[h, C]`.
    """
    return recurrent.step(weights, inputs, hidden)


def unroll(weights: Tree, inputs: jax.Array, length: jax.Array) -> jax.Array:
    """Q-values of whole sequences, each from a zero hidden state.

    Args:
        weights: Bound weights.
        inputs: `[T, in, C]`.
        length: int32 `[C]`: how many steps each column has; Q-values past them mean nothing.

    Returns:
        `[T, A, C]`.
    """
    return recurrent.unroll(weights, inputs, length)


def activity(weights: Tree, inputs: jax.Array, length: jax.Array) -> dict[str, jax.Array]:
    """The mean magnitude of what each unit of the hidden layers passes on.

    Args:
        weights: Bound weights.
        inputs: `[T, in, C]`.
        length: int32 `[C]`: how many steps each column has; later ones do not count.

    Returns:
        `fc1` `[f]` and `rnn` `[h]`.
    """
    counts = jnp.arange(len(inputs))[:, None] < length
    features = jnp.where(counts[:, None], linear(weights["fc1"], inputs, relu=True), 0)
    layers = {"fc1": features, "rnn": recurrent.states(weights, inputs, length)}
    return {name: jnp.sum(jnp.abs(x), axis=(0, 2)) / jnp.sum(counts) for name, x in layers.items()}
