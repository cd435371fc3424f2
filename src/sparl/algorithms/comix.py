"""COMIX: QMIX with continuous actions, searched for by sampling (Peng et al., NeurIPS 2021)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sparl.algorithms.control import Part
from sparl.algorithms.cross_entropy import best, search
from sparl.algorithms.parts import Mixer, joint
from sparl.compute import Tree
from sparl.config import ControlConfig
from sparl.nets import mlp
from sparl.replay.transitions import TransitionBatch
from sparl.spec import ControlSpec
from sparl.targets import Target

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

    Attributes:
        spec: Sizes of a team's environment.
        settings: Noise, and how actions are searched for.
        target: How targets are made, of the steps that a batch includes.
        hidden: Units of each of the agent's two hidden layers.
        mixer: How the agents' values become one.
    """

    spec: ControlSpec
    settings: ControlConfig
    target: Target
    hidden: int
    mixer: Mixer
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
        """The agents' best actions `[action_dim, C]`, by the same samples in every state."""
        return self._best(weights, obs, self._noise(jax.random.key(0), 1))

    def explore(self, weights: Tree, obs: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The agents' best actions, and these with noise, clipped to [-1, 1]."""
        search_key, noise_key = jax.random.split(key)
        columns = obs.shape[1] * self.spec.num_agents
        action = self._best(weights, obs, self._noise(search_key, columns))
        noise = self.settings.exploration_noise * jax.random.normal(noise_key, action.shape)
        return action, jnp.clip(action + noise, -1, 1)

    def activity(self, weights: Tree, batch: TransitionBatch) -> dict[str, jax.Array]:
        """The mean magnitude of the agent's hidden units, `[units]` by layer."""
        inputs = jnp.concatenate([self._views(batch.obs), self._actions(batch.action)])
        layers = mlp.hidden(weights["agent"], inputs)[:-1]
        return {f"agent_{i}": jnp.mean(jnp.abs(x), axis=1) for i, x in enumerate(layers)}

    def loss(
        self, weights: Tree, target_weights: Tree, batch: TransitionBatch, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Squared TD errors of the mixed values, with the target networks' best next actions."""
        spec = self.spec
        steps, _, batch_size = batch.next_obs.shape
        next_obs = jnp.moveaxis(batch.next_obs, 0, 1).reshape(spec.obs_dim, steps * batch_size)
        noise = self._noise(key, steps * batch_size * spec.num_agents)
        _, values = self._search(target_weights, next_obs, noise)
        samples = jnp.moveaxis(values.reshape(len(values), steps, -1), 1, 0)  # [T, S, B n]
        states = self._state(next_obs).reshape(-1, steps, batch_size)
        following = joint(self.mixer, target_weights["mixer"], samples, states)
        value = self.target.operator(following, following, jnp.ones(samples.shape, bool))
        returns = self.target.later(
            batch.reward, value, batch.terminated, batch.included, gamma=self.target.gamma
        )
        target = jax.lax.stop_gradient(returns[0])

        inputs = jnp.concatenate([self._views(batch.obs), self._actions(batch.action)])
        own = mlp.apply(weights["agent"], inputs)[None]  # One action: that taken.
        state = self._state(batch.obs)[:, None]
        taken = joint(self.mixer, weights["mixer"], own, state)
        q = taken.mix(own[:, 0])[0]
        return jnp.mean((q - target) ** 2), {
            "q": jnp.mean(q),
            "target": jnp.mean(target),
            "td_error": jnp.mean(jnp.abs(q - target)),
        }

    def _noise(self, key: jax.Array, columns: int) -> jax.Array:
        settings = self.settings
        return jax.random.normal(
            key,
            (settings.cem_rounds, settings.cem_samples, max(self.spec.action_dims), columns),
        )

    def _search(self, weights: Tree, obs: jax.Array, noise: jax.Array) -> tuple:
        """What `cross_entropy.search` finds for what teams see, `[obs_dim, C]`."""
        views = self._views(obs)[:, None]
        samples, columns = self.settings.cem_samples, views.shape[-1]
        group = _group(samples, columns)
        views = jnp.broadcast_to(views, (len(views), group, columns))
        # Numbers that an agent's action lacks are zero in the replay, too.
        has = jnp.arange(max(self.spec.action_dims))[:, None] < jnp.array(self.spec.action_dims)
        has = jnp.tile(has, obs.shape[1])

        def value(actions: jax.Array) -> jax.Array:
            """`[S, C n]` from `[S, A, C n]`."""

            def of_group(some: jax.Array) -> jax.Array:
                inputs = jnp.concatenate([views, jnp.moveaxis(some, 0, 1)])
                return mlp.apply(weights["agent"], inputs.reshape(len(inputs), -1))[0]

            own = jnp.where(has, actions, 0)
            groups = own.reshape(-1, group, *own.shape[1:])
            return jax.lax.map(of_group, groups).reshape(samples, columns)

        return search(value, noise, elites=self.settings.cem_elites)

    def _best(self, weights: Tree, obs: jax.Array, noise: jax.Array) -> jax.Array:
        found = best(*self._search(weights, obs, noise))
        by_agent = found.reshape(len(found), -1, self.spec.num_agents)
        parts = enumerate(self.spec.action_dims)
        return jnp.concatenate([by_agent[:size, :, i] for i, size in parts])

    def _views(self, obs: jax.Array) -> jax.Array:
        """What agents see `[inputs, C n]`, of `[obs_dim, C]`: their observations and numbers."""
        own = _side_by_side(obs, self.spec.obs_dims)
        which = jnp.tile(jnp.eye(self.spec.num_agents), obs.shape[1])
        return jnp.concatenate([own, which])

    def _actions(self, action: jax.Array) -> jax.Array:
        """The agents' actions `[A, C n]`, of `[action_dim, C]`."""
        return _side_by_side(action, self.spec.action_dims)

    def _state(self, obs: jax.Array) -> jax.Array:
        """The global state `[state_dim, C]`, of `[obs_dim, C]`."""
        return obs[sum(self.spec.obs_dims) :]


def _group(samples: int, columns: int) -> int:
    """Into how large groups samples of so many columns are cut."""
    fits = max(COLUMNS // columns, 1)
    return max(size for size in range(1, samples + 1) if samples % size == 0 and size <= fits)


def _side_by_side(flat: jax.Array, dims: tuple[int, ...]) -> jax.Array:
    """Columns of `n` vectors one after another as `n` columns, padded with zeros to the longest."""
    ends = [sum(dims[: i + 1]) for i in range(len(dims))]
    parts = (flat[end - size : end] for end, size in zip(ends, dims, strict=True))
    padded = [jnp.pad(part, ((0, max(dims) - len(part)), (0, 0))) for part in parts]
    return jnp.stack(padded, axis=-1).reshape(max(dims), -1)
