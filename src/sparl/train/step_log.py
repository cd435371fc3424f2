"""The ring of transitions in the log of checkpoints: one stream per lane, each row once.

The row of what is seen now, behind the last of each lane, is part of the state. Environments begin
anew where a run is resumed, so there it becomes what was seen last.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from sparl.replay.transitions import Row, Transitions
from sparl.train.checkpoint import Checkpoint, Segment
from sparl.train.rows import read


def without_rows(ring: Transitions) -> Transitions:
    """What is small, and belongs to the state of a checkpoint: of the rows the last."""
    if isinstance(ring.added, jax.ShapeDtypeStruct):
        return jax.eval_shape(_last, ring)
    return _last(ring)


def new_rows(ring: Transitions, begun: dict[str, int]) -> tuple[dict[str, Segment], dict[str, int]]:
    """The rows that the log does not have yet.

    Args:
        ring: The ring, leaves with a leading axis of seeds.
        begun: Where each stream's next segment begins; 0 if missing.

    Returns:
        The segments, and the first row of each stream that is still in the ring.
    """
    segments, live_from = {}, {}
    added, live = np.asarray(ring.added), np.asarray(ring.live)
    length = ring.rows.reward.shape[-1]
    for seed, lane in np.ndindex(*added.shape):
        name, end = _stream(seed, lane), int(added[seed, lane])
        oldest = end - int(live[seed, lane])
        first = max(begun.get(name, 0), oldest)
        places = np.arange(first, end) % length
        where = (np.full(len(places), seed), np.full(len(places), lane), places)
        arrays = {field: read(leaf, *where) for field, leaf in ring.rows._asdict().items()}
        segments[name] = Segment(first, end, arrays)
        live_from[name] = oldest
    return segments, live_from


def refill(ring: Transitions, shapes: Transitions, checkpoint: Checkpoint) -> Transitions:
    """The ring with its rows, of the shapes of another one, from a checkpoint's log."""
    fields = shapes.rows._asdict().items()
    leaves = {name: np.zeros(leaf.shape, leaf.dtype) for name, leaf in fields}
    added, live = np.array(ring.added), np.array(ring.live)
    length = shapes.rows.reward.shape[-1]
    for seed, lane in np.ndindex(*added.shape):
        end = int(added[seed, lane])
        oldest = end - int(live[seed, lane])
        for segment in checkpoint.segments[_stream(seed, lane)]:
            skipped = max(oldest - segment.first, 0)
            places = np.arange(segment.first + skipped, segment.last) % length
            for name, leaf in leaves.items():
                leaf[seed, lane, places] = segment.arrays[name][skipped:]
        for name, leaf in leaves.items():
            leaf[seed, lane, end % length] = getattr(ring.rows, name)[seed, lane]
        leaves["final"][seed, lane, end % length] = True
    rows = Row(**{name: jnp.asarray(leaf) for name, leaf in leaves.items()})
    return Transitions(
        rows=rows,
        added=jnp.asarray(added + 1),
        live=jnp.asarray(np.minimum(live + 1, length - 1)),
    )


def _last(ring: Transitions) -> Transitions:
    place = (ring.added % ring.rows.reward.shape[-1])[..., None]

    def take(leaf: jax.Array) -> jax.Array:
        index = place.reshape(*place.shape, *[1] * (leaf.ndim - place.ndim))
        return jnp.take_along_axis(leaf, index, axis=2)[:, :, 0]

    return replace(ring, rows=jax.tree.map(take, ring.rows))


def _stream(seed: int, lane: int) -> str:
    return f"steps-{seed}-{lane}"
