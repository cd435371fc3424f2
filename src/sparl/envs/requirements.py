"""Packages that only some environments need."""

import importlib
from types import ModuleType

from sparl.errors import InputError


def require(module: str, interface: str, install: str) -> ModuleType:
    """Import what an interface is an adapter for.

    Args:
        module: The module.
        interface: The name before the colon.
        install: The command that installs it.

    Raises:
        InputError: If it cannot be imported, naming the command.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{interface}: needs the module {module} ({error}): install it with `{install}`"
        ) from error
