"""One program for one seed or for many side by side."""

from collections.abc import Callable
from typing import Any

import jax

AXIS = "seeds"


def over_seeds(fn: Callable[..., Any], num_seeds: int, *, shared: tuple[int, ...] = ()) -> Callable:
    """Run `fn` for every seed: arguments and results gain a leading axis of `num_seeds`.

    With one seed nothing is vectorised, and conditions stay real branches.

    Args:
        fn: A function of pytrees, written for one seed.
        num_seeds: How many seeds.
        shared: Positions of arguments that all seeds share and that have no such axis.
    """
    if num_seeds > 1:

        def mapped(*args: Any) -> Any:
            axes = tuple(None if i in shared else 0 for i in range(len(args)))
            return jax.vmap(fn, in_axes=axes, axis_name=AXIS)(*args)

        return mapped

    def alone(*args: Any) -> Any:
        taken = [
            arg if i in shared else jax.tree.map(lambda x: x[0], arg) for i, arg in enumerate(args)
        ]
        return jax.tree.map(lambda x: x[None], fn(*taken))

    return alone


def any_seed(condition: jax.Array, num_seeds: int) -> jax.Array:
    """Whether `condition` holds for any seed, the same for all, so that a branch stays one."""
    return condition if num_seeds == 1 else jax.lax.pmax(condition.astype("int8"), AXIS) > 0


def largest(value: jax.Array, num_seeds: int) -> jax.Array:
    """The largest `value` of any seed, the same for all."""
    return value if num_seeds == 1 else jax.lax.pmax(value, AXIS)
