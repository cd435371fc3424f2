"""What the value-based algorithms are put together from: agents, mixers and means over steps."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sparl.compute import Tree
from sparl.nets.inputs import one_hot
from sparl.replay import Batch
from sparl.targets import Joint, td_lambda


class Mixer(NamedTuple):
    """How agents' Q-values become one; see `sparl.nets.qmix_mixer` for shapes.

    Attributes:
        init: Draws the parameters from a key.
        prepare: `(weights, state)` to all that depends on the state alone.
        mix: `(prepared, agent_qs [n, C])` to `Q_tot` `[C]`.
        deviate: `(prepared, agent_qs [n, C], q [n, A, C])` to `Q_tot` `[n, A, C]` where one agent
            alone takes another action; or `None`.
    """

    init: Callable[[jax.Array], Tree]
    prepare: Callable[[Tree, jax.Array], Any]
    mix: Callable[[Any, jax.Array], jax.Array]
    deviate: Callable[[Any, jax.Array, jax.Array], jax.Array] | None = None


def joint(mixer: Mixer, weights: Tree, q: jax.Array, state: jax.Array) -> Joint:
    """Agents' Q-values `[T, A, B n]` with the mixer of states `[state_dim, T, B]`."""
    state_dim, steps, episodes = state.shape
    num_agents = q.shape[-1] // episodes
    prepared = mixer.prepare(weights, state.reshape(state_dim, steps * episodes))

    def rows(x: jax.Array) -> jax.Array:
        """`[T, ..., B n]` to `[n, ..., T B]`."""
        x = x.reshape(*x.shape[:-1], episodes, num_agents)
        x = jnp.moveaxis(x, (-1, 0), (0, -2))
        return x.reshape(*x.shape[:-2], steps * episodes)

    def mix(agent_qs: jax.Array) -> jax.Array:
        return mixer.mix(prepared, rows(agent_qs)).reshape(steps, episodes)

    def deviate(agent_qs: jax.Array, of: Callable) -> jax.Array:
        total = of(prepared, rows(agent_qs), rows(q))
        total = total.reshape(*total.shape[:-1], steps, episodes)
        return jnp.moveaxis(total, (0, -2), (-1, 0)).reshape(q.shape)

    return Joint(q, num_agents, mix, mixer.deviate and partial(deviate, of=mixer.deviate))


def of_actions(q: jax.Array, actions: jax.Array) -> jax.Array:
    """Q-values `[T + 1, C]` of the actions taken `[T, C]`, of action 0 at the last step.

    A one-hot product, as gathers are slow on XLA's CPU backend.
    """
    taken = jnp.pad(actions, ((0, 1), (0, 0)))
    return jnp.sum(jnp.where(one_hot(taken, q.shape[1]), q, 0), axis=1)


def realised_returns(batch: Batch, gamma: float) -> jax.Array:
    """The discounted sum of rewards from each step to the end of its episode, `[T, B]`."""
    nothing = jnp.zeros_like(batch.reward)
    return td_lambda(batch.reward, nothing, batch.terminated, batch.filled, gamma=gamma, lam=1.0)


def mean_over_steps(x: jax.Array, batch: Batch) -> jax.Array:
    """The mean of `[T, B]` over all steps of all episodes."""
    return jnp.sum(jnp.where(batch.filled, x, 0)) / jnp.sum(batch.filled)


def column_lengths(batch: Batch, num_agents: int) -> jax.Array:
    """How many steps each agent sees, what was seen last included: int32 `[C]`."""
    return jnp.repeat(batch.length + 1, num_agents)
