"""Environments by name."""

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path

from sparl.envs.base import HostEnv, JaxEnv
from sparl.envs.requirements import import_own
from sparl.errors import InputError, unknown_name
from sparl.spec import ControlSpec, EnvSpec

Env = JaxEnv | HostEnv


def _adapter(module: str, interface: str) -> Callable[[str], Env]:
    """An interface whose module is imported when it is first used."""

    def made(name: str) -> Env:
        return importlib.import_module(f"sparl.envs.{module}").MAKERS[interface](name)

    return made


def _own(name: str) -> Env:
    """`MODULE:NAME`, a class or function of one's own that takes no arguments."""
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise InputError(
            f"an environment of your own is named python:MODULE:NAME, got 'python:{name}'"
        )
    module = import_own(module_name)
    if not hasattr(module, attribute):
        own = [known for known in vars(module) if not known.startswith("_")]
        raise unknown_name(f"name in {module_name}", attribute, own)
    if not callable(getattr(module, attribute)):
        raise InputError(f"{name} must be a class or a function that makes an environment")
    try:
        env = getattr(module, attribute)()
    except Exception as error:
        raise InputError(f"{name}() raises {type(error).__name__}: {error}") from error
    _check_own(name, env)
    return env


def _check_own(name: str, env: Env) -> None:
    if not all(hasattr(env, part) for part in ("spec", "reset", "step")):
        raise InputError(f"{name} is no environment: it needs `spec`, `reset` and `step`")
    if not isinstance(env.spec, EnvSpec | ControlSpec):
        raise InputError(
            f"the `spec` of {name} must be a sparl.spec.EnvSpec, or ControlSpec where actions are "
            f"continuous, got {type(env.spec).__name__}"
        )
    if isinstance(env.spec, ControlSpec) and not isinstance(env, HostEnv):
        raise InputError(
            f"{name} is of continuous control, which is stepped on the host: it needs "
            "`reset(seed)`, `step(action)` and `close()`"
        )
    takes = len(inspect.signature(env.step).parameters)
    if (takes, isinstance(env, HostEnv)) not in ((1, True), (3, False)):
        raise InputError(
            f"{name} must have either `step(actions)` and `close()`, to be stepped on the host, or "
            "`step(key, state, actions)` and no `close`, to be compiled"
        )


def map_file(name: str) -> Path | None:
    """The file that the environment called `name` is read from, if there is one."""
    interface, _, rest = name.partition(":")
    return Path(rest) if interface == "smax" and rest.endswith(".toml") else None


INTERFACES: dict[str, Callable[[str], Env]] = {
    "smax": _adapter("smax", "smax"),
    "gym": _adapter("gym", "gym"),
    "mamujoco": _adapter("mamujoco", "mamujoco"),
    "smac": _adapter("smac", "smac"),
    "smacv2": _adapter("smac", "smacv2"),
    "smaclite": _adapter("smac", "smaclite"),
    "pettingzoo": _adapter("pettingzoo", "pettingzoo"),
    "lbf": _adapter("team", "lbf"),
    "rware": _adapter("team", "rware"),
    "python": _own,
}
"""The adapters, by the name before the colon."""


def make(name: str) -> Env:
    """The environment called `name`, e.g. `"smax:3m"`.

    Raises:
        InputError: If the interface or the name behind it is unknown, or what it needs is not
            installed.
    """
    interface, colon, rest = name.partition(":")
    if not colon:
        raise InputError(
            "an environment is named INTERFACE:NAME, e.g. 'smax:3m' or 'gym:HalfCheetah-v5'; got "
            f"{name!r}"
        )
    if interface not in INTERFACES:
        raise unknown_name("environment interface", interface, INTERFACES)
    return INTERFACES[interface](rest)
