"""A `TrainState` as plain arrays for a checkpoint, and back, bit for bit.

The rows of the replay ring go to the checkpoint's log, each once; all the rest, which is small, is
the checkpoint's state.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sparl.errors import SparlError
from sparl.replay import Ring
from sparl.replay.transitions import Transitions
from sparl.topology import by_name
from sparl.train import episode_log, step_log
from sparl.train.checkpoint import Arrays, Checkpoint, Segment
from sparl.train.program import TrainState
from sparl.train.updates import LearnerState


def state_arrays(state: TrainState) -> Arrays:
    """Everything but the rows of the ring, by name, copied to the host."""
    return {name: np.array(_plain(leaf)) for name, leaf in by_name(_without_rows(state)).items()}


def new_rows(
    ring: Ring | Transitions, begun: dict[str, int]
) -> tuple[dict[str, Segment], dict[str, int]]:
    """What the log does not have yet.

    Args:
        ring: The ring, leaves with a leading axis of seeds.
        begun: Where each stream's next segment begins; 0 if missing.

    Returns:
        The segments, and of each stream the first position that is still in the ring.
    """
    return _log(ring).new_rows(ring, begun)


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
    return state._replace(ring=_log(state.ring).refill(state.ring, template.ring, checkpoint))


def restore_learner(template: TrainState, checkpoint: Checkpoint) -> LearnerState:
    """The learner alone, without the replay.

    Raises:
        SparlError: If the checkpoint does not fit the template.
    """
    alone = {"learner": template.learner}
    if odd := sorted(by_name(alone).keys() - checkpoint.state.keys()):
        raise SparlError(f"the checkpoint does not fit this configuration: it lacks {odd}")
    leaves = [_revive(name, leaf, checkpoint.state[name]) for name, leaf in by_name(alone).items()]
    return jax.tree.unflatten(jax.tree.structure(alone), leaves)["learner"]


def _without_rows(state: TrainState) -> TrainState:
    return state._replace(ring=_log(state.ring).without_rows(state.ring))


def _log(ring: Ring | Transitions) -> Any:
    return episode_log if isinstance(ring, Ring) else step_log


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
