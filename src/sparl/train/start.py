"""How a run begins, and how it goes on."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from sparl import methods
from sparl.config import Config
from sparl.train import folder as folders
from sparl.train import ticket
from sparl.train.logging import Logger
from sparl.train.loop import Run
from sparl.train.masks import save_masks
from sparl.train.program import build
from sparl.train.result import Result


def train(
    config: Config,
    *,
    run_dir: str | Path | None = None,
    overwrite: bool = False,
    loggers: Sequence[Logger] = (),
    console: Console | None = None,
) -> Result:
    """Train as `config` says, from nothing, into a new run folder.

    Args:
        config: What to train; parts left to the method are filled in.
        run_dir: The run folder; by default `runs/` and a name made of the settings.
        overwrite: Whether to replace a run that the folder already holds.
        loggers: Where metrics go besides `metrics.jsonl`.
        console: Where progress is shown; by default nowhere.

    Returns:
        What `result.json` holds.

    Raises:
        InputError: If the configuration or the folder will not do; nothing has been written.
        RunInterruptedError: On Ctrl-C, SIGTERM or SIGHUP, after a checkpoint.
        NotFiniteError: If the loss or a part of it stops being finite.
        SparlError: If a checkpoint cannot be written.
    """
    config = methods.resolve(config)
    program = build(config)
    program.check()
    given = ticket.draw(config.topology.from_, program) if config.topology.from_ else None
    path = Path(run_dir) if run_dir is not None else folders.default_path(config)
    folder = folders.create(path, config, overwrite=overwrite)
    if given is not None:
        save_masks(folder.topology, 0, given.topology(program))
    return Run(folder, program, loggers, console).run()


def resume(
    run_dir: str | Path, *, loggers: Sequence[Logger] = (), console: Console | None = None
) -> Result:
    """Continue a run where its last checkpoint left it; a finished run is only read.

    Args:
        run_dir: The run folder.
        loggers: Where metrics go besides `metrics.jsonl`.
        console: Where progress is shown; by default nowhere.

    Returns:
        What `result.json` holds, the same as if the run had never stopped (but for environments
        on the host, whose running episodes begin anew).

    Raises:
        InputError: If the folder is no run, or its `config.json` has been changed.
        RunInterruptedError: On Ctrl-C, SIGTERM or SIGHUP, after a checkpoint.
        NotFiniteError: If the loss or a part of it stops being finite.
        SparlError: If there are checkpoints but none is intact, or one cannot be written.
    """
    folder = folders.find(run_dir)
    if folder.result.is_file():
        if console:
            said = f"{run_dir} is finished already; nothing to resume"
            console.print(said, highlight=False, markup=False, soft_wrap=True)
        return Result.load(folder.result)
    program = build(methods.resolve(folder.load_config()))
    return Run(folder, program, loggers, console).run()
