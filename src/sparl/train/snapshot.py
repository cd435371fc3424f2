"""A `TrainState` as plain arrays for a checkpoint, and back, bit for bit.

The rows of the replay ring go to the checkpoint's log, each episode once; all the rest, which is
small, is the checkpoint's state.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sparl.errors import SparlError
from sparl.replay import Ring, Step
from sparl.topology import by_name
from sparl.train.checkpoint import Arrays, Checkpoint, Segment
from sparl.train.learner import LearnerState
from sparl.train.program import TrainState


def state_arrays(state: TrainState) -> Arrays:
    """Everything but the rows of the ring, by name, copied to the host."""
    return {name: np.array(_plain(leaf)) for name, leaf in by_name(_without_rows(state)).items()}


def new_episodes(ring: Ring, begun: dict[str, int]) -> tuple[dict[str, Segment], dict[str, int]]:
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
            arrays[field] = _read(leaf, seed, rows)
        segments[name] = Segment(first, added, arrays)
        live_from[name] = added - live
    return segments, live_from


def restore(template: TrainState, checkpoint: Checkpoint) -> TrainState:
    """The state that a checkpoint holds.

    Args:
        template: A state of the same shapes and types, its values not looked at; that of
            `jax.eval_shape` will do.
        checkpoint: From a run of the same configuration.

    Raises:
        SparlError: If the checkpoint does not fit the template.
    """
    expected = by_name(_without_rows(template))
    if expected.keys() != checkpoint.state.keys():
        odd = sorted(expected.keys() ^ checkpoint.state.keys())
        raise SparlError(f"the checkpoint does not fit this configuration: it differs in {odd}")
    leaves = [_revive(name, leaf, checkpoint.state[name]) for name, leaf in expected.items()]
    structure = jax.tree.structure(_without_rows(template))
    state = jax.tree.unflatten(structure, leaves)
    return state._replace(ring=_refill(state.ring, template.ring.steps, checkpoint))


def restore_learner(template: TrainState, checkpoint: Checkpoint) -> LearnerState:
    """The learner alone, without the replay."""
    alone = {"learner": template.learner}
    leaves = [_revive(name, leaf, checkpoint.state[name]) for name, leaf in by_name(alone).items()]
    return jax.tree.unflatten(jax.tree.structure(alone), leaves)["learner"]


def _without_rows(state: TrainState) -> TrainState:
    return state._replace(ring=replace(state.ring, steps=None))


def _stream(seed: int) -> str:
    return f"episodes-{seed}"


def _rows(start: np.ndarray, length: np.ndarray, rows: int) -> np.ndarray:
    """Places in memory of all rows of episodes, each with the row that was seen last."""
    spans = [np.arange(s, s + n + 1) for s, n in zip(start % rows, length, strict=True)]
    return np.concatenate([np.zeros(0, np.int64), *spans])


def _read(leaf: jax.Array, seed: int, rows: np.ndarray) -> np.ndarray:
    # Padded to a power of two, so that few shapes are ever compiled.
    padded = np.zeros(1 << max(len(rows) - 1, 0).bit_length(), np.int32)
    padded[: len(rows)] = rows
    return np.array(_take(leaf, np.int32(seed), padded))[: len(rows)]


@jax.jit
def _take(leaf: jax.Array, seed: jax.Array, rows: jax.Array) -> jax.Array:
    return leaf[seed, rows]


def _refill(ring: Ring, shapes: Step, checkpoint: Checkpoint) -> Ring:
    leaves = {name: np.zeros(leaf.shape, leaf.dtype) for name, leaf in shapes._asdict().items()}
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


def _plain(leaf: jax.Array) -> jax.Array:
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def _revive(name: str, leaf: Any, array: np.ndarray) -> jax.Array:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    expected = jax.eval_shape(jax.random.key_data, leaf) if is_key else leaf
    if array.shape != expected.shape or array.dtype != expected.dtype:
        raise SparlError(
            f"the checkpoint does not fit this configuration: {name} is {array.dtype} "
            f"{list(array.shape)}, expected {expected.dtype} {list(expected.shape)}"
        )
    # A copy, as a donated buffer must be JAX's own.
    value = jnp.array(array, copy=True)
    return jax.random.wrap_key_data(value) if is_key else value
