"""Updates from single steps: every part of an algorithm takes its step in turn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from sparl.algorithms.control import Control, Part
from sparl.compute import (
    Topology,
    Tree,
    bind,
    carry_over,
    on_links,
    to_dense,
    to_masked,
    to_sparse,
)
from sparl.replay import transitions
from sparl.replay.transitions import Draw, TransitionBatch, Transitions
from sparl.topology import Rule, by_name, carry_moments, move_links, prune
from sparl.train.followers import follow, take_up_links
from sparl.train.neurons import dormant, empty_neurons
from sparl.train.updates import LearnerState, UpdateMetrics, series

Scalars = dict[str, jax.Array]


@dataclass(frozen=True)
class ControlLearner:
    """Trains one algorithm of continuous control from one ring of transitions.

    Target networks follow the online ones slowly. They do so on the same links, and where these
    move, they take along what they have there (RLx2, Tan et al., ICLR 2023); or on links of their
    own, as many (DS-TD3, Sokar et al., IJCAI 2022; see `sparl.topology.trim`).

    Attributes:
        algorithm: Networks and losses.
        optimizer: Gradient transformation, of which each part has a state of its own.
        rule: How links move; `None` where they never do.
        replaces: Whether a change of the topology takes the place of a part's step (RigL), or
            follows it (Sokar et al.).
        intervals: For each part, updates from one change of its networks' topology to the next;
            none where links never move.
        fraction: Env steps to the share of links to move.
        draw: Which steps make a batch.
        rewards: `N`, most rewards of a return.
        delay: Updates before returns have more than one reward.
        tau: How far the target networks move to the online ones.
        target_every: Updates between two such moves.
        trim_every: Updates between two looks at the links of target networks that have links of
            their own; `None` where they have the online networks'.
    """

    algorithm: Control
    optimizer: optax.GradientTransformation
    rule: Rule | None
    replaces: bool
    intervals: Mapping[str, int]
    fraction: Callable[[jax.Array], jax.Array | float]
    draw: Draw
    rewards: int
    delay: int
    tau: float
    target_every: int
    trim_every: int | None

    def init(self, key: jax.Array, params: Tree, topology: Topology) -> LearnerState:
        """Begin with `params` on `topology`, in any form, the target networks a copy."""
        own = self.algorithm.targets if self.trim_every else ()
        copy = partial(jax.tree.map, jnp.copy)
        return LearnerState(
            params=params,
            topology=topology,
            target_params=copy({name: params[name] for name in self.algorithm.targets}),
            target_topology=copy({name: topology[name] for name in own}),
            opt_state={
                part.name: self.optimizer.init(_of(part, params)) for part in self.algorithm.parts
            },
            updates=jnp.zeros((), jnp.int32),
            key=key,
        )

    def to_masked(self, state: LearnerState) -> LearnerState:
        """The same state in the masked form, which any machine reads."""
        return self._in_form(state, to_masked)

    def to_sparse(self, state: LearnerState, counts: Tree) -> LearnerState:
        """A state in the masked form in the sparse one; see `sparl.compute.to_sparse`."""

        def form(params: Tree, topology: Topology) -> tuple[Tree, Topology]:
            return to_sparse(params, topology, {name: counts[name] for name in params})

        return self._in_form(state, form)

    def learn(
        self, state: LearnerState, ring: Transitions, updates: jax.Array, env_steps: jax.Array
    ) -> tuple[LearnerState, UpdateMetrics]:
        """Take `updates` updates, or fewer if a loss is not finite.

        Args:
            state: The learner.
            ring: Where batches come from; at least one step.
            updates: How many.
            env_steps: Env steps so far; only changes of the topology go by them.

        Returns:
            The learner after all, or after the first update that was not finite, which is of no
            use, and metrics. To keep the one before would copy all of it at every update.
        """
        del env_steps

        def update(state: LearnerState) -> tuple[LearnerState, Scalars]:
            state, batch, keys = self._begin(state, ring)
            scalars: Scalars = {}
            for part, key in zip(self.algorithm.parts, keys, strict=True):
                step = partial(self._step, part, state, batch, key)
                if part.every == 1:
                    (own, opt_state), found = step(taken=True)
                else:
                    (own, opt_state), found = _sometimes(state.updates % part.every == 0, step)
                # Where they are taken less often they count for the others, too.
                scalars |= {name: part.every * value for name, value in found.items()}
                state = _put(state, part, own, opt_state)
            return self._follow(state), scalars

        return series(update, state, updates)

    def evolve(
        self, state: LearnerState, ring: Transitions, env_steps: jax.Array, due: jax.Array
    ) -> tuple[LearnerState, dict[str, jax.Array]]:
        """One update, where `due`, that changes the topology of each part whose interval it ends.

        Returns:
            The learner, and for each sparse layer the share of its links that are new, with
            `fraction`, the share that was asked for, and the `loss` of the first part.

        Raises:
            ValueError: If this learner's topology has no rule.
        """
        rule = self.rule
        if rule is None:
            raise ValueError("a topology that never moves has no rule to change it by")
        fraction = jnp.asarray(self.fraction(env_steps))
        before = state
        state, batch, keys = self._begin(state, ring)
        changed: dict[str, jax.Array] = {"fraction": fraction}
        for part, key in zip(self.algorithm.parts, keys, strict=True):
            state, loss, shares = self._move(part, rule, fraction, state, batch, key)
            changed = {"loss": loss} | changed | shares
        state = self._follow(state)
        return jax.tree.map(lambda old, new: jnp.where(due, new, old), before, state), changed

    def prune(self, state: LearnerState, counts: Tree) -> tuple[LearnerState, dict[str, jax.Array]]:
        """Drop links for good (DS-TD3's last change of the topology).

        Args:
            state: In the masked form.
            counts: For each weight that lacks links how many stay; else `None`.

        Returns:
            The learner, and for each sparse layer the share of its links that are gone.
        """
        fraction = self.fraction(jnp.zeros((), jnp.int32))

        def drop(weight: jax.Array, mask: jax.Array, count: int | None) -> jax.Array | None:
            return None if count is None else prune(weight, mask, fraction, count)

        topology = jax.tree.map(drop, state.params, state.topology, counts)
        before, after = by_name(state.topology), by_name(topology)
        gone = {name: 1 - jnp.sum(after[name]) / jnp.sum(mask) for name, mask in before.items()}
        state = state._replace(
            params=bind(state.params, topology),
            topology=topology,
            opt_state=self._moments(state, topology),
        )
        names = state.target_params
        targets, own = take_up_links(
            state.target_params,
            state.target_topology,
            _of_names(names, state.params),
            _of_names(names, state.topology),
            self.tau,
        )
        return state._replace(target_params=targets, target_topology=own), gone

    def diagnose(self, state: LearnerState, ring: Transitions) -> dict[str, jax.Array]:
        """What the networks look like on a batch; at least one step must be there.

        Returns:
            `dormant_LAYER`, the share of a hidden layer's units that are dormant (Sokar et al.,
            ICML 2023), and `empty_neurons`, the share of outputs of all weights that no link leads
            to.
        """
        # Splitting a key folds in 0, 1, ..., and no draw here may be one of an update to come.
        lane, row = self.draw(ring, jax.random.fold_in(state.key, 2**31 - 1))
        batch = transitions.read(ring, lane, row, 1)
        weights = bind(state.params, state.topology)
        activity = self.algorithm.activity(weights, batch)
        return dormant(activity) | empty_neurons(state.params, state.topology)

    def _begin(
        self, state: LearnerState, ring: Transitions
    ) -> tuple[LearnerState, TransitionBatch, jax.Array]:
        """Count an update, draw its batch, and a key for each part."""
        key, *keys = jax.random.split(state.key, 2 + len(self.algorithm.parts))
        draw_key, *keys = map(_fast, keys)
        lane, row = self.draw(ring, draw_key)
        batch = transitions.read(ring, lane, row, self.rewards)
        state = state._replace(updates=state.updates + 1, key=key)
        batch = transitions.at_most(batch, jnp.where(state.updates >= self.delay, self.rewards, 1))
        return state, batch, jnp.stack(keys)

    def _gradients(
        self,
        part: Part,
        state: LearnerState,
        own: tuple[Tree, Topology],
        batch: TransitionBatch,
        key: jax.Array,
    ) -> tuple[tuple[jax.Array, Scalars], Tree]:
        """A part's loss, what describes it, and its gradient in the part's own parameters."""
        targets = bind(state.target_params, _target_topology(state))
        params, links = own

        def loss(params: Tree) -> tuple[jax.Array, Scalars]:
            weights = bind(state.params | params, state.topology | links)
            return part.loss(weights, targets, batch, key)

        return jax.value_and_grad(loss, has_aux=True)(params)

    def _apply(self, part: Part, state: LearnerState, gradients: Tree) -> tuple[Tree, Any]:
        own = _of(part, state.params)
        steps, opt_state = self.optimizer.update(gradients, state.opt_state[part.name], own)
        return optax.apply_updates(own, steps), opt_state

    def _step(
        self, part: Part, state: LearnerState, batch: TransitionBatch, key: jax.Array, taken: bool
    ) -> tuple[tuple[Tree, Any], Scalars]:
        """A gradient step of one part, or none."""

        def step() -> tuple[tuple[Tree, Any], Scalars]:
            own = (_of(part, state.params), _of(part, state.topology))
            (loss, scalars), gradients = self._gradients(part, state, own, batch, key)
            scalars = scalars | {
                part.name: loss,
                f"{part.name.removesuffix('_loss')}_grad_norm": optax.global_norm(gradients),
            }
            return self._apply(part, state, gradients), scalars

        if taken:
            return step()
        _, scalars = jax.eval_shape(step)
        stays = (_of(part, state.params), state.opt_state[part.name])
        return stays, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), scalars)

    def _move(
        self,
        part: Part,
        rule: Rule,
        fraction: jax.Array,
        state: LearnerState,
        batch: TransitionBatch,
        key: jax.Array,
    ) -> tuple[LearnerState, jax.Array, Scalars]:
        """What is due of a part: a change of its topology, a gradient step, or both.

        Returns:
            The learner, the part's loss, and the shares of links that are new.
        """
        loss_key, rule_key = jax.random.split(key)
        own, links = _of(part, state.params), _of(part, state.topology)
        opt_state, targets = state.opt_state[part.name], _of(part, state.target_params)
        (loss, _), gradients = self._gradients(part, state, to_dense(own, links), batch, loss_key)
        stepped = self._apply(part, state, on_links(gradients, links))
        stepped = _choose(state.updates % part.every == 0, stepped, (own, opt_state))
        (*moved, after), shares = move_links(
            rule,
            rule_key,
            self.optimizer,
            (*((own, opt_state) if self.replaces else stepped), links),
            gradients,
            fraction,
        )
        followers = targets
        if not self.trim_every:
            before, now = _of_names(targets, links), _of_names(targets, after)
            followers = jax.tree.map(carry_over, targets, before, now)
        moves = state.updates % self.intervals[part.name] == 0
        own, opt_state, links, targets = _choose(
            moves, (*moved, after, followers), (*stepped, links, targets)
        )
        state = _put(state, part, own, opt_state)._replace(
            topology=state.topology | links, target_params=state.target_params | targets
        )
        return state, loss, {name: jnp.where(moves, share, 0) for name, share in shares.items()}

    def _follow(self, state: LearnerState) -> LearnerState:
        """Let the target networks follow, where it is time."""
        targets, own = state.target_params, state.target_topology
        params, topology = _of_names(targets, state.params), _of_names(targets, state.topology)
        targets = jax.lax.cond(
            state.updates % self.target_every == 0,
            lambda targets: follow(targets, own, params, topology, self.tau),
            lambda targets: targets,
            targets,
        )
        if self.trim_every:
            targets, own = jax.lax.cond(
                state.updates % self.trim_every == 0,
                lambda targets, own: take_up_links(targets, own, params, topology, self.tau),
                lambda *same: same,
                targets,
                own,
            )
        return state._replace(target_params=targets, target_topology=own)

    def _in_form(
        self, state: LearnerState, form: Callable[[Tree, Topology], tuple[Tree, Topology]]
    ) -> LearnerState:
        params, topology = form(state.params, state.topology)
        targets, own = form(state.target_params, _target_topology(state))
        return state._replace(
            params=params,
            topology=topology,
            target_params=targets,
            target_topology=own if self.trim_every else {},
            opt_state=self._moments(state, topology),
        )

    def _moments(self, state: LearnerState, after: Topology) -> dict[str, Any]:
        """The optimisers' states on other links, or on the same in another form."""
        return {
            part.name: carry_moments(
                self.optimizer,
                state.opt_state[part.name],
                _of(part, state.topology),
                _of(part, after),
            )
            for part in self.algorithm.parts
        }


def _of(part: Part, tree: Tree) -> Tree:
    """What of a tree by networks is a part's."""
    return {name: tree[name] for name in part.networks if name in tree}


def _target_topology(state: LearnerState) -> Topology:
    return _of_names(state.target_params, state.topology | state.target_topology)


def _of_names(names: Tree, tree: Tree) -> Tree:
    return {name: tree[name] for name in names}


def _fast(key: jax.Array) -> jax.Array:
    """A key of XLA's own generator, whose bits cost a tenth of Threefry's on a CPU."""
    return jax.random.wrap_key_data(jnp.tile(jax.random.key_data(key), 2), impl="rbg")


def _put(state: LearnerState, part: Part, own: Tree, opt_state: Any) -> LearnerState:
    return state._replace(
        params=state.params | own, opt_state=state.opt_state | {part.name: opt_state}
    )


def _choose(condition: jax.Array, x: Tree, y: Tree) -> Tree:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), x, y)


def _sometimes(due: jax.Array, step: Callable[..., Any]) -> Any:
    """`step(taken=due)`, as a branch that is not taken costs nothing."""
    return jax.lax.cond(due, partial(step, taken=True), partial(step, taken=False))
