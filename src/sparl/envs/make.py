"""Environments by name."""

import importlib
import sys
from collections.abc import Callable

from sparl.envs.base import HostEnv, JaxEnv
from sparl.errors import InputError, unknown_name

Env = JaxEnv | HostEnv


def _smax(name: str) -> Env:
    from sparl.envs.smax import Smax  # noqa: PLC0415  (importing jaxmarl takes a second)

    return Smax(name)


def _smac(interface: str) -> Callable[[str], Env]:
    def made(name: str) -> Env:
        from sparl.envs import smac  # noqa: PLC0415

        return smac.MAKERS[interface](name)

    return made


def _pettingzoo(name: str) -> Env:
    from sparl.envs import pettingzoo  # noqa: PLC0415

    return pettingzoo.make(name)


def _team(interface: str) -> Callable[[str], Env]:
    def made(name: str) -> Env:
        from sparl.envs import team  # noqa: PLC0415

        return team.MAKERS[interface](name)

    return made


def _own(name: str) -> Env:
    """`MODULE:NAME`, a class or function of one's own that takes no arguments."""
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise InputError(
            f"an environment of your own is named python:MODULE:NAME, got 'python:{name}'"
        )
    if "" not in sys.path:  # Where an installed command has its own folder in its place.
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"cannot import {module_name!r}: {error}. Run in the folder that it is in, or put that "
            "on PYTHONPATH"
        ) from error
    if not hasattr(module, attribute):
        raise unknown_name(f"name in {module_name}", attribute, vars(module))
    env = getattr(module, attribute)()
    if not isinstance(env, JaxEnv | HostEnv):
        raise InputError(
            f"{name} is no environment: it needs `spec`, `reset` and `step`, and `close` if it is "
            "stepped on the host (see sparl.envs.HostEnv)"
        )
    return env


INTERFACES: dict[str, Callable[[str], Env]] = {
    "smax": _smax,
    "smac": _smac("smac"),
    "smacv2": _smac("smacv2"),
    "smaclite": _smac("smaclite"),
    "pettingzoo": _pettingzoo,
    "lbf": _team("lbf"),
    "rware": _team("rware"),
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
        raise InputError(f"an environment is named INTERFACE:NAME, e.g. 'smax:3m'; got {name!r}")
    if interface not in INTERFACES:
        raise unknown_name("environment interface", interface, INTERFACES)
    return INTERFACES[interface](rest)
