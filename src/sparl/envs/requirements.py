"""Modules that only some environments need."""

import importlib
import sys
from types import ModuleType

from sparl.errors import InputError


def require(module: str, interface: str, install: str) -> ModuleType:
    """Import what an interface is an adapter for.

    Args:
        module: The module.
        interface: The name before the colon.
        install: The command that installs it.

    Raises:
        InputError: If it is missing, naming the command, or if importing it raises.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:
        if isinstance(error, ImportError) and is_absent(module, error):
            raise InputError(
                f"{interface}: needs the module {module}, which is not installed: {install}"
            ) from error
        raise InputError(
            f"{interface}: {module} is installed, but cannot be imported: {error}. Install or set "
            "what it lacks"
        ) from error


def import_own(name: str) -> ModuleType:
    """Import a module of the user's, which may lie in the current folder.

    Raises:
        InputError: If there is none, or importing it raises.
    """
    if "" not in sys.path:  # Where an installed command has its own folder in its place.
        sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if not is_absent(name, error):
            raise InputError(f"cannot import {name!r}: {error}") from error
        raise InputError(
            f"there is no module {name!r}: run in the folder that it is in, or put that on "
            "PYTHONPATH"
        ) from error
    except Exception as error:
        raise InputError(f"{name!r} raises {type(error).__name__}: {error}") from error


def is_absent(module: str, error: ImportError) -> bool:
    """Whether an import failed as the module itself, or a package around it, is not there."""
    return error.name is not None and f"{module}.".startswith(f"{error.name}.")
