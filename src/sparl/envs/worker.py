"""What a worker does: it holds environments and steps them when it is told to."""

import contextlib
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from sparl.envs.base import HostEnv, TimeStep
from sparl.envs.make import make
from sparl.spec import EnvSpec


@dataclass(frozen=True)
class Order:
    """What one environment shall do.

    Attributes:
        slot: Which one; it is made when it is first reset.
        seed: Begin an episode that follows from this seed.
        actions: Or take a step with these, integers `[n]`.
    """

    slot: int
    seed: int | None = None
    actions: np.ndarray | None = None


@dataclass(frozen=True)
class Broken:
    """What came of an order instead of a `TimeStep`: the episode is lost.

    Attributes:
        reason: A sentence.
    """

    reason: str


Answer = TimeStep | Broken


class Worker:
    """Holds environments of one name and does what it is ordered to.

    An environment that raises is closed and forgotten; the next reset makes another one.

    Args:
        name: The environment's name.
    """

    def __init__(self, name: str):
        self._name = name
        self._envs: dict[int, HostEnv] = {}

    def play(self, orders: Sequence[Order]) -> list[Answer]:
        """Carry the orders out, one after the other."""
        return [self._play(order) for order in orders]

    def close(self) -> None:
        """Close all environments."""
        for slot in list(self._envs):
            self._forget(slot)

    def _play(self, order: Order) -> Answer:
        try:
            if order.seed is None:
                if order.slot not in self._envs:
                    return Broken("its worker was started anew")
                seen = self._envs[order.slot].step(order.actions)
            else:
                if order.slot not in self._envs:
                    self._envs[order.slot] = cast(HostEnv, make(self._name))
                seen = self._envs[order.slot].reset(order.seed)
            return _checked(seen, self._envs[order.slot].spec)
        except Exception as error:  # Whatever it was, the learner is told.
            self._forget(order.slot)
            return Broken(_sentence(error))

    def _forget(self, slot: int) -> None:
        env = self._envs.pop(slot, None)
        if env is not None:
            # It may be broken in every way; what matters is the next one.
            with contextlib.suppress(Exception):
                env.close()


def _checked(seen: TimeStep, spec: EnvSpec) -> TimeStep:
    """In plain arrays of the shapes that the sizes promise."""
    n = spec.num_agents
    shapes = {
        "obs": (n, spec.obs_dim),
        "state": (spec.state_dim,),
        "avail_actions": (n, spec.num_actions),
        "reward": (),
        "terminated": (),
        "truncated": (),
        "won": (),
    }
    numbers = ("obs", "state", "reward")
    plain = {}
    for name, shape in shapes.items():
        plain[name] = np.asarray(getattr(seen, name), np.float32 if name in numbers else bool)
        if plain[name].shape != shape:
            raise ValueError(f"{name} must be {list(shape)}, got {list(plain[name].shape)}")
    if not plain["avail_actions"].any(axis=1).all():
        raise ValueError("an agent has no available action")
    if not all(np.isfinite(plain[name]).all() for name in numbers):
        raise ValueError("an observation, the state or the reward is not finite")
    return TimeStep(**plain)


def _sentence(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({frame.filename}, line {frame.lineno})"
