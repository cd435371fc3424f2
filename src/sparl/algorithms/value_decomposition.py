"""What QMIX, VDN and RES share: agents whose Q-values are mixed into one, and the loss on it."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sparl.algorithms import parts
from sparl.algorithms.agents import Agents
from sparl.algorithms.parts import Mixer
from sparl.compute import Tree
from sparl.replay import Batch


@dataclass(frozen=True)
class ValueDecomposition(Agents):
    """Centralised training of decentralised Q-values with PyMARL's agent.

    Attributes:
        mixer: How the agents' Q-values become one.
        regulariser: Weight of the squared distance from the realised return (RES).
    """

    mixer: Mixer
    regulariser: float = 0.0

    def init(self, key: jax.Array) -> Tree:
        """Parameters of the agents and of the mixer."""
        agent_key, mixer_key = jax.random.split(key)
        return {
            "agent": self.init_agent(agent_key),
            "mixer": self.mixer.init(mixer_key),
        }

    def loss(
        self, weights: Tree, target_weights: Tree, batch: Batch, env_steps: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Mean squared TD error of `Q_tot` over filled steps.

        Rashid et al. (ICML 2018), equation 6; with MAST's target, Hu et al. (2024), equation 7;
        with `regulariser` times the mean squared distance from the return that was realised, Pan et
        al. (NeurIPS 2021).

        Args:
            weights: Bound online weights, differentiated.
            target_weights: Bound target weights.
            batch: Episodes.
            env_steps: Env steps so far; the target may depend on them.

        Returns:
            The loss, and means over filled steps: the target, `Q_tot`, the return that was
            realised, the magnitude of the TD error, and the loss again.
        """
        q = self.q_values(weights, batch)
        target_q = self.q_values(target_weights, batch)
        online = parts.joint(self.mixer, weights["mixer"], q, batch.state)

        # Valuing the next steps. All steps are mixed, and the one too many dropped from the result,
        # since cutting the large arrays would copy them.
        frozen = jax.lax.stop_gradient((weights["mixer"], q))
        values = self.target.operator(
            parts.joint(self.mixer, *frozen, batch.state),
            parts.joint(self.mixer, target_weights["mixer"], target_q, batch.state),
            batch.avail_actions,
        )
        target = jax.lax.stop_gradient(
            self.target.returns(batch.reward, values[1:], batch.terminated, batch.filled, env_steps)
        )

        q_total = online.mix(parts.of_actions(q, batch.actions))[:-1]
        error = q_total - target
        realised = parts.realised_returns(batch, self.target.gamma)
        loss = parts.mean_over_steps(error**2, batch)
        if self.regulariser:
            distance = parts.mean_over_steps((q_total - realised) ** 2, batch)
            loss = loss + self.regulariser * distance
        return loss, {
            "target": parts.mean_over_steps(target, batch),
            "q_total": parts.mean_over_steps(q_total, batch),
            "realised_return": parts.mean_over_steps(realised, batch),
            "td_error": parts.mean_over_steps(jnp.abs(error), batch),
            "loss": loss,
        }
