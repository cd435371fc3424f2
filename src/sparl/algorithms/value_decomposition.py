"""What QMIX and VDN share: agents whose Q-values are mixed into one, and the loss on it.

They differ in the mixer alone, so the mixer is the argument.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sparl.compute import Tree
from sparl.nets import agent
from sparl.nets.inputs import input_dim
from sparl.replay import Batch
from sparl.spec import EnvSpec
from sparl.targets import Target


@dataclass(frozen=True)
class ValueDecomposition:
    """Centralised training of decentralised Q-values with PyMARL's agent.

    Attributes:
        name: The algorithm's name.
        spec: Sizes of the environment.
        target: What the mixed Q-value is regressed to.
        hidden: Units of the agent.
        init_mixer: Draws the mixer's parameters from a key.
        mix: `(mixer weights, agent_qs [n, C], state [state_dim, C])` to `Q_tot` `[C]`.
    """

    name: str
    spec: EnvSpec
    target: Target
    hidden: int
    init_mixer: Callable[[jax.Array], Tree]
    mix: Callable[[Tree, jax.Array, jax.Array], jax.Array]

    def init(self, key: jax.Array) -> Tree:
        """Parameters of the shared agent and of the mixer."""
        agent_key, mixer_key = jax.random.split(key)
        spec = self.spec
        inputs = input_dim(spec.obs_dim, spec.num_actions, spec.num_agents)
        return {
            "agent": agent.init(agent_key, inputs, self.hidden, spec.num_actions),
            "mixer": self.init_mixer(mixer_key),
        }

    def initial_hidden(self, columns: int) -> jax.Array:
        """Zeros `[hidden, columns]`."""
        return agent.initial_hidden(self.hidden, columns)

    def act(
        self, weights: Tree, inputs: jax.Array, hidden: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Q-values `[A, C]` and next hidden state `[h, C]` from inputs `[in, C]`."""
        return agent.step(weights["agent"], inputs, hidden)

    def loss(
        self, weights: Tree, target_weights: Tree, batch: Batch, env_steps: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Mean squared TD error of `Q_tot` over filled steps.

        Rashid et al. (ICML 2018), equation 6; with MAST's target, Hu et al. (2024), equation 7.

        Args:
            weights: Bound online weights, differentiated.
            target_weights: Bound target weights.
            batch: Episodes.
            env_steps: Env steps so far; the target may depend on them.

        Returns:
            The loss, and the means over filled steps of the target, of `Q_tot` and of the TD
            error's magnitude, and the loss again.
        """
        # What was seen last is one more step.
        length = jnp.repeat(batch.length + 1, self.spec.num_agents)
        q = agent.unroll(weights["agent"], batch.inputs, length)
        target_q = agent.unroll(target_weights["agent"], batch.inputs, length)

        # Valuing the next steps. All steps are mixed, and the one too many dropped from the result,
        # since cutting the large arrays would copy them.
        values = self.target.operator(jax.lax.stop_gradient(q), target_q, batch.avail_actions)
        next_value = self._mix(target_weights["mixer"], values, batch.state)[1:]
        target = self.target.returns(
            batch.reward, next_value, batch.terminated, batch.filled, env_steps
        )

        # Regressing the chosen actions' mixed value; a one-hot product, as gathers are slow.
        taken = jnp.pad(batch.actions, ((0, 1), (0, 0)))
        actions = jnp.arange(q.shape[1])[:, None] == taken[:, None]
        chosen = jnp.sum(jnp.where(actions, q, 0), axis=1)
        q_total = self._mix(weights["mixer"], chosen, batch.state)[:-1]
        error = jnp.where(batch.filled, q_total - jax.lax.stop_gradient(target), 0)
        steps = jnp.sum(batch.filled)
        loss = jnp.sum(error**2) / steps

        def mean(x: jax.Array) -> jax.Array:
            return jnp.sum(jnp.where(batch.filled, x, 0)) / steps

        return loss, {
            "target": mean(target),
            "q_total": mean(q_total),
            "td_error": mean(jnp.abs(error)),
            "loss": loss,
        }

    def _mix(self, weights: Tree, agent_qs: jax.Array, state: jax.Array) -> jax.Array:
        """`Q_tot` `[T, B]` from Q-values `[T, B n]` and states `[state_dim, T, B]`."""
        state_dim, steps, episodes = state.shape
        columns = steps * episodes
        by_agent = agent_qs.reshape(steps, episodes, -1).transpose(2, 0, 1)
        mixed = self.mix(weights, by_agent.reshape(-1, columns), state.reshape(state_dim, columns))
        return mixed.reshape(steps, episodes)
