"""How the C library treats freed memory.

Both functions hold for the process. C libraries without these calls (macOS, musl) stay as they are.
"""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h.
_KEPT = 2**30


def keep_freed() -> None:
    """Keep up to 1 GiB of freed memory from now on, rather than return it to the system.

    XLA allocates a compiled program's temporaries anew at each call. glibc would map them afresh
    every time, and the system clears each page when it is first touched: for one update of a sparse
    network that can take as long as the update itself.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # Releases before 2.35 or so accept no more than 32 MiB.
    if mallopt and (mallopt(_M_MMAP_THRESHOLD, _KEPT) or mallopt(_M_MMAP_THRESHOLD, 2**25)):
        mallopt(_M_TRIM_THRESHOLD, _KEPT)


def return_freed() -> None:
    """Return what is free now to the system.

    Compilation leaves some gigabytes that are free, but lie in pieces between memory in use.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
