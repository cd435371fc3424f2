"""What one update and one env step cost in each form of compute, map by map.

    python benchmarks/cost.py
    python benchmarks/cost.py --maps 3m --json cost.json

Programs take turns in one process, so their ratios hold although the machine's speed drifts. An
update is one gradient step on a batch of 32 episodes: `played` of the lengths that a random policy
plays, `longest` as if all lasted to the time limit. An env step is one environment stepped once by
its agents' epsilon-greedy policy, recording included.
"""

import argparse
import json
import platform
import statistics
import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from sparl.compute import native
from sparl.config import Config, ReplayConfig
from sparl.methods import resolve
from sparl.replay import Ring
from sparl.train.program import Program, build

SPARSITY = {"3m": 0.95, "2s3z": 0.95, "3s5z": 0.90}
UPDATES = 4


class Subject:
    """One program with enough episodes to draw from, and the parts of it to time."""

    def __init__(self, config: Config):
        self.program: Program = build(resolve(config)).compiled()
        self.rollout, ring, self.learner = self.program.init(self.program.seeds)
        while ring.live[0] < 64:
            self.rollout, finished = self.program.collect(
                self.learner.params, self.learner.topology, self.rollout
            )
            ring = self.program.store(ring, finished, np.int32(finished.ended.sum()))
        self.played = ring
        limit = self.program.spec.episode_limit
        self.longest = replace(
            ring,
            # Rows that were never written would leave an agent without any action.
            steps=ring.steps._replace(avail_actions=jnp.full_like(ring.steps.avail_actions, 255)),
            length=jnp.full_like(ring.length, limit),
            start=(limit + 1) * jnp.arange(ring.start.size, dtype=jnp.int32)[None],
        )

    def env_step(self) -> None:
        """One chunk of steps of all environments."""
        self.rollout, _ = jax.block_until_ready(
            self.program.collect(self.learner.params, self.learner.topology, self.rollout)
        )

    def update(self, ring: Ring) -> None:
        """`UPDATES` updates on batches of one ring."""
        self.learner, metrics = jax.block_until_ready(
            self.program.learn(self.learner, ring, np.full(1, UPDATES, np.int32), np.int32(0))
        )
        assert metrics.updates[0] == UPDATES, "a loss was not finite, and learning stopped early"


def measure(map_name: str, repeats: int) -> dict:
    """Median times of one map, and what each form takes against masked, pair by pair."""
    config = Config(env=f"smax:{map_name}", replay=ReplayConfig(capacity=256))
    mast = replace(config, method="mast", sparsity=SPARSITY[map_name])
    subjects = {
        "dense": Subject(replace(config, method="dense")),
        "masked": Subject(replace(mast, compute="masked")),
    }
    if not native.unavailable():
        subjects["sparse"] = Subject(replace(mast, compute="sparse"))
    steps = config.num_envs * config.chunk
    parts = {
        "env_step_us": (lambda s: s.env_step(), 1e6 / steps),
        "update_played_ms": (lambda s: s.update(s.played), 1e3 / UPDATES),
        "update_longest_ms": (lambda s: s.update(s.longest), 1e3 / UPDATES),
    }
    row: dict = {"map": map_name, "sparsity": SPARSITY[map_name]}
    for name, (part, scale) in parts.items():
        times = {label: [] for label in subjects}
        for repeat in range(repeats + 1):
            for label, subject in subjects.items():
                begun = time.perf_counter()
                part(subject)
                if repeat:  # the first is a warm-up
                    times[label].append((time.perf_counter() - begun) * scale)
        row[name] = {label: statistics.median(values) for label, values in times.items()}
        for label in set(times) - {"masked"}:
            ratios = [m / t for m, t in zip(times["masked"], times[label], strict=True)]
            row[name][f"masked/{label}"] = statistics.median(ratios)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--maps", nargs="+", default=list(SPARSITY), choices=list(SPARSITY))
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    args = parser.parse_args()

    rows = []
    table = Table(title="medians")
    columns = ("dense", "masked", "sparse", "masked/dense", "masked/sparse")
    for name in ("map", "sparsity", "part", *columns):
        table.add_column(name, justify="left" if name in ("map", "part") else "right")
    for map_name in args.maps:
        row = measure(map_name, args.repeats)
        rows.append(row)
        for part in ("env_step_us", "update_played_ms", "update_longest_ms"):
            values = row[part]
            table.add_row(
                map_name,
                f"{row['sparsity']:.2f}",
                part,
                *(f"{values[name]:.2f}" if name in values else "-" for name in columns),
            )
    Console().print(table)
    report = {
        "jax": jax.__version__,
        "backend": jax.default_backend(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "rows": rows,
    }
    print(json.dumps(report))
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
