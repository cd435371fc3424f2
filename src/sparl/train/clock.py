"""Wall time of a run over all its processes, with compilation told apart."""

import time

from sparl.train.books import Books


class Clock:
    """Keeps the times in a run's books.

    Args:
        books: As the run continues them.
        begun: `time.perf_counter()` when this process took the run up.
    """

    def __init__(self, books: Books, begun: float):
        self._books = books
        self._begun = begun
        self._before = books.seconds

    def read(self) -> None:
        """Bring the books up to the present."""
        self._books.seconds = self._before + time.perf_counter() - self._begun

    def compiled(self, begun: float) -> None:
        """Count all since `time.perf_counter()` was `begun` as compilation."""
        self.read()
        self._books.compile_seconds += time.perf_counter() - begun

    def left(self, total_steps: int) -> float | None:
        """Seconds to go at the rate so far; none before updates, which take most of it."""
        if not any(self._books.updates):
            return None
        steps = (total_steps - self._books.env_steps) * len(self._books.episodes)
        rate = self._books.rate()
        return max(steps, 0) / rate if rate else None
