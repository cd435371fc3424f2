"""What one update and one env step cost in each form of compute, map by map.

    python benchmarks/cost.py
    python benchmarks/cost.py --maps 3m --json cost.json

Programs take turns in one process, so their ratios hold although the machine's speed drifts. An
update is one gradient step on a batch of 32 episodes: `played` of the lengths that a random policy
plays, `longest` as if all lasted to the time limit. An env step is one environment stepped once by
its agents' epsilon-greedy policy, recording included. `train` is an env step with all that
`sparl train` does for it between evaluations: stepping, storing, one update per finished episode.
"""

import statistics
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from report import arguments, report

from sparl.compute import native
from sparl.config import Config, ReplayConfig
from sparl.methods import resolve
from sparl.replay import Ring
from sparl.train.program import Program, build

SPARSITY = {"3m": 0.95, "2s3z": 0.95, "3s5z": 0.90}
UPDATES = 4
PARTS = ("env_step_us", "update_played_ms", "update_longest_ms", "train_us")


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

    def train(self) -> None:
        """One chunk as the training loop takes it."""
        self.rollout, finished = self.program.collect(
            self.learner.params, self.learner.topology, self.rollout
        )
        ended = np.asarray(finished.ended).sum(axis=tuple(range(1, finished.ended.ndim)))
        self.played = self.program.store(self.played, finished, np.int32(finished.ended.sum()))
        self.learner, _ = jax.block_until_ready(
            self.program.learn(self.learner, self.played, ended.astype(np.int32), np.int32(0))
        )


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
    measures = (
        (lambda s: s.env_step(), 1e6 / steps),
        (lambda s: s.update(s.played), 1e3 / UPDATES),
        (lambda s: s.update(s.longest), 1e3 / UPDATES),
        (lambda s: s.train(), 1e6 / steps),
    )
    row: dict = {"map": map_name, "sparsity": SPARSITY[map_name]}
    for name, (part, scale) in zip(PARTS, measures, strict=True):
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
    parser = arguments(__doc__, repeats=15)
    parser.add_argument("--maps", nargs="+", default=list(SPARSITY), choices=list(SPARSITY))
    args = parser.parse_args()
    rows = [measure(map_name, args.repeats) for map_name in args.maps]
    columns = ("dense", "masked", "sparse", "masked/dense", "masked/sparse")
    table = [
        {"map": row["map"], "sparsity": f"{row['sparsity']:.2f}", "part": part}
        | {name: f"{row[part][name]:.2f}" if name in row[part] else "-" for name in columns}
        for row in rows
        for part in PARTS
    ]
    report("medians", table, {"rows": rows}, args.json)


if __name__ == "__main__":
    main()
