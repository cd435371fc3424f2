"""The ring of episodes in the log of checkpoints: one stream per seed, each episode once."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from sparl.replay import Ring, Step
from sparl.train.checkpoint import Checkpoint, Segment
from sparl.train.rows import read


def without_rows(ring: Ring) -> Ring:
    """What is small, and belongs to the state of a checkpoint."""
    return replace(ring, steps=None)


def new_rows(ring: Ring, begun: dict[str, int]) -> tuple[dict[str, Segment], dict[str, int]]:
    """The episodes that the log does not have yet, as one stream per seed.

    Args:
        ring: The ring, leaves with a leading axis of seeds.
        begun: Where each stream's next segment begins; 0 if missing.

    Returns:
        The segments, and the first episode of each stream that is still in the ring.
    """
    segments, live_from = {}, {}
    start, length = np.asarray(ring.start), np.asarray(ring.length)
    for seed, (added, live) in enumerate(zip(ring.added.tolist(), ring.live.tolist(), strict=True)):
        name = _stream(seed)
        first = max(begun.get(name, 0), added - live)
        slots = np.arange(first, added) % start.shape[1]
        rows = _rows(start[seed, slots], length[seed, slots], ring.rows)
        arrays = {"length": length[seed, slots]}
        for field, leaf in ring.steps._asdict().items():
            arrays[field] = read(leaf, np.full(len(rows), seed), rows)
        segments[name] = Segment(first, added, arrays)
        live_from[name] = added - live
    return segments, live_from


def _stream(seed: int) -> str:
    return f"episodes-{seed}"


def _rows(start: np.ndarray, length: np.ndarray, rows: int) -> np.ndarray:
    """Places in memory of all rows of episodes, each with the row that was seen last."""
    spans = [np.arange(s, s + n + 1) for s, n in zip(start % rows, length, strict=True)]
    return np.concatenate([np.zeros(0, np.int64), *spans])


def refill(ring: Ring, shapes: Ring, checkpoint: Checkpoint) -> Ring:
    """The ring with its rows, of the shapes of another one, from a checkpoint's log."""
    fields = shapes.steps._asdict().items()
    leaves = {name: np.zeros(leaf.shape, leaf.dtype) for name, leaf in fields}
    start, length = np.asarray(ring.start), np.asarray(ring.length)
    for seed, (added, live) in enumerate(zip(ring.added.tolist(), ring.live.tolist(), strict=True)):
        oldest = added - live
        for segment in checkpoint.segments[_stream(seed)]:
            skipped = max(oldest - segment.first, 0)
            slots = np.arange(segment.first + skipped, segment.last) % start.shape[1]
            rows = _rows(start[seed, slots], length[seed, slots], ring.rows)
            behind = int(np.sum(segment.arrays["length"][:skipped] + 1))
            for name, leaf in leaves.items():
                leaf[seed, rows] = segment.arrays[name][behind:]
    return replace(ring, steps=Step(**{name: jnp.asarray(leaf) for name, leaf in leaves.items()}))
