"""Runs of `sparl train` that a study consists of, and the record of what they came to.

Each is a `sparl train` in a folder of its own. A study that was interrupted skips what is finished
when it is started again, and resumes the rest. One run trains per core, bound to it.
"""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import jax
from report import commit, processor

from sparl import config_file
from sparl.cli import parse
from sparl.files import write_whole
from sparl.methods import resolve, without_unused


@dataclass(frozen=True)
class Run:
    """One seed of one method."""

    folder: Path  # Its name tells the run from all others, and stands for it in the record.
    flags: tuple[str, ...]  # Of `sparl train`.

    def command(self) -> list[str]:
        """What brings it to its end."""
        sparl = [sys.executable, "-m", "sparl.cli"]
        if (self.folder / "config.json").exists():
            return [*sparl, "resume", str(self.folder)]
        return [*sparl, "train", *self.flags, f"--run-dir={self.folder}"]

    def require_same(self) -> None:
        """Exit if the folder's run had other settings, as when defaults were others then."""
        path = self.folder / "config.json"
        if path.exists():
            had = resolve(without_unused(config_file.load(path)))
            if had != resolve(parse(["train", *self.flags]).settings):
                sys.exit(
                    f"{self.folder} is a run with other settings than `sparl train "
                    f"{' '.join(self.flags)}`: move it away, or choose another --folder"
                )

    def outcome(self) -> dict[str, Any]:
        """What the finished run came to; the curve is of win rates, or of returns without these.

        Versions and processor are those with which it was recorded.
        """
        result = json.loads((self.folder / "result.json").read_text())
        lines = map(json.loads, (self.folder / "metrics.jsonl").read_text().splitlines())
        score = "return" if result["win_rate"] is None else "win_rate"
        return {
            "env_steps": result["env_steps"],
            "win_rate": result["win_rate"],
            "return": result["return"],
            "size_ratio": result["size_ratio"],
            "train_flops_ratio": result["flops"]["train_ratio"],
            "env_steps_per_second": result["env_steps_per_second"],
            "curve": [[line["env_steps"], line[score]] for line in lines if line["kind"] == "eval"],
            "jax": jax.__version__,
            "commit": commit(),
            "processor": processor(),
        }


class Record:
    """Outcomes of runs by their names, in a file that several processes may add to."""

    def __init__(self, path: Path):
        self.path = path
        self.outcomes: dict[str, dict[str, Any]] = self._read()

    def _read(self) -> dict[str, dict[str, Any]]:
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def add(self, run: Run) -> None:
        """Keep what a finished run came to."""
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.outcomes = self._read() | {run.folder.name: run.outcome()}
            names = sorted(self.outcomes)
            lines = [f"  {json.dumps(n)}: {json.dumps(self.outcomes[n])}" for n in names]
            write_whole(self.path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())

    def of(self, run: Run) -> dict[str, Any] | None:
        """What a run came to, if it has ended."""
        return self.outcomes.get(run.folder.name)


def train(runs: Sequence[Run], record: Record) -> None:
    """Bring all runs to their end, one per core at a time."""
    for run in runs:
        if not record.of(run):
            run.require_same()
    cores: SimpleQueue[int] = SimpleQueue()
    allowed = sorted(os.sched_getaffinity(0))
    for core in allowed:
        cores.put(core)

    def one(run: Run) -> int:
        if record.of(run):
            return 0
        if (run.folder / "result.json").exists():
            record.add(run)
            return 0
        command = run.command()
        core = cores.get()
        print(f"core {core}: {run.folder}", flush=True)
        run.folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with (run.folder.parent / f"{run.folder.name}.log").open("a") as log:
                bound = ["taskset", "-c", str(core), *command]
                code = subprocess.call(bound, stdout=log, stderr=log)
        finally:
            cores.put(core)
        if code == 0:
            record.add(run)
        else:
            print(f"{run.folder} ended with {code}: see {log.name}", flush=True)
        return code

    with ThreadPoolExecutor(len(allowed)) as pool:
        if failed := sum(code != 0 for code in pool.map(one, runs)):
            sys.exit(f"{failed} runs did not end; start again to resume them")
