"""Joint values: what an operator values the next step by."""

from collections.abc import Callable
from dataclasses import dataclass

import jax

Operator = Callable[["Joint", "Joint", jax.Array], jax.Array]
"""`(online, target, avail_actions [T, A, C])` to the value of every step, `[T, B]`."""

OfAgents = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
"""`(online q, target q, avail_actions)`, each `[T, A, C]`, to a value per agent `[T, C]`."""


@dataclass(frozen=True)
class Joint:
    """The Q-values of `B` episodes' agents, `C = B n` columns, and how they are mixed into one.

    Attributes:
        q: `[T, A, C]`.
        num_agents: `n`.
        mix: The agents' values `[T, C]` to `Q_tot` `[T, B]`.
        deviate: The values `[T, C]` of a joint action to those of all in which one agent alone
            takes another action, `[T, A, C]`; or `None` if the mixer has no such function.
    """

    q: jax.Array
    num_agents: int
    mix: Callable[[jax.Array], jax.Array]
    deviate: Callable[[jax.Array], jax.Array] | None = None


def by_agent(operator: OfAgents) -> Operator:
    """An operator that values each agent by itself and mixes the values as the target does."""

    def value(online: Joint, target: Joint, avail_actions: jax.Array) -> jax.Array:
        return target.mix(operator(online.q, target.q, avail_actions))

    return value
