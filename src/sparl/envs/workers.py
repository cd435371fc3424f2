"""Workers that step environments beside the learner: processes here, on a Ray cluster, or none."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from sparl.envs.requirements import require
from sparl.envs.worker import Answer, Broken, Order, Worker
from sparl.errors import InputError, SparlError, unknown_name

START_TIMEOUT = 300.0
"""Seconds that a worker may take to start Python and to import sparl."""
_LAST_WORDS = 4096  # Bytes.


class LostWorkerError(Exception):
    """A worker has died, or has not answered in time."""


class RemoteWorker(Protocol):
    """A worker somewhere else; what it is ordered to do it does while we go on."""

    def send(self, orders: Sequence[Order]) -> None:
        """Order something. Whether it is there to do it is seen by `receive`."""
        ...

    def receive(self, deadline: float) -> Answer:
        """Wait for what came of the next order, until `time.monotonic()` reaches the deadline.

        Raises:
            LostWorkerError: If it died or took longer.
        """
        ...

    def kill(self) -> None:
        """End it at once, with all that it has started. Who waits for it sees it lost."""
        ...

    def close(self) -> None:
        """Kill it and release what it took here, when nobody waits for it."""
        ...


class ProcessWorker:
    """A process on this machine.

    It is started by its module's name and not forked, as JAX has threads, nor by
    `multiprocessing`, which would run the caller's script again.

    Args:
        name: The environment's name.
    """

    def __init__(self, name: str):
        ours, theirs = socket.socketpair()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (as long as the process)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sparl.envs", name, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=os.environ | _variables(),
                stdin=subprocess.PIPE,  # Its life line.
                stdout=self._said,
                stderr=self._said,
                # Its own group: Ctrl-C is ours to act on, and a game that it starts dies with it.
                start_new_session=True,
            )
        self._connection = Connection(ours.detach())
        self._ready = False

    def send(self, orders: Sequence[Order]) -> None:
        """Write the orders into its socket."""
        with contextlib.suppress(OSError):
            self._connection.send(orders)

    def receive(self, deadline: float) -> Answer:
        """Read its next answer."""
        if not self._ready:
            begun = time.monotonic()
            self._read(begun + START_TIMEOUT)
            self._ready = True
            deadline += time.monotonic() - begun
        return self._read(deadline)

    def kill(self) -> None:
        """Kill its whole group, whose leader may be gone already."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """Kill it, and close its socket, its life line and the file of what it said."""
        self.kill()
        self._connection.close()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._said.close()

    def _read(self, deadline: float) -> Any:
        try:
            if not self._connection.poll(max(deadline - time.monotonic(), 0)):
                raise LostWorkerError("it did not answer in time (--env-timeout)")
            return self._connection.recv()
        except (EOFError, OSError) as error:
            raise LostWorkerError(self._last_words()) from error

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            # A thread may keep it although it has closed its socket.
            self._process.wait(timeout=2)
        self.kill()
        code = self._process.returncode
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(size - _LAST_WORDS, 0))
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return f"its process {how}" + (f": {lines[-1]}" if lines else "")


class RayWorker:
    """An actor on a Ray cluster.

    That is the one that the process is connected to, else the one that `RAY_ADDRESS` names, else
    one that the process starts.

    Args:
        name: The environment's name.

    Raises:
        SparlError: If Ray cannot connect or start.
    """

    def __init__(self, name: str):
        self._ray: Any = _require_ray()
        if not self._ray.is_initialized():
            # Left to itself it takes the last cluster on this machine, which may be gone.
            address = os.environ.get("RAY_ADDRESS") or "local"
            with warnings.catch_warnings():
                # It forks to execute other programs at once, which JAX's threads survive.
                warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
                try:
                    self._ray.init(address=address, log_to_driver=False, include_dashboard=False)
                except Exception as error:
                    raise SparlError(
                        f"--workers ray: there is no Ray at {address!r}, which is RAY_ADDRESS, or "
                        f"'local' where that is not set: {error}"
                    ) from error
        # Without `num_cpus` an actor waits for none: there may be more workers than cores.
        options = {"scheduling_strategy": "SPREAD", "runtime_env": {"env_vars": _variables()}}
        self._actor = self._ray.remote(Worker).options(**options).remote(name)
        self._answers: list[Any] = []

    def send(self, orders: Sequence[Order]) -> None:
        """Call the actor once for each."""
        self._answers = [self._actor.play.remote(order) for order in orders]

    def receive(self, deadline: float) -> Answer:
        """Get what the next call returned."""
        errors = self._ray.exceptions
        try:
            timeout = max(deadline - time.monotonic(), 0)
            return self._ray.get(self._answers.pop(0), timeout=timeout)
        except errors.GetTimeoutError as error:
            raise LostWorkerError("it did not answer in time (--env-timeout)") from error
        except errors.RayError as error:
            said = str(error).strip().splitlines() or [""]
            raise LostWorkerError(f"Ray lost its actor: {said[0]}") from error

    def kill(self) -> None:
        """Kill the actor; its node goes on."""
        self._ray.kill(self._actor)

    def close(self) -> None:
        """Kill the actor; here it took nothing."""
        self.kill()


class LocalWorker:
    """No other place: orders are carried out here, when they are waited for.

    What a step costs less by that is what a message to a process takes, which is more than many an
    environment does. But one that crashes takes the learner along, and one that hangs is not ended.

    Args:
        name: The environment's name.
    """

    def __init__(self, name: str):
        self._worker = Worker(name)
        self._orders: deque[Order] = deque()

    def send(self, orders: Sequence[Order]) -> None:
        """Remember them."""
        self._orders = deque(orders)

    def receive(self, deadline: float) -> Answer:
        """Carry the next one out."""
        del deadline
        return self._worker.play(self._orders.popleft())

    def kill(self) -> None:
        """It ends with its order."""

    def close(self) -> None:
        """Close its environments."""
        self._worker.close()


KINDS: dict[str, Callable[[str], RemoteWorker]] = {
    "process": ProcessWorker,
    "local": LocalWorker,
    "ray": RayWorker,
}
"""Where workers can be."""


class Workers:
    """All workers of a run, of which each holds some of the environments.

    A worker that dies or hangs is started anew when it is next needed. That, and an environment
    that raises, costs the episodes that it had in play, and nothing else.

    Args:
        name: The environment's name.
        count: How many workers.
        kind: Where they are: one of `KINDS`.
        timeout: Seconds that an environment may take for one order.
    """

    def __init__(self, name: str, *, count: int, kind: str, timeout: float):
        self._start = lambda: KINDS[kind](name)
        self._timeout = timeout
        self._workers: list[RemoteWorker | None] = [None] * count
        self._killed = False
        self._lock = threading.Lock()

    def play(self, orders: Sequence[Order]) -> dict[int, Answer]:
        """Carry orders out, those of different workers at the same time.

        Returns:
            By slot, what was seen or why it was not.
        """
        shares: dict[int, list[Order]] = defaultdict(list)
        for order in orders:
            shares[order.slot % len(self._workers)].append(order)
        for index, share in shares.items():
            self._worker(index).send(share)
        deadline = time.monotonic() + self._timeout
        answers: dict[int, Answer] = {}
        for index, share in shares.items():
            answers |= self._receive(index, share, deadline)
        return answers

    def kill(self) -> None:
        """End all workers at once and for good; whoever is in `play` sees them lost."""
        with self._lock:
            self._killed = True
            for worker in self._workers:
                if worker is not None:
                    worker.kill()

    def close(self) -> None:
        """End all workers, when nobody is in `play`."""
        for index in range(len(self._workers)):
            self._lose(index)

    def _receive(self, index: int, share: list[Order], deadline: float) -> dict[int, Answer]:
        """What came of the orders of one worker, in turn: each has the whole time for itself."""
        answers: dict[int, Answer] = {}
        for i, order in enumerate(share):
            try:
                answers[order.slot] = self._worker(index).receive(deadline)
            except LostWorkerError as error:
                self._lose(index)
                answers[order.slot] = Broken(str(error))
                for other in share[i + 1 :]:
                    answers[other.slot] = Broken("its worker was lost", own=False)
                break
            deadline = max(deadline, time.monotonic() + self._timeout)
        return answers

    def _worker(self, index: int) -> RemoteWorker:
        worker = self._workers[index]
        if worker is None:
            worker = self._workers[index] = self._start()
            with self._lock:
                if self._killed:
                    worker.kill()
        return worker

    def _lose(self, index: int) -> None:
        worker, self._workers[index] = self._workers[index], None
        if worker is not None:
            worker.close()


def check_workers(kind: str) -> None:
    """Check that there can be workers of a kind.

    Raises:
        InputError: If there is no such kind, or what it needs is not installed or not there.
    """
    if kind not in KINDS:
        raise unknown_name("kind of workers", kind, KINDS)
    if kind == "ray" and not _require_ray().is_initialized():
        _check_cluster(os.environ.get("RAY_ADDRESS", ""))


def _check_cluster(address: str) -> None:
    """Raise `InputError` if a host does not answer. Ray itself would try for ten minutes."""
    found = re.fullmatch(r"(?:ray://)?\[?([^/\]]+)\]?:(\d+)", address)
    if not found:  # None, or what Ray alone understands.
        return
    try:
        socket.create_connection((found[1], int(found[2])), timeout=10).close()
    except OSError as error:
        raise InputError(
            f"no Ray cluster answers at RAY_ADDRESS={address}: {error}. Start one there "
            "(ray start --head), or unset RAY_ADDRESS, and the run starts its own"
        ) from error


def _require_ray() -> Any:
    return require("ray", "--workers ray", "pip install ray")


def _variables() -> dict[str, str]:
    """What a worker's environment variables must say before it starts."""
    return {
        # Where we find modules, so that it finds an environment of one's own, too.
        "PYTHONPATH": os.pathsep.join(str(Path(place).absolute()) for place in sys.path),
        # There are as many workers as cores, and the learner.
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        # PySC2's messages were compiled for a protobuf older than any that is installed today.
        "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python",
    }
