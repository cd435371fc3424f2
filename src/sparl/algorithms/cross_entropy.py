"""The cross-entropy method: the best of continuous actions, by sampling (Rubinstein, 1999)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def search(
    value: Callable[[jax.Array], jax.Array], noise: jax.Array, *, elites: int
) -> tuple[jax.Array, jax.Array]:
    """Samples of actions from a Gaussian that moves to the best ones, round by round.

    Samples are squashed by tanh. The Gaussian begins as the standard one, and each round takes the
    mean and the standard deviation of the best `elites` of the last (COMIX, Peng et al., NeurIPS
    2021: two rounds of 64 samples, of which 6 are elites).

    Args:
        value: Actions `[S, A, C]` to what each is worth, `[S, C]`.
        noise: Standard normal draws `[R, S, A, C]` of `R` rounds of `S` samples of actions of `A`
            numbers for `C` columns; one column stands for all.
        elites: How many samples of a round make the next; at least 2, at most `S`.

    Returns:
        The samples of the last round and their values.
    """
    *earlier, last = noise
    mean, std = jnp.zeros(()), jnp.ones(())
    for draws in earlier:
        raw = mean + std * draws
        mean, std = _moments(raw, value(jnp.tanh(raw)), elites)
    actions = jnp.tanh(mean + std * last)
    return actions, value(actions)


def best(actions: jax.Array, values: jax.Array) -> jax.Array:
    """The best of samples `[S, A, C]` with values `[S, C]`, for each column: `[A, C]`."""
    chosen = jnp.arange(len(values))[:, None] == jnp.argmax(values, axis=0)
    return jnp.sum(jnp.where(chosen[:, None], actions, 0), axis=0)


def _moments(raw: jax.Array, values: jax.Array, elites: int) -> tuple[jax.Array, jax.Array]:
    """The mean and the unbiased standard deviation `[A, C]` of the best samples."""
    # Weights instead of indices, as gathers are slow on XLA's CPU backend.
    threshold = jax.lax.top_k(values.T, elites)[0][:, -1]
    weights = (values >= threshold)[:, None].astype(raw.dtype)
    count = jnp.sum(weights, axis=0)  # More than `elites` where values are equal.
    mean = jnp.sum(weights * raw, axis=0) / count
    squared = jnp.sum(weights * (raw - mean) ** 2, axis=0)
    return mean, jnp.sqrt(squared / (count - 1))
