"""What algorithms are that learn from single steps, and what TD3 and SAC share."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from sparl.compute import Tree
from sparl.nets import mlp
from sparl.replay.transitions import TransitionBatch

Loss = Callable[[Tree, Tree, TransitionBatch, jax.Array], tuple[jax.Array, dict[str, jax.Array]]]
"""`(weights, target weights, batch, key)` to the loss and scalars that describe it."""


class Part(NamedTuple):
    """A loss, and the networks that it trains; the parts of an algorithm take turns.

    Attributes:
        name: What its loss is called in the metrics.
        networks: Names of the networks whose parameters it changes.
        loss: The loss.
        every: Updates from one step of this part to the next.
    """

    name: str
    networks: tuple[str, ...]
    loss: Loss
    every: int = 1


class Control(Protocol):
    """Networks and losses. Pure: everything that changes is passed in."""

    @property
    def name(self) -> str:
        """The name that `--algorithm` takes."""
        ...

    @property
    def parts(self) -> tuple[Part, ...]:
        """The losses, in the order in which an update goes through them."""
        ...

    @property
    def targets(self) -> tuple[str, ...]:
        """The networks that have target copies."""
        ...

    @property
    def acting(self) -> tuple[str, ...]:
        """The networks that choose actions."""
        ...

    def init(self, key: jax.Array) -> Tree:
        """Parameters, one entry per network; each network has a sparsity budget of its own."""
        ...

    def act(self, weights: Tree, obs: jax.Array) -> jax.Array:
        """The best actions `[action_dim, C]` in [-1, 1] for observations `[obs_dim, C]`."""
        ...

    def explore(self, weights: Tree, obs: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The best actions and those that training takes, likewise."""
        ...

    def activity(self, weights: Tree, batch: TransitionBatch) -> dict[str, jax.Array]:
        """The mean magnitude of each hidden unit, `[units]` by layer."""
        ...


def noisy(action: jax.Array, key: jax.Array, scale: float) -> jax.Array:
    """Actions with Gaussian noise of this standard deviation, clipped to [-1, 1]."""
    return jnp.clip(action + scale * jax.random.normal(key, action.shape), -1, 1)


CRITICS = ("critic1", "critic2")
"""The networks of the two critics."""


def init_critics(key: jax.Array, obs_dim: int, action_dim: int, hidden: int) -> Tree:
    """Two networks from an observation and an action to a value."""
    widths = (obs_dim + action_dim, hidden, hidden, 1)
    keys = jax.random.split(key, len(CRITICS))
    return {name: mlp.init(k, widths) for name, k in zip(CRITICS, keys, strict=True)}


def values(weights: Tree, obs: jax.Array, action: jax.Array) -> jax.Array:
    """What both critics hold of `[obs_dim, C]` and `[action_dim, C]`: `[2, C]`."""
    both = jnp.concatenate([obs, action])
    return jnp.concatenate([mlp.apply(weights[name], both) for name in CRITICS])


def activity(weights: Tree, batch: TransitionBatch) -> dict[str, jax.Array]:
    """The mean magnitude of the hidden units of actor and critics, `[units]` by layer."""
    both = jnp.concatenate([batch.obs, batch.action])
    inputs = {"actor": batch.obs} | dict.fromkeys(CRITICS, both)
    return {
        f"{name}_{i}": jnp.mean(jnp.abs(layer), axis=1)
        for name, x in inputs.items()
        for i, layer in enumerate(mlp.hidden(weights[name], x)[:-1])
    }


def last_obs(batch: TransitionBatch) -> jax.Array:
    """What was seen after the last of the steps that are included, `[obs_dim, B]`."""
    return jnp.take_along_axis(batch.next_obs, (_steps(batch) - 1)[None, None], axis=0)[0]


def returns(batch: TransitionBatch, value: jax.Array, *, gamma: float) -> jax.Array:
    """Discounted sums of rewards and of the value of what was seen after them.

    A terminal state has no value; where a time limit cut the episode off, its final state has one,
    after fewer rewards (RLx2, Tan et al., ICLR 2023).

    Args:
        batch: Steps, of which those that are included count.
        value: Of `last_obs`, `[B]`.
        gamma: Discount factor.

    Returns:
        `[B]`.
    """
    discount = gamma ** jnp.arange(len(batch.reward))[:, None]
    rewards = jnp.sum(jnp.where(batch.included, discount * batch.reward, 0), axis=0)
    terminated = jnp.any(batch.included & batch.terminated, axis=0)
    return rewards + jnp.where(terminated, 0, gamma ** _steps(batch) * value)


def critic_loss(weights: Tree, batch: TransitionBatch, target: jax.Array) -> tuple:
    """The sum of both critics' mean squared errors, and what describes them."""
    q = values(weights, batch.obs, batch.action)
    loss = jnp.sum(jnp.mean((q - target) ** 2, axis=1))
    return loss, {
        "q": jnp.mean(q),
        "target": jnp.mean(target),
        "td_error": jnp.mean(jnp.abs(q - target)),
    }


def _steps(batch: TransitionBatch) -> jax.Array:
    return jnp.sum(batch.included, axis=0)
