r"""Continuous control on MuJoCo, as Sokar et al. compare DS: trains what is missing, and prints.

    python benchmarks/control_returns.py
    python benchmarks/control_returns.py --envs gym:Hopper-v5 --algorithms sac \
        --methods dense ds rlx2
    python benchmarks/control_returns.py --envs mamujoco:Reacher-2x1 --algorithms comix \
        --methods dense static "mast --topology.interval 1000" --total-steps 20000 \
        --flags="--control.random-steps 2000 --eval-every 500"
    python benchmarks/control_returns.py --record mine.json

Interrupt it (Ctrl-C) whenever you like: started again it goes on. What a finished run came to is
added to a record, with the commit and the processor; runs that are recorded are not trained again.
That is `benchmarks/control_returns.json` if no other is named. `dense` and `static` have DS-TD3's
batch, learning rate and weight decay, as in its authors' code. `rlx2`, `rigl` and `set` of TD3 and
SAC have RLx2's, and are compared with 'dense --replay.batch-size 256 --optimizer.lr 3e-4
--control.weight-decay 0', if that is among the methods.
"""

import argparse
import statistics
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from report import save, show
from runs import Record, Run, train

RLX2_DENSE = "dense --replay.batch-size 256 --optimizer.lr 3e-4 --control.weight-decay 0"
"""Dense as RLx2 compares with it."""
TWINS = dict.fromkeys(("set", "rigl", "rlx2", RLX2_DENSE), RLX2_DENSE)
"""What a method of TD3 and SAC is compared with, if not `dense`."""


@dataclass(frozen=True)
class Cell(Run):
    """One seed of one method."""

    group: tuple[str, str]  # The environment and the algorithm.
    method: str
    seed: int


def cells_of(args: argparse.Namespace) -> list[Cell]:
    """Seed by seed, so that every cell has one before any has two."""

    def cell(env: str, algorithm: str, method: str, seed: int) -> Cell:
        more = (*method.split(), *args.flags.split())
        words = "-".join(word.removeprefix("--") for word in more)
        settings = {
            "algorithm": algorithm,
            "env": env,
            "seed": seed,
            "total-steps": args.total_steps,
        }
        flags = (*(f"--{k}={v}" for k, v in settings.items()), "--method", *more)
        robot = env.partition(":")[2].replace("|", "-")
        name = f"{algorithm}-{robot}-{words}-{seed}-{args.total_steps}"
        return Cell(args.folder / name, flags, (env, algorithm), method, seed)

    return [
        cell(env, algorithm, method, seed)
        for env in args.envs
        for algorithm in args.algorithms
        for seed in range(args.seeds)
        for method in args.methods
    ]


def area(result: dict[str, Any]) -> float:
    """The area under a run's learning curve, as a mean return over its evaluations."""
    return statistics.mean(score for _, score in result["curve"])


def twin_of(algorithm: str, method: str) -> str:
    """The dense method that another one is compared with."""
    if algorithm == "comix":
        return "dense"
    return TWINS.get(method, TWINS.get(method.partition(" ")[0], "dense"))


def percent_of_area(own: dict[int, Any], dense: dict[int, Any]) -> float | None:
    """The mean area in percent of dense's, over the seeds of both, where dense's is positive."""
    seeds = own.keys() & dense.keys()
    whole = sum(area(dense[seed]) for seed in seeds)
    return 100 * sum(area(own[seed]) for seed in seeds) / whole if whole > 0 else None


def outcomes(cells: list[Cell], record: Record) -> list[dict[str, Any]]:
    """What is there, by environment, algorithm and method."""
    found: dict[tuple, dict[int, dict[str, Any]]] = {}
    for cell in cells:
        if result := record.of(cell):
            found.setdefault((cell.group, cell.method), {})[cell.seed] = result
    rows = []
    for (group, method), by_seed in found.items():
        results = list(by_seed.values())
        scores = [result["return"] for result in results]
        dense = found.get((group, twin_of(group[1], method)), {})
        rows.append(
            {
                "env": group[0],
                "algorithm": group[1],
                "method": method,
                "env_steps": results[0]["env_steps"],
                "returns": scores,
                "mean": statistics.mean(scores),
                "standard_deviation": statistics.stdev(scores) if len(scores) > 1 else None,
                "best": statistics.mean(max(score for _, score in r["curve"]) for r in results),
                "percent_of_dense_area": percent_of_area(by_seed, dense),
                "size_ratio": results[0]["size_ratio"],
                "train_flops_ratio": results[0]["train_flops_ratio"],
                "env_steps_per_second": [r["env_steps_per_second"] for r in results],
            }
        )
    return rows


def shown(row: dict[str, Any]) -> dict[str, str]:
    """A row of the printed table."""
    spread, share = row["standard_deviation"], row["percent_of_dense_area"]
    return {
        "method": "dense as RLx2 has it" if row["method"] == RLX2_DENSE else row["method"],
        "returns": " ".join(f"{score:.0f}" for score in row["returns"]),
        "mean": f"{row['mean']:.0f}",
        "std": "" if spread is None else f"{spread:.0f}",
        "best": f"{row['best']:.0f}",
        "% area": "" if share is None else f"{share:.1f}",
        "size": f"{row['size_ratio']:.3f}",
        "FLOPs": f"{row['train_flops_ratio']:.3f}",
        "steps/s": f"{statistics.median(row['env_steps_per_second']):.0f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/mujoco"))
    parser.add_argument("--envs", nargs="+", default=["gym:HalfCheetah-v5"])
    parser.add_argument("--algorithms", nargs="+", default=["td3"])
    parser.add_argument("--methods", nargs="+", default=["dense", "static", "ds"])
    parser.add_argument("--flags", default="", help="of sparl train, for every run")
    parser.add_argument("--seeds", type=int, default=3, help="0, 1, ...")
    parser.add_argument("--total-steps", type=int, default=300_000)
    parser.add_argument("--no-train", action="store_true", help="only print what there is")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--record", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    if bare := [env for env in args.envs if ":" not in env]:
        parser.error(f"environments have their interface's name before them: gym:{bare[0]}")
    cells = cells_of(args)
    record = Record(args.record)
    if not args.no_train:
        train(cells, record)
    rows = outcomes(cells, record)
    if not rows:
        parser.error(f"{args.record} has no finished run yet")
    of = itemgetter("algorithm", "env")
    for (algorithm, env), own in groupby(rows, of):
        show(f"{algorithm} on {env}", [shown(row) for row in own])
    print("returns: means of the last 20 evaluations; area: under the learning curve, of dense's")
    save({"rows": rows}, args.json)


if __name__ == "__main__":
    main()
