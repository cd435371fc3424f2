"""Wall time of a run over all its processes, with compilation told apart."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from sparl.train.books import Books


class Clock:
    """Keeps the times in a run's books.

    Args:
        books: As the run continues them.
        begun: `time.perf_counter()` when this process took the run up.
    """

    def __init__(self, books: Books, begun: float):
        self._books = books
        self._origin = begun - books.seconds

    def read(self) -> None:
        """Bring the books up to the present."""
        self._books.seconds = time.perf_counter() - self._origin

    @contextmanager
    def compiling(self) -> Iterator[None]:
        """Count what happens inside as compilation."""
        begun = time.perf_counter()
        yield
        self._books.compile_seconds += time.perf_counter() - begun
        self.read()

    def rate(self) -> float:
        """Env steps per second of all seeds together, compilation not counted."""
        return self._books.rate()

    def left(self, total_steps: int) -> float | None:
        """Seconds to go at that rate, once there is one."""
        steps = (total_steps - self._books.env_steps) * len(self._books.episodes)
        return max(steps, 0) / self.rate() if self.rate() else None
