"""What agents do with what they see, wherever the environment is stepped."""

import jax
import jax.numpy as jnp

from sparl.algorithms import Algorithm
from sparl.compute import Tree
from sparl.config import ExplorationConfig
from sparl.nets.inputs import agent_inputs


def next_q(
    algorithm: Algorithm,
    num_actions: int,
    weights: Tree,
    obs: jax.Array,
    last_actions: jax.Array,
    hidden: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """One step of the agents of `E` environments, `n` agents in each.

    Args:
        algorithm: Whose agents.
        num_actions: `A`.
        weights: Bound weights.
        obs: `[E, n, obs_dim]`.
        last_actions: Integers `[E, n]`.
        hidden: `[h, E n]`.

    Returns:
        Q-values `[A, E, n]` and the next hidden state.
    """
    columns = last_actions.size
    obs = obs.transpose(2, 0, 1).reshape(-1, columns)
    agents = last_actions.shape[1]
    inputs = agent_inputs(obs, last_actions.reshape(-1), agents, num_actions)
    q, hidden = algorithm.act(weights, inputs, hidden)
    return q.reshape(-1, *last_actions.shape), hidden


def greedy_actions(q: jax.Array, avail_actions: jax.Array) -> jax.Array:
    """Greedy available actions `[E, n]` from `[A, E, n]` and `[E, n, A]`."""
    return jnp.argmax(jnp.where(avail_actions.transpose(2, 0, 1), q, -jnp.inf), axis=0)


def explore(
    key: jax.Array, greedy: jax.Array, avail_actions: jax.Array, epsilon: jax.Array
) -> jax.Array:
    """Each agent by itself explores with probability `epsilon`, uniformly over what it can do."""
    explore_key, action_key = jax.random.split(key)
    # The largest of independent uniform draws is a uniform choice.
    draws = jax.random.uniform(action_key, (avail_actions.shape[-1], *greedy.shape))
    explores = jax.random.uniform(explore_key, greedy.shape) < epsilon
    return jnp.where(explores, greedy_actions(draws, avail_actions), greedy)


def epsilon(exploration: ExplorationConfig, env_steps: jax.typing.ArrayLike) -> jax.Array:
    """The share of random actions after `env_steps`."""
    progress = jnp.minimum(jnp.asarray(env_steps) / exploration.anneal_steps, 1.0)
    return exploration.start + (exploration.finish - exploration.start) * progress
