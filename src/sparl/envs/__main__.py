"""A process that steps environments for the learner beside it.

    python -m sparl.envs NAME DESCRIPTOR

It answers on the socket of that number until the other end is closed. Its standard input is a life
line: when that ends the learner is no more, and it kills itself with all that it has started, a
game that hangs included.
"""

import contextlib
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection

from sparl.envs.worker import Worker


def serve(name: str, connection: Connection) -> None:
    """Say that all is imported, then do what is ordered until nobody is there to order."""
    worker = Worker(name)
    with contextlib.suppress(EOFError, ConnectionError):
        connection.send(None)
        while True:
            for order in connection.recv():
                connection.send(worker.play(order))
    worker.close()


def _die_with_the_learner() -> None:
    os.read(sys.stdin.fileno(), 1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_die_with_the_learner, daemon=True).start()
    serve(sys.argv[1], Connection(int(sys.argv[2])))
