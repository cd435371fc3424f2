"""COMIX: QMIX with continuous actions, searched for by sampling (Peng et al., NeurIPS 2021)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sparl.algorithms import control
from sparl.algorithms.control import Part
from sparl.algorithms.cross_entropy import best, search
from sparl.algorithms.parts import Mixer, joint
from sparl.compute import Tree
from sparl.config import ControlConfig
from sparl.nets import mlp
from sparl.replay.transitions import TransitionBatch
from sparl.spec import ControlSpec
from sparl.targets import td_lambda
from sparl.targets.joint import Operator

COLUMNS = 4096
"""Sampled actions that go through the network at a time, few enough for what its layers put out to
stay in the cache: an update takes a quarter less time than with all at once."""


@dataclass(frozen=True)
class Comix:
    """One Q-network of an observation and an action, shared by all agents, and QMIX's mixer.

    An agent's best action is searched for by the cross-entropy method, and what the network holds
    of the samples of its last round is what target operators go by, as they go by all actions
    where these can be counted: `max` is COMIX's own, `soft_mellowmax` MAST's.

    Below, `C` columns of what a team sees, `[obs_dim, C]`, are `C n` columns of agents, side by
    side. Shorter observations and actions are padded with zeros; an agent also sees which it is.
    The mixer sees the symlog of the state: its weights are products of what it sees, and with
    velocities of tens its values begin far above any return, or grow without end.

    Attributes:
        spec: Sizes of a team's environment.
        settings: Noise, and how actions are searched for.
        hidden: Units of each of the agent's two hidden layers.
        gamma: Discount factor.
        mixer: How the agents' values become one.
        operator: Values a step by its samples.
        lam: Lambda of TD(lambda) over the steps that a batch includes; `None` for returns that
            bootstrap behind the last of them alone.
    """

    spec: ControlSpec
    settings: ControlConfig
    hidden: int
    gamma: float
    mixer: Mixer
    operator: Operator
    lam: float | None
    name: str = "comix"
    targets: tuple[str, ...] = ("agent", "mixer")
    acting: tuple[str, ...] = ("agent",)

    @property
    def parts(self) -> tuple[Part, ...]:
        """One loss."""
        return (Part("td_loss", ("agent", "mixer"), self.loss),)

    def init(self, key: jax.Array) -> Tree:
        """Parameters of the agents' network and of the mixer."""
        agent_key, mixer_key = jax.random.split(key)
        spec, hidden = self.spec, self.hidden
        inputs = max(spec.obs_dims) + spec.num_agents + max(spec.action_dims)
        agent = mlp.init(agent_key, (inputs, hidden, hidden, 1))
        return {"agent": agent, "mixer": self.mixer.init(mixer_key)}

    def act(self, weights: Tree, obs: jax.Array) -> jax.Array:
        """The agents' best actions `[action_dim, C]`.

        By the same draws in every state and at every time, so that a policy has moved only where
        its network has.
        """
        found = best(*self._search(weights, obs, self._noise(jax.random.key(0), 1)))
        by_agent = found.reshape(len(found), -1, self.spec.num_agents)
        sizes = enumerate(self.spec.action_dims)
        return jnp.concatenate([by_agent[:size, :, i] for i, size in sizes])

    def explore(self, weights: Tree, obs: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The agents' best actions, and these with noise, clipped to [-1, 1]."""
        action = self.act(weights, obs)
        return action, control.noisy(action, key, self.settings.exploration_noise)

    def activity(self, weights: Tree, batch: TransitionBatch) -> dict[str, jax.Array]:
        """The mean magnitude of the agent's hidden units, `[units]` by layer."""
        layers = mlp.hidden(weights["agent"], self._taken(batch))[:-1]
        return {f"agent_{i}": jnp.mean(jnp.abs(x), axis=1) for i, x in enumerate(layers)}

    def loss(
        self, weights: Tree, target_weights: Tree, batch: TransitionBatch, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Squared TD errors of the mixed values, with the target networks' best next actions."""
        target = jax.lax.stop_gradient(self._target(target_weights, batch, key))
        of_agents = mlp.apply(weights["agent"], self._taken(batch))[None]  # [T, A, C] of one each.
        taken = joint(self.mixer, weights["mixer"], of_agents, self._state(batch.obs)[:, None])
        q = taken.mix(of_agents[:, 0])[0]
        return jnp.mean((q - target) ** 2), {
            "q": jnp.mean(q),
            "target": jnp.mean(target),
            "td_error": jnp.mean(jnp.abs(q - target)),
        }

    def _target(self, weights: Tree, batch: TransitionBatch, key: jax.Array) -> jax.Array:
        """Returns of the included steps, `[B]`."""
        if self.lam is None:
            value = self._value(weights, control.last_obs(batch)[None], key)[0]
            return control.returns(batch, value, gamma=self.gamma)

        def values(steps: int) -> jax.Array:
            found = self._value(weights, batch.next_obs[:steps], key)
            return jnp.pad(found, ((0, len(batch.reward) - steps), (0, 0)))

        # Before TD(lambda) begins there is one, and searching is most of an update.
        value = jax.lax.cond(
            jnp.any(batch.included[1:]), lambda: values(len(batch.reward)), lambda: values(1)
        )
        returns = td_lambda(
            batch.reward,
            value,
            batch.terminated,
            batch.included,
            gamma=self.gamma,
            lam=self.lam,
        )
        return returns[0]

    def _value(self, weights: Tree, obs: jax.Array, key: jax.Array) -> jax.Array:
        """What the operator makes of the samples for `[T, obs_dim, B]`: `[T, B]`."""
        steps, _, batch_size = obs.shape
        flat = jnp.moveaxis(obs, 0, 1).reshape(self.spec.obs_dim, -1)
        noise = self._noise(key, steps * batch_size * self.spec.num_agents)
        _, values = self._search(weights, flat, noise)
        samples = jnp.moveaxis(values.reshape(len(values), steps, -1), 1, 0)  # [T, S, B n]
        states = self._state(flat).reshape(-1, steps, batch_size)
        own = joint(self.mixer, weights["mixer"], samples, states)
        return self.operator(own, own, jnp.ones(samples.shape, bool))

    def _noise(self, key: jax.Array, columns: int) -> jax.Array:
        settings = self.settings
        return jax.random.normal(
            key,
            (settings.cem_rounds, settings.cem_samples, max(self.spec.action_dims), columns),
        )

    def _search(
        self, weights: Tree, obs: jax.Array, noise: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """What `cross_entropy.search` finds for what teams see, `[obs_dim, C]`."""
        views = self._views(obs)[:, None]
        samples, columns = self.settings.cem_samples, views.shape[-1]
        group = _group(samples, columns)
        views = jnp.broadcast_to(views, (len(views), group, columns))
        # Numbers that an agent's action lacks are padded with zeros where it was taken, too.
        exists = jnp.arange(max(self.spec.action_dims))[:, None] < jnp.array(self.spec.action_dims)
        exists = jnp.tile(exists, obs.shape[1])

        def value(actions: jax.Array) -> jax.Array:
            """`[S, C n]` from `[S, A, C n]`."""

            def of_group(some: jax.Array) -> jax.Array:
                inputs = jnp.concatenate([views, jnp.moveaxis(some, 0, 1)])
                return mlp.apply(weights["agent"], inputs.reshape(len(inputs), -1))[0]

            padded = jnp.where(exists, actions, 0)
            groups = padded.reshape(-1, group, *padded.shape[1:])
            return jax.lax.map(of_group, groups).reshape(samples, columns)

        return search(value, noise, elites=self.settings.cem_elites)

    def _views(self, obs: jax.Array) -> jax.Array:
        """What agents see `[inputs, C n]`, of `[obs_dim, C]`: their observations and numbers."""
        own = _side_by_side(obs, self.spec.obs_dims)
        which = jnp.tile(jnp.eye(self.spec.num_agents), obs.shape[1])
        return jnp.concatenate([own, which])

    def _taken(self, batch: TransitionBatch) -> jax.Array:
        """The network's inputs for what a batch's agents saw and did, `[inputs, B n]`."""
        actions = _side_by_side(batch.action, self.spec.action_dims)
        return jnp.concatenate([self._views(batch.obs), actions])

    def _state(self, obs: jax.Array) -> jax.Array:
        """What the mixer sees of the global state, `[state_dim, C]` of `[obs_dim, C]`.

        `sign(s) log(1 + |s|)`, symlog in Hafner et al., arXiv 2301.04104.
        """
        state = obs[sum(self.spec.obs_dims) :]
        return jnp.sign(state) * jnp.log1p(jnp.abs(state))


def _group(samples: int, columns: int) -> int:
    """Into how large groups samples of so many columns are cut; best where these have factors."""
    fits = max(COLUMNS // columns, 1)
    return max(size for size in range(1, samples + 1) if samples % size == 0 and size <= fits)


def _side_by_side(flat: jax.Array, dims: tuple[int, ...]) -> jax.Array:
    """Columns of `n` vectors one after another as `n` columns, padded with zeros to the longest."""
    ends = [sum(dims[: i + 1]) for i in range(len(dims))]
    parts = (flat[end - size : end] for end, size in zip(ends, dims, strict=True))
    padded = [jnp.pad(part, ((0, max(dims) - len(part)), (0, 0))) for part in parts]
    return jnp.stack(padded, axis=-1).reshape(max(dims), -1)
