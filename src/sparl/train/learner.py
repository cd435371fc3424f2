"""Updates: draw a batch, take a gradient step, now and then change the topology."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
import optax

from sparl.algorithms import Algorithm
from sparl.compute import (
    Topology,
    Tree,
    bind,
    to_dense,
    to_masked,
    to_sparse,
)
from sparl.nets.inputs import one_hot
from sparl.replay import Batch, Ring, discard, episode_lengths, read_batch
from sparl.replay.draw import REVIEWED, Draw
from sparl.targets import greedy
from sparl.topology import Rule, carry_moments, cosine, move_links
from sparl.train.neurons import dormant, empty_neurons
from sparl.train.updates import LearnerState, UpdateMetrics, not_finite, series

T = TypeVar("T")


@dataclass(frozen=True)
class Learner:
    """Trains one algorithm from one ring.

    Attributes:
        algorithm: Networks and loss.
        optimizer: Gradient transformation.
        draw: Which episodes make a batch.
        rule: How links move; `None` where they never do.
        apart: See `sparl.topology.evolve`.
        fraction: Share of the links that the first topology change moves.
        total_steps: Env steps over which that share falls to 0.
        num_actions: `A`.
        batch_size: Episodes of a batch.
        threshold: Policy distance above which the oldest episodes are discarded.
        lengths: Batches are cut to the smallest of these that holds their longest episode; the
            largest is the episode limit.
        largest: The largest of a value over all seeds; see `sparl.train.seeds.largest`.
    """

    algorithm: Algorithm
    optimizer: optax.GradientTransformation
    draw: Draw
    rule: Rule | None
    apart: Mapping[str, int]
    fraction: float
    total_steps: int
    num_actions: int
    batch_size: int
    threshold: float
    lengths: tuple[int, ...]
    largest: Callable[[jax.Array], jax.Array]

    def init(self, key: jax.Array, params: Tree, topology: Tree) -> LearnerState:
        """Begin with `params` on `topology`, in any form, the target network a copy."""
        copy = jax.tree.map(jnp.copy, (params, topology))
        return LearnerState(
            params=params,
            topology=topology,
            target_params=copy[0],
            target_topology=copy[1],
            opt_state=self.optimizer.init(params),
            updates=jnp.zeros((), jnp.int32),
            key=key,
        )

    def to_masked(self, state: LearnerState) -> LearnerState:
        """The same state with all weights and moments in the masked form, which any machine reads.

        Weights that have all links stay as they are.
        """
        return self._in_form(state, to_masked)

    def to_sparse(self, state: LearnerState, counts: Tree) -> LearnerState:
        """A state in the masked form in the sparse one; see `sparl.compute.to_sparse`."""
        return self._in_form(state, partial(to_sparse, counts=counts))

    def learn(
        self, state: LearnerState, ring: Ring, updates: jax.Array, env_steps: jax.Array
    ) -> tuple[LearnerState, UpdateMetrics]:
        """Take `updates` gradient steps, or fewer if a loss is not finite.

        Args:
            state: The learner.
            ring: Where batches come from; at least a batch's worth of episodes.
            updates: How many.
            env_steps: Env steps so far.

        Returns:
            The learner before the first update that was not finite, or after all, and metrics.
        """

        def step(state: LearnerState, batch: Batch) -> tuple[LearnerState, dict[str, jax.Array]]:
            return self._gradient_step(state, batch, env_steps)

        def update(state: LearnerState) -> tuple[LearnerState, dict[str, jax.Array]]:
            new, scalars = self._on_batch(step, state, ring)
            failed = jnp.any(not_finite(scalars))
            return jax.tree.map(lambda old, new: jnp.where(failed, old, new), state, new), scalars

        return series(update, state, updates)

    def evolve(
        self, state: LearnerState, ring: Ring, env_steps: jax.Array, due: jax.Array
    ) -> tuple[LearnerState, dict[str, jax.Array]]:
        """Change the topology in place of a gradient step, where `due`.

        Moments of absent links are set to zero, so that new links start without any.

        Returns:
            The learner, and for each sparse layer the share of its links that are new, with
            `fraction`, the share that was asked for, and the batch's `loss`.

        Raises:
            ValueError: If this learner's topology has no rule.
        """
        rule = self.rule
        if rule is None:
            raise ValueError("a topology that never moves has no rule to change it by")
        fraction = cosine(env_steps / self.total_steps, start=self.fraction)

        def change(state: LearnerState, batch: Batch) -> tuple[LearnerState, dict[str, jax.Array]]:
            key, evolve_key = jax.random.split(state.key)
            whole = to_dense(state.params, state.topology)
            gradients, scalars = self._gradients(state, *whole, batch, env_steps)
            trained = (state.params, state.opt_state, state.topology)
            (params, opt_state, topology), changed = move_links(
                rule, evolve_key, self.optimizer, trained, gradients, fraction, self.apart
            )
            state = state._replace(
                params=params,
                topology=topology,
                opt_state=opt_state,
                updates=state.updates + 1,
                key=key,
            )
            return state, {"fraction": fraction, "loss": scalars["loss"], **changed}

        # Rare, so not worth compiling for more than the longest batch.
        new, changed = self._on_batch(change, state, ring, lengths=self.lengths[-1:])
        return jax.tree.map(lambda old, new: jnp.where(due, new, old), state, new), changed

    def policy_distance(
        self, state: LearnerState, ring: Ring, first: jax.Array, batches: int = 1
    ) -> jax.Array:
        """How far the policy has moved from the one that played some episodes.

        The share of these episodes' decisions, one per agent and step, of which the greedy action
        is no longer what it was when they were played.

        Args:
            state: Whose online network is the policy of now.
            ring: Where the episodes are.
            first: The first of them, counted from the oldest; what is not there is left out.
            batches: How many times `batch_size` of them, one after the other.
        """
        weights = bind(state.params, state.topology)

        def count(start: jax.Array) -> tuple[jax.Array, jax.Array]:
            episodes = start + jnp.arange(self.batch_size)
            there = episodes < ring.live
            last = jnp.maximum(ring.live - 1, 0)
            batch = read_batch(
                ring, jnp.minimum(episodes, last), self.lengths[-1], self.num_actions
            )
            best = greedy(self.algorithm.q_values(weights, batch), batch.avail_actions)[:-1]
            same = jnp.any(best & one_hot(batch.greedy, self.num_actions), axis=1)
            counted = batch.filled & there  # [T, B]; columns are an episode's agents side by side.
            counted = jnp.repeat(counted, same.shape[1] // self.batch_size, axis=1)
            return jnp.sum(counted & ~same), jnp.sum(counted)

        changed, decisions = jax.lax.map(count, first + jnp.arange(batches) * self.batch_size)
        return jnp.sum(changed) / jnp.maximum(jnp.sum(decisions), 1)

    def review(
        self, state: LearnerState, ring: Ring, due: jax.Array
    ) -> tuple[Ring, dict[str, jax.Array]]:
        """Discard the oldest episodes, where `due`, if the policy has moved on from them.

        RLx2's dynamic-capacity buffer (Tan et al., ICLR 2023) on episodes: if the
        `policy_distance` of the oldest eight batches is above a threshold, the oldest tenth leaves,
        but never so many that less than a tenth of the capacity is left.

        Returns:
            The ring, the distance, and how many episodes were discarded and how many stay.
        """
        distance = self.policy_distance(state, ring, jnp.zeros((), jnp.int32), batches=REVIEWED)
        least = ring.start.shape[0] // 10
        spare = jnp.clip(ring.live - least, 0, ring.live // 10)
        leaves = jnp.where(due & (distance > self.threshold), spare, 0)
        return discard(ring, leaves), {
            "policy_distance": distance,
            "discarded": leaves,
            "episodes_kept": ring.live - leaves,
        }

    def diagnose(self, state: LearnerState, ring: Ring) -> dict[str, jax.Array]:
        """What the network and the replay look like; at least one episode must be there.

        Returns:
            `policy_distance_oldest` and `policy_distance_newest`, of a batch's worth of the oldest
            and of the newest episodes; `dormant_LAYER`, the share of an agent's units that are
            dormant on the newest (Sokar et al., ICML 2023: units whose mean magnitude
            is at most 0.025 of their layer's mean); and `empty_neurons`, the share of outputs of
            all weights that no link leads to.
        """
        newest = jnp.maximum(ring.live - self.batch_size, 0)
        episodes = jnp.minimum(newest + jnp.arange(self.batch_size), ring.live - 1)
        batch = read_batch(ring, episodes, self.lengths[-1], self.num_actions)
        weights = bind(state.params, state.topology)
        found = {
            "policy_distance_oldest": self.policy_distance(state, ring, jnp.zeros((), jnp.int32)),
            "policy_distance_newest": self.policy_distance(state, ring, newest),
        }
        activity = self.algorithm.activity(weights, batch)
        return found | dormant(activity) | empty_neurons(state.params, state.topology)

    def sync_target(self, state: LearnerState, due: jax.Array) -> LearnerState:
        """Copy weights and topology into the target network, where `due`."""
        params, topology = jax.tree.map(
            lambda old, new: jnp.where(due, new, old),
            (state.target_params, state.target_topology),
            (state.params, state.topology),
        )
        return state._replace(target_params=params, target_topology=topology)

    def _in_form(
        self, state: LearnerState, form: Callable[[Tree, Topology], tuple[Tree, Topology]]
    ) -> LearnerState:
        params, topology = form(state.params, state.topology)
        target_params, target_topology = form(state.target_params, state.target_topology)
        return state._replace(
            params=params,
            topology=topology,
            target_params=target_params,
            target_topology=target_topology,
            opt_state=carry_moments(self.optimizer, state.opt_state, state.topology, topology),
        )

    def _gradient_step(
        self, state: LearnerState, batch: Batch, env_steps: jax.Array
    ) -> tuple[LearnerState, dict[str, jax.Array]]:
        gradients, scalars = self._gradients(state, state.params, state.topology, batch, env_steps)
        steps, opt_state = self.optimizer.update(gradients, state.opt_state, state.params)
        state = state._replace(
            params=optax.apply_updates(state.params, steps),
            opt_state=opt_state,
            updates=state.updates + 1,
        )
        norms = {"grad_norm": optax.global_norm(gradients), "update_norm": optax.global_norm(steps)}
        return state, scalars | norms

    def _gradients(
        self,
        state: LearnerState,
        params: Tree,
        topology: Topology,
        batch: Batch,
        env_steps: jax.Array,
    ) -> tuple[Tree, dict[str, jax.Array]]:
        target_weights = bind(state.target_params, state.target_topology)

        def loss(params: Tree) -> tuple[jax.Array, dict[str, jax.Array]]:
            return self.algorithm.loss(bind(params, topology), target_weights, batch, env_steps)

        return jax.grad(loss, has_aux=True)(params)

    def _on_batch(
        self,
        fn: Callable[[LearnerState, Batch], T],
        state: LearnerState,
        ring: Ring,
        lengths: tuple[int, ...] | None = None,
    ) -> T:
        """Apply `fn` to a drawn batch, cut to the smallest of `lengths` that holds it."""
        lengths = lengths or self.lengths
        key, draw_key = jax.random.split(state.key)
        state = state._replace(key=key)
        episodes = self.draw(draw_key, ring.live)
        # The longest first, so that neighbours end at the same time and compute skips the rest.
        lengths_of = episode_lengths(ring, episodes)
        episodes = episodes[jnp.argsort(-lengths_of)]
        longest = self.largest(jnp.max(lengths_of))

        def on_steps(steps: int, state: LearnerState) -> T:
            return fn(state, read_batch(ring, episodes, steps, self.num_actions))

        index = jnp.searchsorted(jnp.asarray(lengths), longest)
        return jax.lax.switch(index, [partial(on_steps, n) for n in lengths], state)
