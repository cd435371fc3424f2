"""Soft Mellowmax: a maximum that overestimates less (Gan et al., AAAI 2021)."""

import jax
from jax.scipy.special import logsumexp


def soft_mellowmax(
    q: jax.Array, avail_actions: jax.Array, *, alpha: float, omega: float
) -> jax.Array:
    """`(1/omega) log sum_u softmax(alpha q)_u exp(omega q_u)` over available actions.

    MAST, Hu et al., NeurIPS 2024, equation 3. Computed as the difference of two log-sum-exps,
    which is the same and cannot overflow. It never exceeds the maximum, tends to it as either
    parameter grows, and is Mellowmax at `alpha = 0`.

    Args:
        q: Q-values `[..., A, C]`.
        avail_actions: Boolean `[..., A, C]`, at least one action available in each column.
        alpha: Temperature of the softmax weights, at least 0.
        omega: Temperature of the mellowmax, above 0.

    Returns:
        `[..., C]`.
    """
    # Unavailable actions leave both sums, which a finite stand-in for -inf would not guarantee.
    numerator = logsumexp((alpha + omega) * q, axis=-2, where=avail_actions)
    denominator = logsumexp(alpha * q, axis=-2, where=avail_actions)
    return (numerator - denominator) / omega
