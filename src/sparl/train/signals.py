"""Ctrl-C, SIGTERM and SIGHUP as a request that the loop heeds when it can."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Stop:
    """Whether the run has been asked to stop."""

    requested: bool = False


@contextmanager
def stop_requests(notify: Callable[[str], None]) -> Iterator[Stop]:
    """Turn the first signal to stop into a request; a second Ctrl-C interrupts at once.

    Outside the main thread, where signals cannot be handled, nothing is ever requested.

    Args:
        notify: Shows a line, to say that the request has been heard.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request(*_: Any) -> None:
        if not stop.requested:
            notify("stopping at the next checkpoint that can be made; Ctrl-C again to stop at once")
        stop.requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, request) for number in STOPPING}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
