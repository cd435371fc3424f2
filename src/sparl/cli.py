"""The `sparl` command.

Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.
"""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro
from rich.console import Console

import sparl
from sparl import config_file, methods
from sparl.compute import native
from sparl.config import Config
from sparl.errors import InputError, SparlError, unknown_name
from sparl.presets import CONTROL, FAMILIES, defaults
from sparl.study import inspection, paper_table, tables
from sparl.topology import account
from sparl.train import evaluation, loop, start
from sparl.train import folder as folders
from sparl.train.logging import TensorBoardLogger


@dataclass(frozen=True)
class Train:
    """Train agents into a new run folder."""

    config: Path | None = None
    """Begin with the values of this `config.json`; other flags take precedence."""
    run_dir: Path | None = None
    """The run folder. Default: a name made of the settings, under `runs/`."""
    overwrite: bool = False
    """Replace the run that the folder already holds."""
    tensorboard: bool = False
    """Also write TensorBoard event files into the run folder."""
    settings: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=Config)


@dataclass(frozen=True)
class Resume:
    """Continue a run where its last checkpoint left it."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """The run folder."""
    tensorboard: bool = False
    """Also write TensorBoard event files into the run folder."""


@dataclass(frozen=True)
class Eval:
    """Play greedy episodes with a run's newest checkpoint."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """The run folder."""
    episodes: int | None = None
    """Episodes for each of the run's seeds. Default: as many as in ten of its evaluations."""
    seed: int = 0
    """Seed of the evaluation; its keys differ from all that training uses."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True)
class Inspect:
    """Show a run's layers and draw its masks over training."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """The run folder."""
    out: Path | None = None
    """The picture. Default: `masks.png` in the run folder."""
    seed: int | None = None
    """Which of the run's seeds. Default: the first."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True)
class Flops:
    """Count parameters and FLOPs of a sparse learner against its dense twin."""

    paper: bool = False
    """Print the rows of MAST's Table 1 beside ours; goes with no other flag but --json."""
    algorithm: str = "qmix"
    """qmix, vdn, ow-qmix, cw-qmix or res."""
    obs_dim: int | None = None
    """Length of one agent's observation."""
    state_dim: int | None = None
    """Length of the global state; vdn has no use for it."""
    num_actions: int | None = None
    """Actions of each agent."""
    num_agents: int | None = None
    """Agents."""
    sparsity: float = 0.95
    """Share of the weights that are absent."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True)
class Info:
    """Show what multiplies on this machine, and how to get what is missing."""

    json: bool = False
    """Print JSON."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    errors = Console(stderr=True, soft_wrap=True)
    try:
        return _dispatch(argv)
    except loop.RunInterruptedError as error:
        errors.print(str(error), markup=False, highlight=False)
        return 130
    except KeyboardInterrupt:
        errors.print("interrupted")
        return 130
    except SparlError as error:
        errors.print(f"error: {error}", markup=False, highlight=False)
        return 2 if isinstance(error, InputError) else 1


def entry_point() -> None:
    """What the installed `sparl` command calls."""
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # A reader that closed the pipe early (`sparl flops --paper | head`) is no failure.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


class _Console(Console):
    """A console that leaves a closed pipe to `entry_point`."""

    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704  (rich calls this while it handles the error)


def parse(argv: Sequence[str]) -> Any:
    """What the flags of a command say, which are defaults but for those in `argv`.

    Args:
        argv: The command's name, and flags.

    Returns:
        A `Train`, `Resume`, `Eval`, `Inspect`, `Flops` or `Info`.

    Raises:
        SystemExit: If the flags are not the command's; what is wrong has been printed.
        InputError: If there is no such algorithm, or a `--config` will not do.
    """
    command, *args = argv
    flags, _ = COMMANDS[command]
    return tyro.cli(
        flags,
        prog=f"sparl {command}",
        args=args,
        default=_train_defaults(args) if flags is Train else None,
        config=(tyro.conf.FlagCreatePairsOff,),
    )


def _dispatch(argv: list[str]) -> int:
    if argv and argv[0] in COMMANDS:
        _, run = COMMANDS[argv[0]]
        return run(parse(argv))
    if argv in (["--version"], ["-V"]):
        print(f"sparl {sparl.__version__}")
        return 0
    if argv and not argv[0].startswith("-"):
        raise unknown_name("command", argv[0], COMMANDS)
    print("usage: sparl COMMAND [FLAGS]; `sparl COMMAND --help` lists the flags\n")
    for name, (flags, _) in COMMANDS.items():
        print(f"  {name:8} {flags.__doc__}")
    return 0 if argv in ([], ["-h"], ["--help"]) else 2


def _train_defaults(argv: list[str]) -> Train | None:
    """The defaults that `--config FILE`, or the algorithm, sets for the other flags."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config")
    parser.add_argument("--method")
    parser.add_argument("--algorithm")
    try:
        known, _ = parser.parse_known_args(argv)
    except argparse.ArgumentError:  # tyro will say what is wrong
        return None
    if known.config is None:
        return Train(settings=defaults(known.algorithm or Config.algorithm, known.method))
    config = methods.without_unused(config_file.load(known.config))
    if known.algorithm and any(
        (known.algorithm in family) != (config.algorithm in family) for family in FAMILIES
    ):
        raise InputError(
            f"{known.config} has the settings of {config.algorithm}, most of which are not for "
            f"{known.algorithm}: leave out --config"
        )
    if known.method not in (None, config.method):
        # Another method's parts, not those that were written down for the first one.
        config = methods.with_method(config, known.method)
    return Train(settings=config)


def _train(flags: Train) -> int:
    config = methods.resolve(flags.settings)
    run_dir = flags.run_dir or folders.default_path(config)
    console = _Console()
    result = start.train(
        config,
        run_dir=run_dir,
        overwrite=flags.overwrite,
        loggers=[TensorBoardLogger(run_dir / "tensorboard")] if flags.tensorboard else [],
        console=console,
    )
    console.print(tables.result_table(result, run_dir))
    return 0


def _resume(flags: Resume) -> int:
    console = _Console()
    folder = folders.find(flags.run_dir)
    result = start.resume(
        folder.path,
        loggers=[TensorBoardLogger(folder.path / "tensorboard")] if flags.tensorboard else [],
        console=console,
    )
    console.print(tables.result_table(result, folder.path))
    return 0


def _eval(flags: Eval) -> int:
    errors = Console(stderr=True, soft_wrap=True)
    with errors.status("playing greedy episodes"):
        outcome = evaluation.evaluate(flags.run_dir, episodes=flags.episodes, seed=flags.seed)
    for sentence in outcome["warnings"]:
        errors.print(f"warning: {sentence}", markup=False)
    return _show(outcome, flags.json, lambda: tables.evaluation_table(outcome))


def _inspect(flags: Inspect) -> int:
    report = inspection.inspect(flags.run_dir, seed=flags.seed, out=flags.out)
    return _show(report, flags.json, lambda: tables.inspection_table(report))


def _flops(flags: Flops) -> int:
    if flags.paper:
        if dataclasses.replace(flags, json=False) != Flops(paper=True):
            raise InputError(
                "--paper prints the paper's own maps and sparsities: leave out the other flags"
            )
        return _show(paper_table.compare(), flags.json, paper_table.comparison_table)
    if flags.algorithm in CONTROL:
        raise InputError(
            f"sparl flops is for teams with discrete actions; a run of {flags.algorithm} shows its "
            "FLOPs at its end, and has them in its result.json"
        )
    names = ("obs_dim", "state_dim", "num_actions", "num_agents")
    dims = {name: getattr(flags, name) for name in names}
    needed = [name for name in names if (flags.algorithm, name) != ("vdn", "state_dim")]
    missing = [f"--{name.replace('_', '-')}" for name in needed if dims[name] is None]
    if missing:
        raise InputError(f"pass {', '.join(missing)}, or --paper for the paper's maps")
    counted = account(flags.algorithm, sparsity=flags.sparsity, **dims)
    return _show(counted.to_json(), flags.json, lambda: tables.accounting_table(counted))


def _info(flags: Info) -> int:
    found = {"sparl": sparl.__version__, "jax": jax.__version__, **native.info()}
    return _show(found, flags.json, lambda: tables.info_table(found))


def _show(data: Any, as_json: bool, table: Callable[[], Any]) -> int:
    if as_json:
        print(json.dumps(data, indent=2))
    else:
        _Console().print(table())
    return 0


COMMANDS: dict[str, tuple[type, Callable[[Any], int]]] = {
    "train": (Train, _train),
    "resume": (Resume, _resume),
    "eval": (Eval, _eval),
    "inspect": (Inspect, _inspect),
    "flops": (Flops, _flops),
    "info": (Info, _info),
}
"""The commands: their flags and what runs them."""


if __name__ == "__main__":
    entry_point()
