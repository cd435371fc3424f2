"""n-step returns over episodes of different lengths."""

import jax
import jax.numpy as jnp


def n_step(
    reward: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    filled: jax.Array,
    *,
    gamma: float,
    n: int,
) -> jax.Array:
    """The return of every step over `n` rewards, or over as many as the episode still has.

    `G_t = r_t + .. + gamma^(n - 1) r_(t + n - 1) + gamma^n V(s_(t + n))`. An episode that
    terminates within `n` steps has no value after its last reward; one that a time limit cuts off
    has that of its final state, after fewer rewards (RLx2, Tan et al., ICLR 2023).

    Args:
        reward: `[T, B]`, `T` steps of `B` episodes.
        next_value: `V(s_{t+1})`, `[T, B]`.
        terminated: Boolean `[T, B]`: the episode ended in a terminal state at this step.
        filled: Boolean `[T, B]`: the step belongs to the episode. Filled steps come first.
        gamma: Discount factor.
        n: Rewards, at least 1.

    Returns:
        `[T, B]`; where a step is not filled the value means nothing.
    """
    continues = jnp.where(terminated, 0.0, next_value)
    goes_on = jnp.pad(filled[1:], ((0, 1), (0, 0)))
    following = continues
    for _ in range(n - 1):
        shifted = jnp.pad((reward + gamma * following)[1:], ((0, 1), (0, 0)))
        following = jnp.where(goes_on, shifted, continues)
    return reward + gamma * following
