"""What a person sees while a run goes on: a live line on a terminal, plain lines elsewhere."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text


class ProgressDisplay:
    """Shows how far a run is; use it as a context.

    Args:
        total_steps: Env steps of the whole run.
        console: Where to write.
    """

    def __init__(self, total_steps: int, console: Console):
        self._total = total_steps
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            expand=True,
        )
        self._task = self._bar.add_task("env steps", total=total_steps, left="")
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._shown = -1

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop showing."""
        self._live.stop()

    def message(self, text: str) -> None:
        """Show one line that stays."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def update(
        self, env_steps: int, seconds_left: float | None, values: Mapping[str, str], *, line: bool
    ) -> None:
        """Show where the run is.

        Args:
            env_steps: Env steps so far.
            seconds_left: Estimate of the time to go, if there is one.
            values: What else to show, by name.
            line: Whether this is worth a line of its own where nothing can be redrawn.
        """
        left = f"{_duration(seconds_left)} left" if seconds_left is not None else ""
        text = "  ".join(f"{name} {value}" for name, value in values.items())
        if self._console.is_terminal:
            self._bar.update(self._task, completed=min(env_steps, self._total), left=left)
            self._live.update(Group(self._bar, Text(text)))
        elif line and env_steps != self._shown:
            self._shown = env_steps
            percent = 100 * env_steps / self._total
            self.message(f"{env_steps}/{self._total} env steps ({percent:.1f} %)  {left}  {text}")


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
