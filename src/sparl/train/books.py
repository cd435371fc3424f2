"""What the loop counts on the host, and the records that it makes of it."""

from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from sparl.train.logging import Record
from sparl.train.updates import UpdateMetrics

SHOWN = {
    "loss": "loss",
    "critic_loss": "critic loss",
    "q_total": "Q_total",
    "q": "Q",
    "win_rate": "eval win rate",
    "return": "eval return",
}
"""What is shown of the newest records, in this order: metrics and what they are called there."""

OF_EPISODES = {"return": "episode_return", "win_rate": "won", "episode_length": "length"}
"""Metrics of finished episodes, and the fields of what a rollout has finished."""

SCORED = 20
"""How many of the last evaluations make the score (MAST, section 4.1)."""


@dataclass
class Books:
    """The counts of a run; everything is JSON, and saved with every checkpoint.

    Attributes:
        env_steps: Env steps of each seed.
        episodes: Finished episodes, by seed.
        updates: Updates, topology changes included, by seed.
        seconds: Wall time.
        compile_seconds: How much of it was compilation.
        evaluations: `env_steps` of each evaluation, and its values by seed.
        recent: Sums since the last training record, by seed.
        latest: The newest values of `SHOWN`, means over seeds.
        metrics_bytes: Length of `metrics.jsonl`.
        broken_episodes: Episodes lost to environments that crashed or hung; `None` where that
            cannot be.
    """

    env_steps: int
    episodes: list[int]
    updates: list[int]
    seconds: float = 0.0
    compile_seconds: float = 0.0
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    recent: list[dict[str, float]] = field(default_factory=list)
    latest: dict[str, float] = field(default_factory=dict)
    metrics_bytes: int = 0
    broken_episodes: int | None = None

    @classmethod
    def empty(cls, num_seeds: int) -> "Books":
        """The books of a run that has not begun."""
        zeros = [0] * num_seeds
        return cls(0, zeros, list(zeros), recent=[{} for _ in zeros])

    def rate(self) -> float:
        """Env steps per second, all seeds together, compilation not counted; 0 before any."""
        running = self.seconds - self.compile_seconds
        return self.env_steps * len(self.episodes) / running if running > 0 else 0.0

    def last_evaluated(self) -> int:
        """Env steps at the last evaluation; -1 before any."""
        return self.evaluations[-1]["env_steps"] if self.evaluations else -1

    def score(self, name: str) -> list[float]:
        """Mean of the last evaluations' `name`, by seed."""
        last = [evaluation[name] for evaluation in self.evaluations[-SCORED:]]
        return np.mean(last, axis=0).tolist()

    def count_episodes(self, finished: Any) -> None:
        """Take in the episodes that a chunk has finished."""
        ended = np.asarray(finished.ended)
        if finished.broken is not None:
            self.broken_episodes = (self.broken_episodes or 0) + int(np.sum(finished.broken))
        values = {
            name: np.asarray(getattr(finished, field))
            for name, field in OF_EPISODES.items()
            if hasattr(finished, field)
        }
        for seed, recent in enumerate(self.recent):
            count = int(ended[seed].sum())
            self.episodes[seed] += count
            _add(recent, "episodes", count)
            for name, value in values.items():
                _add(recent, name, float(value[seed][ended[seed]].sum(dtype=np.float64)))

    def count_updates(self, metrics: UpdateMetrics) -> None:
        """Take in what a series of gradient steps looked like."""
        sums = {name: np.asarray(value) for name, value in metrics.sums.items()}
        for seed, recent in enumerate(self.recent):
            _add(recent, "updates", int(metrics.updates[seed]))
            for name, value in sums.items():
                _add(recent, name, float(value[seed]))

    def train_records(self, exploration: dict[str, float]) -> list[Record]:
        """Means since the last call, one record per seed, with what is said of the exploration."""
        records = []
        for seed, recent in enumerate(self.recent):
            record = self._record("train", seed)
            record |= {
                "episodes": self.episodes[seed],
                "updates": self.updates[seed],
                **exploration,
                "env_steps_per_second": self.rate(),
            }
            if self.broken_episodes is not None:
                record["broken_episodes"] = self.broken_episodes
            episodes, updates = recent.pop("episodes", 0), recent.pop("updates", 0)
            for name, total in recent.items():
                count = episodes if name in OF_EPISODES else updates
                if count:
                    record[name] = total / count
            recent.clear()
            records.append(record)
        self._show(records)
        return records

    def evaluation_records(self, values: dict[str, jax.Array]) -> list[Record]:
        """Enter an evaluation, and make one record per seed of it."""
        by_seed = {name: np.asarray(value).tolist() for name, value in values.items()}
        self.evaluations.append({"env_steps": self.env_steps, **by_seed})
        records = self.records("eval", values)
        self._show(records, "eval ")
        return records

    def topology_records(self, changed: dict[str, jax.Array], due: np.ndarray) -> list[Record]:
        """One record for each seed whose topology changed; by layer the share of new links."""
        by_seed = {name: np.asarray(value).tolist() for name, value in changed.items()}
        fraction, loss = by_seed.pop("fraction"), by_seed.pop("loss")
        return [
            self._record("topology", seed)
            | {
                "update": self.updates[seed] + 1,
                "fraction": fraction[seed],
                "loss": loss[seed],
                "changed": {name: value[seed] for name, value in by_seed.items()},
            }
            for seed in np.flatnonzero(due).tolist()
        ]

    def prune_records(self, dropped: dict[str, jax.Array]) -> list[Record]:
        """One record per seed of links that are gone for good, by layer their share."""
        by_seed = {name: np.asarray(share).tolist() for name, share in dropped.items()}
        return [
            self._record("prune", seed)
            | {
                "update": self.updates[seed],
                "dropped": {name: share[seed] for name, share in by_seed.items()},
            }
            for seed in range(len(self.episodes))
        ]

    def records(self, kind: str, values: dict[str, jax.Array]) -> list[Record]:
        """One record per seed of values `[S]`."""
        by_seed = {name: np.asarray(value).tolist() for name, value in values.items()}
        return [
            self._record(kind, seed) | {name: value[seed] for name, value in by_seed.items()}
            for seed in range(len(self.episodes))
        ]

    def replay_records(self, found: dict[str, jax.Array], due: np.ndarray) -> list[Record]:
        """One record for each seed whose replay was looked through."""
        records = self.records("replay", found)
        return [records[seed] for seed in np.flatnonzero(due).tolist()]

    def _show(self, records: list[Record], prefix: str = "") -> None:
        for name, label in SHOWN.items():
            values = [record[name] for record in records if name in record]
            if values and label.startswith("eval ") == bool(prefix):
                self.latest[label] = float(np.mean(values))

    def _record(self, kind: str, seed: int) -> Record:
        return {
            "kind": kind,
            "env_steps": self.env_steps,
            "seconds": round(self.seconds, 3),
            "seed": seed,
        }


def _add(sums: dict[str, float], name: str, value: float) -> None:
    sums[name] = sums.get(name, 0) + value
