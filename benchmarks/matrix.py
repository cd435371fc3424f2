"""The cells of MAST's tables on SMAX: trains what is missing, and prints what there is.

    python benchmarks/matrix.py
    python benchmarks/matrix.py --maps 3m --seeds 1 --total-steps 500000 --folder runs/small
    python benchmarks/matrix.py --no-train
    python benchmarks/matrix.py --ablation --maps 2s3z --seeds 1
    python benchmarks/matrix.py --maps 2s3z --methods dense "mast --target.omega 100"
    python benchmarks/matrix.py --record mine.json

Each cell is a `sparl train` in a folder of its own. Interrupt it (Ctrl-C) whenever you like:
started again it skips finished runs and resumes the others. One run trains per core, bound to it.
What a finished run came to is added to a record, with the commit and the processor; runs that are
recorded are not trained again. `benchmarks/matrix.json` is ours: the last command begins another.
"""

import argparse
import fcntl
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from report import commit, processor, report

from sparl.files import write_whole

MOST = ("dense", "mast", "rigl", "static", "rlx2")
ALL = (*MOST, "set", "tiny")


@dataclass(frozen=True)
class Part:
    """One algorithm on one map: the methods, and the paper's percentages of dense (Table 1).

    A method may have flags of `sparl train` behind its name.
    """

    algorithm: str
    map_name: str
    sparsity: float
    methods: tuple[str, ...]
    paper: dict[str, float]


def percentages(*values: float) -> dict[str, float]:
    return dict(zip(("tiny", "static", "set", "rigl", "rlx2", "mast"), values, strict=True))


MATRIX = [
    Part("qmix", "3m", 0.95, ALL, percentages(98.3, 91.6, 96.0, 95.3, 12.1, 100.9)),
    Part("qmix", "2s3z", 0.95, MOST, percentages(83.7, 73.0, 77.6, 69.4, 45.8, 98.0)),
    Part("qmix", "3s5z", 0.90, MOST, percentages(68.2, 34.0, 52.3, 45.2, 50.1, 99.0)),
    Part("ow-qmix", "3m", 0.90, MOST, percentages(98.3, 96.9, 97.8, 97.8, 98.0, 98.6)),
    Part("res", "3m", 0.95, MOST, percentages(97.8, 95.6, 97.3, 91.1, 97.9, 99.3)),
    Part("ow-qmix", "2s3z", 0.90, MOST, percentages(89.6, 75.4, 85.9, 86.8, 87.3, 100.2)),
    Part("res", "2s3z", 0.90, MOST, percentages(96.5, 92.8, 92.8, 94.7, 94.0, 98.4)),
]
"""In the order in which they are trained."""

MAST_BUT = (
    "dense",
    "mast",
    "mast --topology.kind dense",
    "mast --topology.kind static",
    "mast --topology.interval 2000",
    "mast --target.operator double_q",
    "mast --target.alpha 5",
    "mast --target.alpha 10",
    "mast --target.omega 30",
    "mast --target.omega 100",
    "mast --target.kind one_step",
    "mast --target.burn-in 0",
    "mast --replay.kind uniform",
    "rlx2",
    "rigl",
)
"""MAST with one part changed at a time."""

ABLATION = [
    Part("qmix", "3m", 0.95, MAST_BUT, {}),
    Part("qmix", "2s3z", 0.95, MAST_BUT, {}),
]


@dataclass(frozen=True)
class Run:
    """One seed of one method."""

    part: Part
    method: str
    seed: int
    total_steps: int
    folder: Path  # Its name tells the run from all others, and stands for it in the record.

    def command(self) -> list[str]:
        """What brings it to its end."""
        sparl = [sys.executable, "-m", "sparl.cli"]
        if (self.folder / "config.json").exists():
            return [*sparl, "resume", str(self.folder)]
        settings = {
            "algorithm": self.part.algorithm,
            "env": f"smax:{self.part.map_name}",
            "seed": self.seed,
            "total-steps": self.total_steps,
            "run-dir": self.folder,
        }
        if self.method != "dense":
            settings["sparsity"] = self.part.sparsity
        flags = [f"--{name}={value}" for name, value in settings.items()]
        return [*sparl, "train", "--method", *self.method.split(), *flags]

    def outcome(self) -> dict[str, Any]:
        """What the finished run came to."""
        result = json.loads((self.folder / "result.json").read_text())
        lines = map(json.loads, (self.folder / "metrics.jsonl").read_text().splitlines())
        return {
            "env_steps": result["env_steps"],
            "win_rate": result["win_rate"],
            "return": result["return"],
            "size_ratio": result["size_ratio"],
            "train_flops_ratio": result["flops"]["train_ratio"],
            "env_steps_per_second": result["env_steps_per_second"],
            "curve": [
                [line["env_steps"], line["win_rate"]] for line in lines if line["kind"] == "eval"
            ],
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


def runs_of(parts: list[Part], seeds: int, total_steps: int, folder: Path) -> list[Run]:
    """Seed by seed, so that every cell has one before any has two."""

    def run(part: Part, method: str, seed: int) -> Run:
        words = "-".join(word.removeprefix("--") for word in method.split())
        name = f"{part.algorithm}-{part.map_name}-{words}-{seed}-{total_steps}"
        return Run(part, method, seed, total_steps, folder / name)

    return [
        run(part, method, seed)
        for part in parts
        for seed in range(seeds)
        for method in part.methods
    ]


def train(runs: list[Run], record: Record) -> None:
    """Bring all runs to their end, one per core at a time."""
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


def table(
    parts: list[Part], runs: list[Run], record: Record
) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    """What is there, as rows to print and as data."""
    shown, data = [], []
    for part in parts:
        found = {
            method: [
                result
                for run in runs
                if (run.part, run.method) == (part, method) and (result := record.of(run))
            ]
            for method in part.methods
        }
        means = {
            method: statistics.mean(result["win_rate"] for result in results)
            for method, results in found.items()
            if results
        }
        for method, mean in means.items():
            results = found[method]
            wins = [result["win_rate"] for result in results]
            rates = [r["env_steps_per_second"] for r in results if "env_steps_per_second" in r]
            share = 100 * mean / means["dense"] if means.get("dense") else None
            row = {
                "algorithm": part.algorithm,
                "map": part.map_name,
                "sparsity": part.sparsity,
                "method": method,
                "env_steps": results[0]["env_steps"],
                "win_rates": wins,
                "mean": mean,
                "percent_of_dense": share,
                "paper_percent": part.paper.get(method),
                "size_ratio": results[0]["size_ratio"],
                "train_flops_ratio": results[0]["train_flops_ratio"],
                "env_steps_per_second": rates,
            }
            data.append(row)
            shown.append(
                {
                    "cell": f"{part.algorithm} {part.map_name} {part.sparsity:g}",
                    "method": method,
                    "win rates": " ".join(f"{rate:.3f}" for rate in wins),
                    "mean": f"{mean:.3f}",
                    "std": f"{statistics.stdev(wins):.3f}" if len(wins) > 1 else "",
                    "% of dense": "" if share is None else f"{share:.1f}",
                    "paper": f"{part.paper[method]:.1f}" if method in part.paper else "",
                    "size": f"{row['size_ratio']:.4f}",
                    "FLOPs": f"{row['train_flops_ratio']:.4f}",
                    "env steps/s": f"{statistics.median(rates):.0f}" if rates else "",
                }
            )
    return shown, data


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/matrix"))
    parser.add_argument("--maps", nargs="+", default=["3m", "2s3z", "3s5z"])
    parser.add_argument("--algorithms", nargs="+", default=["qmix", "ow-qmix", "res"])
    parser.add_argument("--methods", nargs="+", help="these instead of the tables' own")
    parser.add_argument("--seeds", type=int, default=3, help="0, 1, ...")
    parser.add_argument("--total-steps", type=int, default=1_000_000)
    parser.add_argument("--ablation", action="store_true", help="MAST with parts changed instead")
    parser.add_argument("--no-train", action="store_true", help="only print what there is")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--record", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    known = ABLATION if args.ablation else MATRIX
    parts = [p for p in known if p.map_name in args.maps and p.algorithm in args.algorithms]
    if args.methods:
        parts = [replace(part, methods=tuple(args.methods)) for part in parts]
    runs = runs_of(parts, args.seeds, args.total_steps, args.folder)
    record = Record(args.record)
    if not args.no_train:
        train(runs, record)
    shown, data = table(parts, runs, record)
    if not shown:
        parser.error(f"{args.record} has no finished run yet")
    report("win rates are means of the last 20 evaluations", shown, {"rows": data}, args.json)


if __name__ == "__main__":
    main()
