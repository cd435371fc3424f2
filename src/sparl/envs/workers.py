"""Workers that step environments beside the learner: as processes here, or on a Ray cluster."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from sparl.envs.requirements import require
from sparl.envs.worker import Answer, Broken, Order, Worker


class LostWorkerError(Exception):
    """A worker has died, or has not answered in time."""


class RemoteWorker(Protocol):
    """A worker somewhere else; what it is ordered to do it does while we go on."""

    def send(self, orders: Sequence[Order]) -> None:
        """Order something. Whether it is there to do it is seen by `receive`."""
        ...

    def receive(self, timeout: float) -> list[Answer]:
        """Wait for what came of it, at most so many seconds.

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
                env=os.environ | {"PYTHONPATH": _path()},
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                # Its own group: Ctrl-C is ours to act on, and a game that it starts dies with it.
                start_new_session=True,
            )
        self._connection = Connection(ours.detach())

    def send(self, orders: Sequence[Order]) -> None:
        """Write the orders into its socket."""
        with contextlib.suppress(OSError):
            self._connection.send(orders)

    def receive(self, timeout: float) -> list[Answer]:
        """Read its answers."""
        try:
            if not self._connection.poll(timeout):
                raise LostWorkerError(f"it did not answer within {timeout:g} s")
            return self._connection.recv()
        except (EOFError, OSError) as error:
            raise LostWorkerError(self._last_words()) from error

    def kill(self) -> None:
        """Kill its whole group."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def close(self) -> None:
        """Kill it, and close its socket and the file of what it said."""
        self.kill()
        self._connection.close()
        self._said.close()

    def _last_words(self) -> str:
        code = self._process.wait()
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return f"its process {how}" + (f": {lines[-1]}" if lines else "")


class RayWorker:
    """An actor on a Ray cluster: the one that `RAY_ADDRESS` names, or a new one on this machine.

    Args:
        name: The environment's name.

    Raises:
        InputError: If Ray is not installed.
    """

    def __init__(self, name: str):
        self._ray: Any = require("ray", "--workers ray", "pip install ray")
        if not self._ray.is_initialized():
            with warnings.catch_warnings():
                # It forks to execute other programs at once, which JAX's threads survive.
                warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
                self._ray.init(log_to_driver=False, include_dashboard=False)
        options = {"num_cpus": 1, "runtime_env": {"env_vars": {"PYTHONPATH": _path()}}}
        self._actor = self._ray.remote(**options)(Worker).remote(name)
        self._answers: Any = None

    def send(self, orders: Sequence[Order]) -> None:
        """Call the actor."""
        self._answers = self._actor.play.remote(list(orders))

    def receive(self, timeout: float) -> list[Answer]:
        """Get what it returned."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(self._answers, timeout=timeout)
        except errors.GetTimeoutError as error:
            raise LostWorkerError(f"it did not answer within {timeout:g} s") from error
        except errors.RayActorError as error:
            raise LostWorkerError("its Ray actor died, or the node that it was on") from error

    def kill(self) -> None:
        """Kill the actor; its node goes on."""
        self._ray.kill(self._actor)

    def close(self) -> None:
        """Kill the actor; here it took nothing."""
        self.kill()


KINDS: dict[str, Callable[[str], RemoteWorker]] = {"process": ProcessWorker, "ray": RayWorker}
"""Where workers can be."""


class Workers:
    """All workers of a run, of which each holds some of the environments.

    A worker that dies or hangs is started anew when it is next needed. That, and an environment
    that raises, costs the episodes that it had in play, and nothing else.

    Args:
        name: The environment's name.
        count: How many workers.
        kind: Where they are: one of `KINDS`.
        timeout: Seconds that one environment may take for one order.
    """

    def __init__(self, name: str, *, count: int, kind: str, timeout: float):
        self._start = lambda: KINDS[kind](name)
        self._timeout = timeout
        self._workers: list[RemoteWorker | None] = [None] * count

    def play(self, orders: Sequence[Order]) -> dict[int, Answer]:
        """Carry orders out, those of different workers at the same time.

        Returns:
            By slot, what was seen or why it was not.
        """
        shares: dict[int, list[Order]] = defaultdict(list)
        for order in orders:
            shares[order.slot % len(self._workers)].append(order)
        sent: dict[int, RemoteWorker] = {}
        for index, share in shares.items():
            sent[index] = self._worker(index)
            sent[index].send(share)
        answers: dict[int, Answer] = {}
        for index, worker in sent.items():
            share = shares[index]
            try:
                seen = worker.receive(self._timeout * len(share))
            except LostWorkerError as error:
                self._lose(index)
                seen = [Broken(str(error))] * len(share)
            answers |= {order.slot: answer for order, answer in zip(share, seen, strict=True)}
        return answers

    def kill(self) -> None:
        """End all workers at once; whoever is in `play` sees them lost."""
        for worker in self._workers:
            if worker is not None:
                worker.kill()

    def close(self) -> None:
        """End all workers, when nobody is in `play`."""
        for index in range(len(self._workers)):
            self._lose(index)

    def _worker(self, index: int) -> RemoteWorker:
        worker = self._workers[index]
        if worker is None:
            worker = self._workers[index] = self._start()
        return worker

    def _lose(self, index: int) -> None:
        worker, self._workers[index] = self._workers[index], None
        if worker is not None:
            worker.close()


def _path() -> str:
    """Where we find modules, so that workers find an environment of one's own, too."""
    return os.pathsep.join(str(Path(place).absolute()) for place in sys.path)
