"""What an environment is to the rest of sparl."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

from sparl.spec import ControlSpec, EnvSpec


class TimeStep(NamedTuple):
    """What is seen after a reset or a step: arrays of JAX or of NumPy alike.

    An environment of one agent with continuous actions observes `[obs_dim]`, and has neither a
    state nor available actions: these are empty.

    After the last step of an episode this is its final observation; nothing is reset behind the
    caller's back. At a reset, `reward` is 0 and the flags are false.

    Attributes:
        obs: `[n, obs_dim]`, about unit scale, within the range of 16-bit floats.
        state: `[state_dim]`, likewise.
        avail_actions: Boolean `[n, A]`; at least one action of each agent is available.
        reward: Scalar, shared by the team.
        terminated: The episode has ended in a terminal state: nothing follows, do not bootstrap.
        truncated: The episode was cut off, by a time limit for example: bootstrap.
        won: The episode has ended in a win.
    """

    obs: Any
    state: Any
    avail_actions: Any
    reward: Any
    terminated: Any
    truncated: Any
    won: Any


def time_step_shapes(spec: EnvSpec | ControlSpec) -> dict[str, tuple[tuple[int, ...], type]]:
    """The shape and the type of each field of a `TimeStep`."""
    if isinstance(spec, ControlSpec):
        obs, state, avail_actions = (spec.obs_dim,), (0,), (0,)
    else:
        n = spec.num_agents
        obs, state, avail_actions = (n, spec.obs_dim), (spec.state_dim,), (n, spec.num_actions)
    return {
        "obs": (obs, np.float32),
        "state": (state, np.float32),
        "avail_actions": (avail_actions, bool),
        "reward": ((), np.float32),
        "terminated": ((), bool),
        "truncated": ((), bool),
        "won": ((), bool),
    }


@runtime_checkable
class JaxEnv(Protocol):
    """An environment that is stepped inside the compiled program.

    Pure functions of one environment; the rollout vectorises them.
    """

    spec: EnvSpec

    def reset(self, key: jax.Array) -> tuple[Any, TimeStep]:
        """Begin an episode: the environment's state (a pytree of fixed types) and what is seen."""
        ...

    def step(self, key: jax.Array, state: Any, actions: jax.Array) -> tuple[Any, TimeStep]:
        """Take one step with `actions`, integers `[n]`."""
        ...


@runtime_checkable
class HostEnv(Protocol):
    """An environment that is stepped by Python on the host, such as SMAC or one of Gymnasium's.

    It keeps its own state; what it says of an episode is what a `JaxEnv` says, in NumPy. It lives
    in a worker process, which starts another one in its place if it raises or does not answer; one
    more is made, and closed again, where only its sizes are needed.
    """

    spec: EnvSpec | ControlSpec

    def reset(self, seed: int) -> TimeStep:
        """Begin an episode that follows from `seed`, an integer below `2**32`."""
        ...

    def step(self, actions: Any) -> TimeStep:
        """Take one step with `actions`, integers `[n]`, or floats `[action_dim]` in [-1, 1]."""
        ...

    def close(self) -> None:
        """Release what the environment holds."""
        ...
