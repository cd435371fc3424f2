"""The native kernels: where they are, whether they load, and on which instruction set they run."""

import ctypes
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from sparl.errors import InputError

LIBRARY = Path(__file__).parent.parent / "native" / "libsparl.so"
"""Where the build puts the kernels."""

_TARGETS = {
    "sparl_gather": "SparlGather",
    "sparl_links_of": "SparlLinksOf",
    "sparl_take": "SparlTake",
    "sparl_put": "SparlPut",
    "sparl_linear_forward": "SparlLinearForward",
    "sparl_linear_backward": "SparlLinearBackward",
    "sparl_recurrent_forward": "SparlRecurrentForward",
    "sparl_recurrent_backward": "SparlRecurrentBackward",
}


@functools.cache
def load() -> ctypes.CDLL | None:
    """Load the kernels, once, and register them with XLA; `None` if they were not built.

    `SPARL_ISA` in the environment (avx512, avx2 or generic) takes a narrower instruction set than
    the widest that the machine has.

    Raises:
        InputError: If the machine does not have the instruction set that `SPARL_ISA` names.
        OSError: If the library is there but cannot be loaded.
    """
    if not LIBRARY.is_file():
        return None
    loaded = ctypes.CDLL(str(LIBRARY))
    loaded.sparl_instruction_set.restype = ctypes.c_char_p
    loaded.sparl_chosen.restype = ctypes.c_char_p
    for name, symbol in _TARGETS.items():
        handler = jax.ffi.pycapsule(getattr(loaded, symbol))
        jax.ffi.register_ffi_target(name, handler, platform="cpu")
    wanted = os.environ.get("SPARL_ISA")
    if wanted and not loaded.sparl_choose(wanted.encode()):
        raise InputError(
            f"SPARL_ISA is {wanted!r}, but this machine has "
            f"{', '.join(_instruction_sets(loaded))}: set it to one of these, or unset it"
        )
    return loaded


def choose_instruction_set(name: str) -> bool:
    """Use one of `instruction_sets()` from now on; false if the machine does not have it."""
    loaded = load()
    return loaded is not None and bool(loaded.sparl_choose(name.encode()))


def unavailable() -> str | None:
    """Why the kernels cannot be used here, as a sentence with the way out; `None` if they can."""
    if jax.default_backend() != "cpu":
        return (
            f"the sparse kernels run on CPUs, and JAX computes on {jax.default_backend()!r}: "
            "set JAX_PLATFORMS=cpu to use them"
        )
    try:
        found = load()
    except OSError as error:
        return f"the sparse kernels cannot be loaded ({error}): install sparl again"
    if found is None:
        return (
            "the sparse kernels were not built: install a C++ compiler (on Debian: "
            "apt-get install g++) and install sparl again"
        )
    return None


def instruction_sets() -> list[str]:
    """The instruction sets of this machine that there are kernels for, the widest first."""
    loaded = load()
    return [] if loaded is None else _instruction_sets(loaded)


def info() -> dict[str, Any]:
    """What multiplies here.

    Returns:
        `backend`, JAX's; `kernels`, whether the sparse kernels can be used; `reason`, why not, or
        `None`; `instruction_set`, the one they use, and `instruction_sets`, all of this machine
        that there are kernels for; `threads` that they share the work among.
    """
    why = unavailable()
    loaded = load() if why is None else None
    return {
        "backend": jax.default_backend(),
        "kernels": why is None,
        "reason": why,
        "instruction_set": None if loaded is None else loaded.sparl_chosen().decode(),
        "instruction_sets": [] if loaded is None else _instruction_sets(loaded),
        "threads": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
    }


def call(name: str, outputs: Any, *, batched: bool = False) -> Callable[..., Any]:
    """A kernel as a JAX function.

    Args:
        name: A key of `_TARGETS`.
        outputs: Shapes and types of what it returns.
        batched: Whether the kernel takes one more axis in front of all arrays where seeds are
            vectorised; else they are taken in turn.

    Raises:
        InputError: If the kernels cannot be used here.
    """
    if why := unavailable():
        raise InputError(why)
    method = "broadcast_all" if batched else "sequential"
    return jax.ffi.ffi_call(name, outputs, vmap_method=method)


def _instruction_sets(loaded: ctypes.CDLL) -> list[str]:
    names = (loaded.sparl_instruction_set(i) for i in range(3))
    return [name.decode() for name in names if name]
