"""SAC: soft actor-critic with automatic temperature (Haarnoja et al., arXiv 1812.05905)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sparl.algorithms import control
from sparl.algorithms.control import CRITICS, Part
from sparl.compute import Tree
from sparl.nets import mlp
from sparl.replay.transitions import TransitionBatch
from sparl.spec import ControlSpec

LOG_STD = (-20.0, 2.0)
"""The range that the logarithm of the policy's standard deviation is clipped to."""


@dataclass(frozen=True)
class Sac:
    """A Gaussian actor squashed by tanh, two critics, and the temperature of the entropy.

    Attributes:
        spec: Sizes of the environment.
        hidden: Units of each of the two hidden layers.
        gamma: Discount factor.
    """

    spec: ControlSpec
    hidden: int
    gamma: float
    name: str = "sac"
    targets: tuple[str, ...] = CRITICS
    acting: tuple[str, ...] = ("actor",)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Critics, and the actor with the temperature."""
        return (
            Part("critic_loss", CRITICS, self.critic_loss),
            Part("actor_loss", ("actor", "temperature"), self.actor_loss),
        )

    def init(self, key: jax.Array) -> Tree:
        """Parameters of the actor and both critics, and the temperature's logarithm."""
        actor_key, critics_key = jax.random.split(key)
        spec, hidden = self.spec, self.hidden
        actor = mlp.init(actor_key, (spec.obs_dim, hidden, hidden, 2 * spec.action_dim))
        critics = control.init_critics(critics_key, spec.obs_dim, spec.action_dim, hidden)
        return {"actor": actor, **critics, "temperature": {"log": jnp.zeros(())}}

    def act(self, weights: Tree, obs: jax.Array) -> jax.Array:
        """The mean before squashing, squashed: `[action_dim, C]`."""
        return jnp.tanh(self._gaussian(weights, obs)[0])

    def explore(self, weights: Tree, obs: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The best actions, and a draw from the policy."""
        mean, raw, _ = self._draw(weights, obs, key)
        return jnp.tanh(mean), jnp.tanh(raw)

    def sample(self, weights: Tree, obs: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Actions `[action_dim, C]` drawn from the policy, and their log-densities `[C]`."""
        _, raw, log_density = self._draw(weights, obs, key)
        # log(1 - tanh(x)^2), without its cancellation (appendix C).
        squash = 2 * (jnp.log(2.0) - raw - jax.nn.softplus(-2 * raw))
        return jnp.tanh(raw), jnp.sum(log_density - squash, axis=0)

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
        """Squared soft TD errors with the lower target critic (equations 5 and 6).

        Returns of several rewards have the entropy of every state on their way, with actions drawn
        anew from the policy of now (RLx2).
        """
        temperature = jnp.exp(weights["temperature"]["log"])
        last_key, key = jax.random.split(key)
        obs = control.last_obs(batch)
        action, log_density = self.sample(weights, obs, last_key)
        value = jnp.min(control.values(target_weights, obs, action), axis=0)
        target = control.returns(batch, value - temperature * log_density, gamma=self.gamma)
        for k in range(1, len(batch.reward)):
            key, own_key = jax.random.split(key)
            _, log_density = self.sample(weights, batch.next_obs[k - 1], own_key)
            entropy = -(self.gamma**k) * temperature * log_density
            target = target + jnp.where(batch.included[k], entropy, 0)
        return control.critic_loss(weights, batch, jax.lax.stop_gradient(target))

    def actor_loss(
        self, weights: Tree, target_weights: Tree, batch: TransitionBatch, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Entropy, at its temperature, against what the lower critic holds (equation 7).

        And the temperature's own loss (equation 17), which holds the entropy at minus the number of
        action dimensions; neither moves what the other one trains.
        """
        del target_weights
        action, log_density = self.sample(weights, batch.obs, key)
        value = jnp.min(control.values(weights, batch.obs, action), axis=0)
        temperature = jnp.exp(weights["temperature"]["log"])
        loss = jnp.mean(jax.lax.stop_gradient(temperature) * log_density - value)
        excess = jax.lax.stop_gradient(jnp.mean(log_density)) - self.spec.action_dim
        return loss - temperature * excess, {
            "entropy": -jnp.mean(log_density),
            "temperature": temperature,
        }

    def _draw(
        self, weights: Tree, obs: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Before squashing: the mean, a draw, and its numbers' log-densities, `[action_dim, C]`."""
        mean, log_std = self._gaussian(weights, obs)
        noise = jax.random.normal(key, mean.shape)
        log_density = -0.5 * noise**2 - log_std - 0.5 * jnp.log(2 * jnp.pi)
        return mean, mean + jnp.exp(log_std) * noise, log_density

    def _gaussian(self, weights: Tree, obs: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean, log_std = jnp.split(mlp.apply(weights["actor"], obs), 2)
        return mean, jnp.clip(log_std, *LOG_STD)
