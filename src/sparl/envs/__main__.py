"""A process that steps environments for the learner beside it.

    python -m sparl.envs NAME DESCRIPTOR

It answers on the socket of that number until the other end is closed.
"""

import contextlib
import os
import sys
from multiprocessing.connection import Connection

from sparl.envs.worker import Worker


def serve(name: str, connection: Connection) -> None:
    """Do what is ordered until nobody is there to order."""
    worker = Worker(name)
    # The learner's process may have ended without a word.
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            connection.send(worker.play(connection.recv()))
    worker.close()


if __name__ == "__main__":
    # Learners share the machine with as many workers as it has cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    serve(sys.argv[1], Connection(int(sys.argv[2])))
