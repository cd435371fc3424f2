"""A target as a composition of an operator and a return."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from sparl.config import TargetConfig
from sparl.targets.double_q import double_q
from sparl.targets.soft_mellowmax import soft_mellowmax
from sparl.targets.td_lambda import td_lambda

Operator = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
"""`(online_q, target_q, avail_actions)`, each `[..., A, C]`, to values `[..., C]`."""


@dataclass(frozen=True)
class Target:
    """How Q-learning targets are made.

    Attributes:
        operator: Values the next step's Q-values.
        gamma: Discount factor.
        lam: TD(lambda)'s parameter once the burn-in is over; 0 for one-step targets.
        burn_in_steps: Env steps before which the target is one-step (`T_0` of MAST).
    """

    operator: Operator
    gamma: float
    lam: float
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

        MAST's hybrid scheme (section 3.1): one-step while `env_steps` is below the burn-in, where
        values are too unreliable to sum, TD(lambda) from then on.
        """
        lam = jnp.where(env_steps < self.burn_in_steps, 0.0, self.lam)
        return td_lambda(reward, next_value, terminated, filled, gamma=self.gamma, lam=lam)


OPERATORS: dict[str, Callable[[TargetConfig], Operator]] = {
    "double_q": lambda _: double_q,
    "soft_mellowmax": lambda config: partial(
        _of_target_net, operator=partial(soft_mellowmax, alpha=config.alpha, omega=config.omega)
    ),
}
"""The operators by name."""

KINDS = ("one_step", "td_lambda")
"""The kinds of return by name."""


def compose(config: TargetConfig, *, gamma: float, total_steps: int) -> Target:
    """The target that a resolved `config` describes."""
    hybrid = config.kind == "td_lambda"
    return Target(
        operator=OPERATORS[config.operator](config),
        gamma=gamma,
        lam=config.lam if hybrid else 0.0,
        burn_in_steps=round(config.burn_in * total_steps) if hybrid else 0,
    )


def _of_target_net(
    online_q: jax.Array,
    target_q: jax.Array,
    avail_actions: jax.Array,
    *,
    operator: Callable[[jax.Array, jax.Array], jax.Array],
) -> jax.Array:
    """An operator that does not look at the online net."""
    del online_q
    return operator(target_q, avail_actions)
