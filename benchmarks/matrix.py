"""The cells of MAST's tables on SMAX: trains what is missing, and prints what there is.

    python benchmarks/matrix.py
    python benchmarks/matrix.py --maps 3m --seeds 1 --total-steps 500000 --folder runs/small
    python benchmarks/matrix.py --no-train
    python benchmarks/matrix.py --ablation --maps 2s3z --seeds 1
    python benchmarks/matrix.py --maps 2s3z --methods dense "mast --target.omega 30"
    python benchmarks/matrix.py --record mine.json

Interrupt it (Ctrl-C) whenever you like: started again it goes on. What a finished run came to is
added to a record, with the commit and the processor; runs that are recorded are not trained again.
`benchmarks/matrix.json` is ours: the last command begins another.
"""

import argparse
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from report import report
from runs import Record, Run, train

OMEGA_10 = " --target.omega 10"
RECALLED = f"mast{OMEGA_10}"
"""MAST with the temperature that we recall of the paper; by default it has ours."""

MOST = ("dense", "mast", "rigl", "static", "rlx2")
QMIX = (*MOST, RECALLED)
ALL = (*QMIX, "set", "tiny")


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
    Part("qmix", "2s3z", 0.95, QMIX, percentages(83.7, 73.0, 77.6, 69.4, 45.8, 98.0)),
    Part("qmix", "3s5z", 0.90, QMIX, percentages(68.2, 34.0, 52.3, 45.2, 50.1, 99.0)),
    Part("ow-qmix", "3m", 0.90, MOST, percentages(98.3, 96.9, 97.8, 97.8, 98.0, 98.6)),
    Part("res", "3m", 0.95, MOST, percentages(97.8, 95.6, 97.3, 91.1, 97.9, 99.3)),
    Part("ow-qmix", "2s3z", 0.90, MOST, percentages(89.6, 75.4, 85.9, 86.8, 87.3, 100.2)),
    Part("res", "2s3z", 0.90, MOST, percentages(96.5, 92.8, 92.8, 94.7, 94.0, 98.4)),
]
"""In the order in which they are trained."""

RECALLED_BUT = (
    "dense",
    RECALLED,
    f"{RECALLED} --topology.kind dense",
    f"{RECALLED} --topology.kind static",
    f"{RECALLED} --topology.interval 2000",
    "mast --target.operator double_q",
    f"{RECALLED} --target.alpha 5",
    f"{RECALLED} --target.alpha 10",
    "mast --target.omega 30",
    "mast",
    f"{RECALLED} --target.kind one_step",
    f"{RECALLED} --target.burn-in 0",
    f"{RECALLED} --replay.kind uniform",
    "rlx2",
    "rigl",
)
"""That with one part changed at a time, and what it is compared with."""

ABLATION = [
    Part("qmix", "2s3z", 0.95, RECALLED_BUT, {}),
    Part("qmix", "3m", 0.95, RECALLED_BUT, {}),
]


@dataclass(frozen=True)
class Cell(Run):
    """One seed of one method of one part."""

    part: Part
    method: str


def cells_of(parts: list[Part], seeds: int, total_steps: int, folder: Path) -> list[Cell]:
    """Seed by seed, so that every cell has one before any has two."""

    def cell(part: Part, method: str, seed: int) -> Cell:
        words = "-".join(word.removeprefix("--") for word in method.split())
        name = f"{part.algorithm}-{part.map_name}-{words}-{seed}-{total_steps}"
        settings = {
            "algorithm": part.algorithm,
            "env": f"smax:{part.map_name}",
            "seed": seed,
            "total-steps": total_steps,
        }
        if method != "dense":
            settings["sparsity"] = part.sparsity
        flags = (*(f"--{k}={v}" for k, v in settings.items()), "--method", *method.split())
        return Cell(folder / name, flags, part, method)

    return [
        cell(part, method, seed)
        for part in parts
        for seed in range(seeds)
        for method in part.methods
    ]


def rows_of(part: Part, cells: list[Cell], record: Record) -> list[dict[str, Any]]:
    """What the methods of a part have come to, those that have a run."""
    found = {
        method: [
            result
            for cell in cells
            if (cell.part, cell.method) == (part, method) and (result := record.of(cell))
        ]
        for method in part.methods
    }
    means = {
        method: statistics.mean(result["win_rate"] for result in results)
        for method, results in found.items()
        if results
    }
    dense = means.get("dense")
    return [
        {
            "algorithm": part.algorithm,
            "map": part.map_name,
            "sparsity": part.sparsity,
            "method": method,
            "env_steps": found[method][0]["env_steps"],
            "win_rates": [result["win_rate"] for result in found[method]],
            "mean": mean,
            "percent_of_dense": 100 * mean / dense if dense else None,
            "paper_percent": part.paper.get(method.removesuffix(OMEGA_10)),
            "size_ratio": found[method][0]["size_ratio"],
            "train_flops_ratio": found[method][0]["train_flops_ratio"],
            "env_steps_per_second": [
                result["env_steps_per_second"]
                for result in found[method]
                if "env_steps_per_second" in result
            ],
        }
        for method, mean in means.items()
    ]


def shown(row: dict[str, Any]) -> dict[str, str]:
    """A row as it is printed."""

    def number(value: float | None, form: str) -> str:
        return "" if value is None else f"{value:{form}}"

    wins, rates = row["win_rates"], row["env_steps_per_second"]
    return {
        "cell": f"{row['algorithm']} {row['map']} {row['sparsity']:g}",
        "method": row["method"],
        "win rates": " ".join(f"{rate:.3f}" for rate in wins),
        "mean": number(row["mean"], ".3f"),
        "std": number(statistics.stdev(wins) if len(wins) > 1 else None, ".3f"),
        "% of dense": number(row["percent_of_dense"], ".1f"),
        "paper": number(row["paper_percent"], ".1f"),
        "size": number(row["size_ratio"], ".4f"),
        "FLOPs": number(row["train_flops_ratio"], ".4f"),
        "env steps/s": number(statistics.median(rates) if rates else None, ".0f"),
    }


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
    cells = cells_of(parts, args.seeds, args.total_steps, args.folder)
    record = Record(args.record)
    if not args.no_train:
        train(cells, record)
    rows = [row for part in parts for row in rows_of(part, cells, record)]
    if not rows:
        parser.error(f"{args.record} has no finished run yet")
    title = "win rates are means of the last 20 evaluations"
    report(title, [shown(row) for row in rows], {"rows": rows}, args.json)


if __name__ == "__main__":
    main()
