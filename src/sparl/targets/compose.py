"""A target as a composition of an operator and a return."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from sparl.config import TargetConfig
from sparl.targets.double_q import double_q
from sparl.targets.joint import Operator, by_agent
from sparl.targets.n_step import n_step
from sparl.targets.operators import maximum, softmax
from sparl.targets.soft_mellowmax import soft_mellowmax
from sparl.targets.subspace_softmax import subspace_softmax
from sparl.targets.td_lambda import td_lambda

Returns = Callable[..., jax.Array]
"""`(reward, next_value, terminated, filled, *, gamma)` to returns, each `[T, B]`."""


@dataclass(frozen=True)
class Target:
    """How Q-learning targets are made.

    Attributes:
        operator: Values the next step.
        gamma: Discount factor.
        later: The return once the burn-in is over; before it, one-step targets.
        burn_in_steps: Env steps of the burn-in (`T_0` of MAST).
    """

    operator: Operator
    gamma: float
    later: Returns
    burn_in_steps: int

    def returns(
        self,
        reward: jax.Array,
        next_value: jax.Array,
        terminated: jax.Array,
        filled: jax.Array,
        env_steps: jax.Array,
    ) -> jax.Array:
        """The target of every step, `[T, B]`; see `td_lambda` for the arguments.

        One-step while `env_steps` is below the burn-in, where values are too unreliable to look
        further ahead by them (MAST, section 3.1; RLx2), multi-step from then on.
        """
        arguments = (reward, next_value, terminated, filled)
        return jnp.where(
            env_steps < self.burn_in_steps,
            one_step(*arguments, gamma=self.gamma),
            self.later(*arguments, gamma=self.gamma),
        )


one_step = partial(n_step, n=1)
"""`r + gamma V(s')`."""


def _of_target_net(
    operator: Callable[[jax.Array, jax.Array], jax.Array],
) -> Operator:
    """An operator that values the target net's agents and does not look at the online net's."""

    def value(online_q: jax.Array, target_q: jax.Array, avail_actions: jax.Array) -> jax.Array:
        del online_q
        return operator(target_q, avail_actions)

    return by_agent(value)


SUBSPACE_SOFTMAX = "subspace_softmax"

OPERATORS: dict[str, Callable[[TargetConfig], Operator]] = {
    "double_q": lambda _: by_agent(double_q),
    "max": lambda _: _of_target_net(maximum),
    "softmax": lambda config: _of_target_net(partial(softmax, alpha=config.alpha)),
    "mellowmax": lambda config: _of_target_net(
        partial(soft_mellowmax, alpha=0.0, omega=config.omega)
    ),
    "soft_mellowmax": lambda config: _of_target_net(
        partial(soft_mellowmax, alpha=config.alpha, omega=config.omega)
    ),
    SUBSPACE_SOFTMAX: lambda config: partial(subspace_softmax, beta=config.beta),
}
"""The operators by name."""

KINDS: dict[str, Callable[[TargetConfig], tuple[Returns, float]]] = {
    "one_step": lambda _: (one_step, 0.0),
    "n_step": lambda config: (partial(n_step, n=config.n), config.delay),
    "td_lambda": lambda config: (partial(td_lambda, lam=config.lam), config.burn_in),
}
"""The kinds of return by name: the return, and the share of all env steps before it begins."""


def compose(config: TargetConfig, *, gamma: float, total_steps: int) -> Target:
    """The target that a resolved `config` describes."""
    later, burn_in = KINDS[config.kind](config)
    return Target(
        operator=OPERATORS[config.operator](config),
        gamma=gamma,
        later=later,
        burn_in_steps=round(burn_in * total_steps),
    )
