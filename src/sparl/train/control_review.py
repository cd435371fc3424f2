"""RLx2's dynamic-capacity replay of single steps (Tan et al., ICLR 2023)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sparl.algorithms.control import Control
from sparl.compute import bind
from sparl.replay import transitions
from sparl.replay.draw import REVIEWED
from sparl.replay.transitions import Transitions
from sparl.train.updates import LearnerState


@dataclass(frozen=True)
class ControlReview:
    """Lets the oldest steps go when the policy has moved on from them.

    Attributes:
        algorithm: Whose policy it is.
        batch_size: Steps of a batch.
        threshold: Policy distance above which the oldest steps are discarded.
        min_replay: Nothing is discarded while the ring has no more rows than this, which the ends
            of episodes are, too.
    """

    algorithm: Control
    batch_size: int
    threshold: float
    min_replay: int

    def review(
        self, state: LearnerState, ring: Transitions, due: jax.Array
    ) -> tuple[Transitions, dict[str, jax.Array]]:
        """Discard the oldest steps, where `due`, if the policy has moved on from them.

        RLx2's dynamic-capacity buffer (Tan et al., ICLR 2023): if the `policy_distance` of the
        oldest eight batches is above a threshold, the oldest tenth leaves.

        Returns:
            The ring, the distance, and how many rows were discarded and how many stay.
        """
        distance = self.policy_distance(state, ring)
        leaves = due & (distance > self.threshold) & (ring.size > self.min_replay)
        less = transitions.discard(ring, jnp.where(leaves, 0.1, 0.0))
        return less, {
            "policy_distance": distance,
            "discarded": ring.size - less.size,
            "steps_kept": less.size,
        }

    def policy_distance(self, state: LearnerState, ring: Transitions) -> jax.Array:
        """Half the mean squared distance of the oldest steps' best actions then and now (RLx2)."""
        rows, there = transitions.oldest(ring, REVIEWED * self.batch_size)
        best = self.algorithm.act(bind(state.params, state.topology), rows.obs.T)
        squared = jnp.mean((best - rows.greedy.T) ** 2, axis=0)
        return jnp.sum(jnp.where(there, squared, 0)) / jnp.maximum(jnp.sum(there), 1) / 2
