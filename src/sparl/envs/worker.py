"""What a worker does: it holds environments and steps them when it is told to."""

import contextlib
import traceback
from dataclasses import dataclass
from typing import cast

import numpy as np

from sparl.envs.base import HostEnv, TimeStep, time_step_shapes
from sparl.envs.make import make
from sparl.spec import ControlSpec, EnvSpec

LARGEST = float(np.finfo(np.float16).max)
"""The largest number that a replay of episodes can hold."""


@dataclass(frozen=True)
class Reset:
    """Begin an episode.

    Attributes:
        slot: Of which environment; it is made when it is first reset.
        seed: What the episode follows from.
    """

    slot: int
    seed: int


@dataclass(frozen=True)
class Act:
    """Take a step.

    Attributes:
        slot: In which environment.
        actions: Integers `[n]`, or floats `[action_dim]`.
    """

    slot: int
    actions: np.ndarray


Order = Reset | Act


@dataclass(frozen=True)
class Broken:
    """What came of an order instead of a `TimeStep`: the episode is lost.

    Attributes:
        reason: A sentence.
        own: Whether the environment itself is to blame, and not one that shared its worker.
    """

    reason: str
    own: bool = True


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

    def play(self, order: Order) -> Answer:
        """Carry an order out."""
        try:
            if isinstance(order, Reset):
                if order.slot not in self._envs:
                    self._envs[order.slot] = cast(HostEnv, make(self._name))
                seen = self._envs[order.slot].reset(order.seed)
            elif order.slot in self._envs:
                seen = self._envs[order.slot].step(order.actions)
            else:
                return Broken("its worker was started anew", own=False)
        except (Exception, SystemExit) as error:  # Whatever it was, the learner is told.
            self._forget(order.slot)
            return Broken(_sentence(error))
        called = "reset" if isinstance(order, Reset) else "step"
        try:
            return _checked(seen, self._envs[order.slot].spec)
        except (TypeError, ValueError) as error:
            self._forget(order.slot)
            return Broken(f"what `{called}` returned will not do: {error}")

    def close(self) -> None:
        """Close all environments."""
        for slot in list(self._envs):
            self._forget(slot)

    def _forget(self, slot: int) -> None:
        env = self._envs.pop(slot, None)
        if env is not None:
            # It may be broken in every way; what matters is the next one.
            with contextlib.suppress(Exception):
                env.close()


def _checked(seen: TimeStep, spec: EnvSpec | ControlSpec) -> TimeStep:
    """In plain arrays of the shapes that the sizes promise."""
    if not isinstance(seen, TimeStep):
        raise TypeError(f"it must be a sparl.envs.TimeStep, got {type(seen).__name__}")
    plain = {}
    for name, (shape, kind) in time_step_shapes(spec).items():
        plain[name] = np.asarray(getattr(seen, name), kind)
        if plain[name].shape != shape:
            raise ValueError(f"{name} must be {list(shape)}, got {list(plain[name].shape)}")
    # The replay holds what a team sees in 16 bits.
    most = LARGEST if isinstance(spec, EnvSpec) else float(np.finfo(np.float32).max)
    for name, bound in {"obs": most, "state": most, "reward": np.finfo(np.float32).max}.items():
        if not (np.abs(plain[name]) <= bound).all():
            raise ValueError(f"{name} holds a number that is not finite or beyond {bound:.5g}")
    if isinstance(spec, EnvSpec) and not plain["avail_actions"].any(axis=1).all():
        raise ValueError("an agent has no available action")
    return TimeStep(**plain)


def _sentence(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({frame.filename}, line {frame.lineno})"
