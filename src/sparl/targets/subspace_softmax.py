"""RES's softmax over the joint actions next to the greedy one (Pan et al., NeurIPS 2021)."""

import jax
import jax.numpy as jnp

from sparl.errors import InputError
from sparl.targets.double_q import greedy
from sparl.targets.joint import Joint


def subspace_softmax(
    online: Joint, target: Joint, avail_actions: jax.Array, *, beta: float
) -> jax.Array:
    """The target's mean over joint actions in which one agent alone leaves the greedy one.

    The joint actions are weighed by `softmax(beta Q_tot)` of the online net. The greedy one is
    among them once for each agent; what an agent cannot do is not.

    Args:
        online: Chooses the greedy joint action, and weighs.
        target: Values.
        avail_actions: Boolean `[T, A, C]`, at least one action available in each column.
        beta: Temperature; large ones tend to the maximum.

    Returns:
        `[T, B]`.

    Raises:
        InputError: If the mixer does not tell the values of deviations.
    """
    if online.deviate is None or target.deviate is None:
        raise InputError("this mixer cannot value the joint actions next to the greedy one")
    taken = greedy(online.q, avail_actions)
    weights = online.deviate(jnp.sum(jnp.where(taken, online.q, 0), axis=1))
    values = target.deviate(jnp.sum(jnp.where(taken, target.q, 0), axis=1))

    def by_episode(x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:2], -1, online.num_agents)

    weights = jax.nn.softmax(
        beta * by_episode(weights), axis=(1, 3), where=by_episode(avail_actions)
    )
    return jnp.sum(weights * by_episode(values), axis=(1, 3))
