"""TD3: twin delayed deep deterministic policy gradients (Fujimoto et al., ICML 2018)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sparl.algorithms import control
from sparl.algorithms.control import CRITICS, Part
from sparl.compute import Tree
from sparl.config import ControlConfig
from sparl.nets import mlp
from sparl.replay.transitions import TransitionBatch
from sparl.spec import ControlSpec


@dataclass(frozen=True)
class Td3:
    """A deterministic actor, and two critics of which the lower one is believed.

    Attributes:
        spec: Sizes of the environment.
        settings: Delay and noise.
        hidden: Units of each of the two hidden layers.
        gamma: Discount factor.
    """

    spec: ControlSpec
    settings: ControlConfig
    hidden: int
    gamma: float
    name: str = "td3"
    targets: tuple[str, ...] = ("actor", *CRITICS)
    acting: tuple[str, ...] = ("actor",)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Critics, and less often the actor."""
        return (
            Part("critic_loss", CRITICS, self.critic_loss),
            Part("actor_loss", ("actor",), self.actor_loss, self.settings.policy_delay),
        )

    def init(self, key: jax.Array) -> Tree:
        """Parameters of the actor and both critics."""
        actor_key, critics_key = jax.random.split(key)
        spec, hidden = self.spec, self.hidden
        actor = mlp.init(actor_key, (spec.obs_dim, hidden, hidden, spec.action_dim))
        critics = control.init_critics(critics_key, spec.obs_dim, spec.action_dim, hidden)
        return {"actor": actor, **critics}

    def act(self, weights: Tree, obs: jax.Array) -> jax.Array:
        """The actor's actions `[action_dim, C]`."""
        return jnp.tanh(mlp.apply(weights["actor"], obs))

    def explore(self, weights: Tree, obs: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The actor's actions, and these with noise, clipped to [-1, 1]."""
        action = self.act(weights, obs)
        return action, control.noisy(action, key, self.settings.exploration_noise)

    def activity(self, weights: Tree, batch: TransitionBatch) -> dict[str, jax.Array]:
        """See `control.activity`."""
        return control.activity(weights, batch)

    def critic_loss(
        self,
        weights: Tree,
        target_weights: Tree,
        batch: TransitionBatch,
        key: jax.Array,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Squared TD errors with the lower target critic at a noisy target action (equation 14)."""
        obs = control.last_obs(batch)
        action = self.act(target_weights, obs)
        noise = self.settings.target_noise * jax.random.normal(key, action.shape)
        noise = jnp.clip(noise, -self.settings.noise_clip, self.settings.noise_clip)
        action = jnp.clip(action + noise, -1, 1)
        value = jnp.min(control.values(target_weights, obs, action), axis=0)
        target = control.returns(batch, value, gamma=self.gamma)
        return control.critic_loss(weights, batch, jax.lax.stop_gradient(target))

    def actor_loss(
        self,
        weights: Tree,
        target_weights: Tree,
        batch: TransitionBatch,
        key: jax.Array,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """What the first critic holds of the actor's actions, negated."""
        del target_weights, key
        action = self.act(weights, batch.obs)
        both = jnp.concatenate([batch.obs, action])
        return -jnp.mean(mlp.apply(weights["critic1"], both)), {}
