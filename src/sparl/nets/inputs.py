"""What an agent sees: observation, last action, agent id (as in PyMARL)."""

import jax
import jax.numpy as jnp

NO_ACTION = -1
"""Stands for the last action where there was none; its one-hot code is all zeros."""


def one_hot(actions: jax.Array, num_actions: int) -> jax.Array:
    """Boolean `[..., A, C]` from integers `[..., C]`; all zeros for `NO_ACTION`."""
    return actions[..., None, :] == jnp.arange(num_actions)[:, None]


def input_dim(obs_dim: int, num_actions: int, num_agents: int) -> int:
    """Length of an agent's input."""
    return obs_dim + num_actions + num_agents


def agent_inputs(
    obs: jax.Array, last_actions: jax.Array, num_agents: int, num_actions: int
) -> jax.Array:
    """Stack observation, one-hot last action and one-hot agent id.

    Args:
        obs: `[..., obs_dim, C]` with `C = B n` columns, the `n` agents of one episode side by side.
        last_actions: Integers `[..., C]`, `NO_ACTION` where there was none.
        num_agents: `n`.
        num_actions: `A`.

    Returns:
        `[..., obs_dim + A + n, C]`.
    """
    last = one_hot(last_actions, num_actions)
    columns = jnp.arange(obs.shape[-1])
    agent = columns % num_agents == jnp.arange(num_agents)[:, None]
    agent = jnp.broadcast_to(agent, (*obs.shape[:-2], num_agents, len(columns)))
    return jnp.concatenate([obs, last.astype(obs.dtype), agent.astype(obs.dtype)], axis=-2)
