"""Which episodes a batch is made of."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Draw = Callable[[jax.Array, jax.Array], jax.Array]
"""`(key, live)` to the drawn episodes, counted from the oldest, integers `[B]`."""


def uniform(key: jax.Array, live: jax.Array, *, batch_size: int) -> jax.Array:
    """`batch_size` of the `live` episodes, uniformly and without replacement (as PyMARL)."""
    return _without_replacement(key, live, batch_size)


def dual(
    key: jax.Array, live: jax.Array, *, batch_size: int, window: int, window_batch: int
) -> jax.Array:
    """A batch from all episodes and from the newest (MAST, section 3.2).

    The paper's two FIFO buffers, every episode entering both, are one ring here: the small
    on-policy buffer is its newest `window` episodes.

    Args:
        key: Random key.
        live: Episodes in the ring, at least `batch_size`.
        batch_size: Episodes in all.
        window: Size of the on-policy window.
        window_batch: How many of them come from the window.

    Returns:
        `batch_size - window_batch` draws from all, then `window_batch` from the window; within
        each part no episode comes twice.
    """
    all_key, window_key = jax.random.split(key)
    newest = jnp.minimum(window, live)
    off_policy = _without_replacement(all_key, live, batch_size - window_batch)
    on_policy = _without_replacement(window_key, newest, window_batch)
    return jnp.concatenate([off_policy, live - newest + on_policy])


REVIEWED = 8
"""How many batches of the oldest a review of the `dynamic` replay looks at (RLx2)."""

DRAWS: dict[str, Callable[..., jax.Array]] = {"uniform": uniform, "dual": dual, "dynamic": uniform}
"""The ways to draw, by kind of replay; what sets `dynamic` apart is what it keeps."""


def _without_replacement(key: jax.Array, high: jax.Array, size: int) -> jax.Array:
    """`size` distinct integers below `high`, every set equally likely.

    Floyd's algorithm (Bentley and Floyd, CACM 1987): the i-th draw is below `high - size + i + 1`,
    and where it came before, it is replaced by that bound less one. It costs `size` tiny steps,
    where a permutation would sort the whole ring.
    """
    bounds = high - size + 1 + jnp.arange(size)
    draws = jax.random.randint(key, (size,), 0, bounds)

    def put(i: jax.Array, chosen: jax.Array) -> jax.Array:
        taken = jnp.any((chosen == draws[i]) & (jnp.arange(size) < i))
        return chosen.at[i].set(jnp.where(taken, bounds[i] - 1, draws[i]))

    return jax.lax.fori_loop(0, size, put, jnp.zeros(size, draws.dtype))
