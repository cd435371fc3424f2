"""What learning changes, and a series of updates of it in one program."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sparl.compute import Topology, Tree


class LearnerState(NamedTuple):
    """Everything that learning changes.

    Attributes:
        params: Online weights and biases; what is held of absent links is zero.
        topology: Their links, in the form of the run; see `sparl.compute.forms`.
        target_params: The target networks'.
        target_topology: Their links, where these are not always the online networks'.
        opt_state: Optimiser moments; absent links hold zero.
        updates: Updates so far, topology changes included.
        key: Random key.
    """

    params: Tree
    topology: Topology
    target_params: Tree
    target_topology: Topology
    opt_state: Any
    updates: jax.Array
    key: jax.Array


class UpdateMetrics(NamedTuple):
    """What a series of updates looked like.

    Attributes:
        sums: Each scalar that describes an update, summed over the updates.
        updates: How many updates.
        bad_update: The first update at which one of them was not finite, else -1.
        bad_terms: Which, one flag for each name in `sums`, in the order of the sorted names.
    """

    sums: dict[str, jax.Array]
    updates: jax.Array
    bad_update: jax.Array
    bad_terms: jax.Array


def not_finite(scalars: dict[str, jax.Array]) -> jax.Array:
    """Which of some scalars are no finite numbers, in the order of their sorted names."""
    return ~jnp.isfinite(jnp.stack([scalars[name] for name in sorted(scalars)]))


def series(
    update: Callable[[LearnerState], tuple[LearnerState, dict[str, jax.Array]]],
    state: LearnerState,
    updates: jax.Array,
) -> tuple[LearnerState, UpdateMetrics]:
    """Make `updates` updates, or stop after the first of which a scalar is not finite.

    Args:
        update: From a state to the next, and to scalars that describe the update.
        state: To begin with.
        updates: How many.

    Returns:
        The last state, and what the updates looked like.
    """

    def more(carry: tuple) -> jax.Array:
        _, metrics = carry
        return (metrics.updates < updates) & (metrics.bad_update < 0)

    def one(carry: tuple) -> tuple:
        state, metrics = carry
        number = state.updates + 1
        state, scalars = update(state)
        bad = not_finite(scalars)
        return state, UpdateMetrics(
            sums=jax.tree.map(jnp.add, metrics.sums, scalars),
            updates=metrics.updates + 1,
            bad_update=jnp.where(jnp.any(bad), number, -1),
            bad_terms=bad,
        )

    _, scalars = jax.eval_shape(update, state)
    zero = jnp.zeros((), jnp.int32)
    metrics = UpdateMetrics(
        sums=jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), scalars),
        updates=zero,
        bad_update=zero - 1,
        bad_terms=jnp.zeros(len(scalars), bool),
    )
    return jax.lax.while_loop(more, one, (state, metrics))
