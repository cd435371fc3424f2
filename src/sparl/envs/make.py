"""Environments by name."""

from collections.abc import Callable

from sparl.envs.base import JaxEnv
from sparl.errors import InputError, unknown_name


def _smax(name: str) -> JaxEnv:
    from sparl.envs.smax import Smax  # noqa: PLC0415  (importing jaxmarl takes a second)

    return Smax(name)


INTERFACES: dict[str, Callable[[str], JaxEnv]] = {"smax": _smax}
"""The adapters, by the name before the colon."""


def make(name: str) -> JaxEnv:
    """The environment called `name`, e.g. `"smax:3m"`.

    Raises:
        InputError: If the interface or the name behind it is unknown.
    """
    interface, colon, rest = name.partition(":")
    if not colon:
        raise InputError(f"an environment is named INTERFACE:NAME, e.g. 'smax:3m'; got {name!r}")
    if interface not in INTERFACES:
        raise unknown_name("environment interface", interface, INTERFACES)
    return INTERFACES[interface](rest)
