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
        InputError: If it is missing, naming the command, or if its own imports fail.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if is_absent(module, error):
            raise InputError(
                f"{interface}: needs the module {module}, which is not installed: {install}"
            ) from error
        raise InputError(
            f"{interface}: {module} is installed, but cannot be imported: {error}. Install what it "
            "lacks"
        ) from error


def look_in_current_folder() -> None:
    """Let modules of the current folder be found by an installed command, too.

    It has its own folder in the place where `python` has the current one.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")


def is_absent(module: str, error: ImportError) -> bool:
    """Whether an import failed as the module itself, or a package around it, is not there."""
    return error.name is not None and f"{module}.".startswith(f"{error.name}.")
