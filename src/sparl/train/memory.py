"""How the C library treats freed memory while sparl trains."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # glibc's malloc.h.
_KEPT = 2**30


def keep_freed() -> None:
    """Let the C library keep up to 1 GiB of freed memory rather than return it to the system.

    XLA allocates a compiled program's temporaries anew at each call. glibc would map them afresh
    every time, and the system clears each page when it is first touched, which took as long as the
    update itself. Holds for the process from the first call on; C libraries without these settings
    (macOS, musl) stay as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEPT)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
