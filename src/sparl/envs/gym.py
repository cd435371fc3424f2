"""Gymnasium's environments with continuous actions, MuJoCo's among them (Towers et al., 2024)."""

import contextlib
import logging
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import gymnasium
import numpy as np
from gymnasium import error as gym_error
from gymnasium.envs.registration import find_highest_version, get_env_id, parse_env_id
from gymnasium.spaces import Box

from sparl.envs.base import TimeStep
from sparl.envs.requirements import import_own
from sparl.errors import InputError, unknown_name
from sparl.spec import ControlSpec

WITHOUT_LIMIT = 1000
"""Longest episode of an environment that has no time limit of its own."""
INSTALL_MUJOCO = "pip install '.[mujoco]' in a checkout of sparl"
"""What brings MuJoCo, and Gymnasium-Robotics with it."""
_NOTHING = np.zeros(0, np.float32)
_REGISTER_IT = "Register what is wrapped in a module of your own, and pass gym:MODULE:NAME"


class Gym:
    """One environment of Gymnasium's, its actions stretched from [-1, 1] to what it takes.

    Args:
        env: The environment.
        name: What it is called in errors.

    Raises:
        InputError: If a space is not one that an actor and a critic can have.
    """

    def __init__(self, env: gymnasium.Env, name: str):
        self._env = env
        actions, views = env.action_space, env.observation_space
        if not isinstance(actions, Box):
            raise InputError(
                f"{name} has the action space {actions}: Gymnasium's environments need continuous "
                "actions here, a Box, for td3 and sac; choose another environment"
            )
        floats = np.issubdtype(actions.dtype, np.floating)
        with np.errstate(over="ignore"):  # Bounds may be the largest numbers that there are.
            span = actions.high - actions.low
        if len(actions.shape) != 1 or not floats or not np.isfinite(span).all():
            raise InputError(
                f"{name} has the action space {actions}: it must be a vector of floats with finite "
                f"bounds; gymnasium.wrappers.TransformAction makes one. {_REGISTER_IT}"
            )
        if not isinstance(views, Box) or len(views.shape) != 1:
            raise InputError(
                f"{name} has the observation space {views}: it must be a vector, as networks here "
                "do not see images or dictionaries; gymnasium.wrappers.FlattenObservation makes "
                f"one. {_REGISTER_IT}"
            )
        self._low, self._high = actions.low, actions.high
        limit = env.spec.max_episode_steps if env.spec else None
        self.spec = ControlSpec(
            obs_dim=views.shape[0],
            action_dim=actions.shape[0],
            episode_limit=limit or WITHOUT_LIMIT,
        )

    def reset(self, seed: int) -> TimeStep:
        """Begin an episode."""
        obs, _ = self._env.reset(seed=seed)
        return seen(obs, 0.0, terminated=False, truncated=False)

    def step(self, actions: Any) -> TimeStep:
        """Take one step with an action in [-1, 1], `[action_dim]`."""
        action = stretched(actions, self._low, self._high)
        obs, reward, terminated, truncated, _ = self._env.step(action.astype(self._low.dtype))
        return seen(obs, float(reward), terminated=terminated, truncated=truncated)

    def close(self) -> None:
        """Close the environment."""
        self._env.close()


def make(name: str) -> Gym:
    """An environment by the name that it is registered by, e.g. `"HalfCheetah-v5"`.

    One that a module registers when it is imported is named `"MODULE:NAME"`.

    Raises:
        InputError: If there is none, it cannot be made, or its spaces will not do.
    """
    called = f"gym:{name}"
    own, colon, registered = name.rpartition(":")
    if colon:
        import_own(own)
    try:
        newest, version = _newest(registered), parse_env_id(registered)[2]
    except gym_error.Error as error:
        raise InputError(f"{called}: {error}") from error
    if newest != registered and version is None:
        raise InputError(
            f"{called} names no version, without which no run can be repeated: pass "
            f"{called.removesuffix(registered)}{newest}, the last"
        )
    hush_mujoco()
    try:
        env = gymnasium.make(registered)
    except (ImportError, AttributeError, gym_error.DependencyNotInstalled) as error:
        found = find_spec("mujoco")
        if "mujoco" in str(error).lower() and (found is None or found.origin is None):
            raise InputError(
                f"{called} needs MuJoCo, which is not installed: {INSTALL_MUJOCO}"
            ) from error
        whole = called.removesuffix(registered) + newest
        instead = "" if newest == registered else f". The last version is {whole}"
        raise InputError(f"{called} cannot be made: {str(error).rstrip('.')}{instead}") from error
    except gym_error.UnregisteredEnv as error:
        known = set(map(_newest, gymnasium.registry))
        raise unknown_name("environment of Gymnasium", registered, known) from error
    except gym_error.Error as error:
        raise InputError(f"{called}: {error}") from error
    except Exception as error:
        raise InputError(f"{called} raises {type(error).__name__}: {error}") from error
    return Gym(env, called)


def _newest(registered: str) -> str:
    """The name of the last version of an environment, by that of any or of none."""
    namespace, name, _ = parse_env_id(registered)
    return get_env_id(namespace, name, find_highest_version(namespace, name))


def hush_mujoco() -> None:
    """Have MuJoCo's warnings logged."""
    with contextlib.suppress(Exception):  # Which an environment that needs it meets again.
        import_module("mujoco").set_mju_user_warning(warn)


MAKERS = {"gym": make}
"""The one interface of this module."""


def warn(message: str) -> None:
    """Log what MuJoCo would print and write into a file of the current folder."""
    # What Gymnasium's models are made of is none of our users' business.
    level = logging.DEBUG if "deprecated" in message else logging.WARNING
    logging.getLogger(__name__).log(level, "MuJoCo: %s", message)


def stretched(actions: Any, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Actions in [-1, 1] as they lie between bounds of their shape; rounding takes none beyond."""
    return np.clip(low + (np.asarray(actions) + 1) / 2 * (high - low), low, high)


def seen(obs: np.ndarray, reward: float, *, terminated: bool, truncated: bool) -> TimeStep:
    """What an environment without states and available actions shows."""
    return TimeStep(
        obs=np.asarray(obs, np.float32),
        state=_NOTHING,
        avail_actions=_NOTHING,
        reward=reward,
        terminated=terminated,
        # Whoever bootstraps from the last state must not be told both.
        truncated=truncated and not terminated,
        won=False,
    )
