"""TD(lambda) returns over episodes of different lengths."""

import jax
import jax.numpy as jnp


def td_lambda(
    reward: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    filled: jax.Array,
    *,
    gamma: float,
    lam: float | jax.Array,
) -> jax.Array:
    """The lambda-return of every step, by backward recursion.

    `G_t = r_t + gamma [(1 - lambda) (1 - term_t) V(s_{t+1}) + lambda G_{t+1}]`, where past the
    last step of an episode `G` is 0 if it terminated and `V` of its final state if it was cut off
    by a time limit (Sutton and Barto, 2018, section 12.2; MAST, equation 6). `lambda = 0` is the
    one-step target. No return crosses an episode's end.

    Args:
        reward: `[T, B]`, `T` steps of `B` episodes.
        next_value: `V(s_{t+1})`, `[T, B]`.
        terminated: Boolean `[T, B]`: the episode ended in a terminal state at this step.
        filled: Boolean `[T, B]`: the step belongs to the episode. Filled steps come first.
        gamma: Discount factor.
        lam: `lambda` in [0, 1]; may be traced.

    Returns:
        `[T, B]`; where a step is not filled the value means nothing.
    """
    continues = jnp.where(terminated, 0.0, next_value)
    last = filled & ~jnp.concatenate([filled[1:], jnp.zeros_like(filled[:1])])

    def backward(
        following: jax.Array, step: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        reward_t, value_t, last_t = step
        following = jnp.where(last_t, value_t, following)
        returns = reward_t + gamma * ((1 - lam) * value_t + lam * following)
        return returns, returns

    _, returns = jax.lax.scan(
        backward, jnp.zeros_like(reward[0]), (reward, continues, last), reverse=True
    )
    return returns
