"""How the benchmarks print and save what they measured."""

import argparse
import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from sparl.compute import native


def arguments(doc: str | None, *, repeats: int) -> argparse.ArgumentParser:
    """A parser with what all benchmarks take."""
    parser = argparse.ArgumentParser(description=(doc or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    return parser


def report(
    title: str, table: list[dict[str, str]], figures: dict[str, Any], path: Path | None
) -> None:
    """Print a table and the figures, and write these to `path`; see `show` and `save`."""
    show(title, table)
    save(figures, path)


def show(title: str, table: list[dict[str, str]]) -> None:
    """Print a table.

    Args:
        title: What stands above it.
        table: Its rows, each from the names of columns to cells.
    """
    drawn = Table(title=title)
    for name in table[0]:
        words = name in ("map", "part", "size")
        drawn.add_column(name, justify="left" if words else "right", overflow="fold")
    for row in table:
        drawn.add_row(*row.values())
    Console().print(drawn)


def save(figures: dict[str, Any], path: Path | None) -> None:
    """Print what was measured, with machine and commit, on one line, and write it to `path`."""
    machine = {
        "jax": jax.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": processor(),
        "commit": commit(),
        **native.info(),
    }
    print(json.dumps(machine | figures))
    if path:
        path.write_text(json.dumps(machine | figures, indent=2) + "\n")


def commit() -> str:
    """The commit that this file is of, marked where the tree has changed; empty outside of git."""
    try:
        done = subprocess.run(
            ("git", "describe", "--always", "--dirty", "--exclude=*"),
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def processor() -> str:
    """The processor's name, family and model, which tell generations apart, where Linux does."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    said = {name.strip(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    return " ".join(said.get(name, "") for name in ("model name", "cpu family", "model"))
