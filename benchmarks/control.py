"""What one env step of continuous control costs with the update that follows it.

    python benchmarks/control.py
    python benchmarks/control.py --env gym:Hopper-v5 --json control.json
    python benchmarks/control.py --algorithm comix

Programs take turns in one process, so their ratios hold although the machine's speed drifts. Each
reading is so many chunks as the training loop takes them: actions, env steps, storing, and an
update for each step, with the next chunk played while the learner learns. To these comes a change
of the topology, which is timed by itself, shared out among the updates between two of them.
"""

import dataclasses
import statistics
import time
from typing import Any

import jax
import numpy as np
from report import arguments, report

from sparl.config import Config
from sparl.methods import resolve, without_unused
from sparl.presets import defaults
from sparl.train.program import Program, build

CHUNKS = {"td3": 20, "comix": 5}
"""Of a reading."""


def cases(algorithm: str, env: str | None) -> dict[str, Config]:
    """The programs by name, the first word of which tells what is compared.

    TD3: that of DS and of RLx2 with the densities of their papers, and dense twins. COMIX: with
    one-step targets, and with MAST's once TD(lambda) has begun, and dense twins.
    """
    if algorithm == "comix":
        return {
            f"{name} {form}": _comix(method, env, form)
            for name, method in (("COMIX", "rigl"), ("MAST-COMIX", "mast"))
            for form in ("dense", "masked", "sparse")
        }

    def config(method: str, twin: str | None = None, compute: str = "auto") -> Config:
        own = defaults("td3", method)
        own = dataclasses.replace(own, env=env or own.env, method=twin or method, compute=compute)
        if twin:  # The same batches and networks.
            topology = defaults("td3", twin).topology
            own = dataclasses.replace(own, topology=topology, sparsity=0.5)
            own = dataclasses.replace(
                own, control=dataclasses.replace(own.control, critic_sparsity=0.0)
            )
        return without_unused(own)

    return {
        "DS dense": config("ds", twin="dense"),
        "DS masked": config("ds", compute="masked"),
        "DS sparse": config("ds", compute="sparse"),
        "RLx2 dense": config("rlx2", twin="dense"),
        "RLx2 masked": config("rlx2", compute="masked"),
        "RLx2 sparse": config("rlx2", compute="sparse"),
    }


def _comix(method: str, env: str | None, form: str) -> Config:
    own = defaults("comix", method)
    parts: dict[str, Any] = {"env": env or own.env, "compute": form}
    if form == "dense":
        parts["topology"] = dataclasses.replace(defaults("comix", "dense").topology, kind="dense")
    if method == "mast":
        parts["target"] = dataclasses.replace(own.target, burn_in=0.0)
    return dataclasses.replace(own, **parts)


class Subject:
    """One program with some random steps to draw from."""

    def __init__(self, config: Config):
        config = dataclasses.replace(config, total_steps=2**30)
        self.chunks = CHUNKS[config.algorithm]
        self.program: Program = build(resolve(config)).compiled()
        self.steps = self.chunks * config.chunk
        self.rollout, self.ring, self.learner = self.program.init(self.program.seeds)
        while self.ring.size < 2000:
            self.play()

    def play(self) -> None:
        """Collect and store one chunk."""
        learner = self.learner
        self.rollout, played = self.program.collect(learner.params, learner.topology, self.rollout)
        self.ring = self.program.store(self.ring, played, np.int32(0))

    def train(self) -> None:
        """Some chunks as the training loop takes them."""
        chunk = self.program.config.chunk
        for _ in range(self.chunks):
            self.play()
            self.learner, metrics = self.program.learn(
                self.learner, self.ring, np.full(1, chunk, np.int32), np.int32(0)
            )
            assert metrics.bad_update.item() < 0, "a loss was not finite"
        jax.block_until_ready(self.learner)

    def evolve(self) -> float:
        """Change the topology, if it ever changes; the seconds that this adds to each update."""
        interval = self.program.cadence.evolve
        if interval is None:
            return 0.0
        begun = time.perf_counter()
        due = np.ones(1, bool)
        self.learner, _ = self.program.evolve(self.learner, self.ring, np.int32(0), due)
        jax.block_until_ready(self.learner)
        return (time.perf_counter() - begun) / interval


def main() -> None:
    parser = arguments(__doc__, repeats=11)
    parser.add_argument("--algorithm", choices=["td3", "comix"], default="td3")
    parser.add_argument("--env", help="HalfCheetah by default")
    args = parser.parse_args()
    configs = cases(args.algorithm, args.env)
    subjects = {name: Subject(config) for name, config in configs.items()}
    readings: dict[str, list[float]] = {name: [] for name in subjects}
    for repeat in range(args.repeats + 1):
        for name, subject in subjects.items():
            begun = time.perf_counter()
            subject.train()
            seconds = (time.perf_counter() - begun) / subject.steps + subject.evolve()
            if repeat:  # The first is a warm-up.
                readings[name].append(seconds * 1e6)
    rows = []
    for name, own in readings.items():
        dense = readings[f"{name.split()[0]} dense"]
        ratio = statistics.median(d / t for d, t in zip(dense, own, strict=True))
        median = statistics.median(own)
        rows.append({"program": name, "us_per_step": median, "dense/this": ratio, "readings": own})
    for subject in subjects.values():
        subject.program.close()
    table = [
        {
            "program": row["program"],
            "us per env step": f"{row['us_per_step']:.0f}",
            "env steps/s": f"{1e6 / row['us_per_step']:.0f}",
            "dense / this": f"{row['dense/this']:.2f}",
        }
        for row in rows
    ]
    env = next(iter(configs.values())).env
    report(f"{args.algorithm} on {env}, medians", table, {"env": env, "rows": rows}, args.json)


if __name__ == "__main__":
    main()
