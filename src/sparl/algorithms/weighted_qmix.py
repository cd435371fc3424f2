"""OW-QMIX and CW-QMIX: weighted QMIX (Rashid et al., NeurIPS 2020)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from sparl.algorithms import parts
from sparl.algorithms.agents import Agents, agent_net
from sparl.algorithms.parts import Mixer
from sparl.algorithms.qmix import monotonic_mixer
from sparl.compute import Tree
from sparl.config import Config
from sparl.nets import central_mixer
from sparl.nets.inputs import one_hot
from sparl.replay import Batch
from sparl.spec import EnvSpec
from sparl.targets import Target, greedy

Matters = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]
"""`(q_total, target, acted greedily, value of the greedy joint action)`, each `[T, B]`, to where an
error counts in full."""


@dataclass(frozen=True)
class WeightedQMix(Agents):
    """QMIX beside an unrestricted joint Q-function, by which errors are weighed and targets made.

    Attributes:
        mixer: QMIX's mixer.
        central: The unrestricted one.
        matters: Where an error counts in full.
        alpha: Weight of the others.
    """

    mixer: Mixer
    central: Mixer
    matters: Matters
    alpha: float

    def init(self, key: jax.Array) -> Tree:
        """Parameters of both agents and both mixers."""
        keys = jax.random.split(key, 4)
        return {
            "agent": self.init_agent(keys[0]),
            "mixer": self.mixer.init(keys[1]),
            "central_agent": self.init_agent(keys[2]),
            "central_mixer": self.central.init(keys[3]),
        }

    def loss(
        self, weights: Tree, target_weights: Tree, batch: Batch, env_steps: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Weighted squared TD error of `Q_tot` plus squared TD error of `Q*`, means over steps.

        Both are regressed to the same target, the value of the unrestricted target networks where
        QMIX's agents act greedily, or, with another operator than double Q-learning, of what that
        makes of the unrestricted agents' values (with Soft Mellowmax: Hu et al. (2024), alg. 3).

        Args:
            weights: Bound online weights, differentiated.
            target_weights: Bound target weights.
            batch: Episodes.
            env_steps: Env steps so far; the target may depend on them.

        Returns:
            The loss, and means over filled steps: the target, `Q_tot`, `Q*`, the return that was
            realised, the magnitude of `Q_tot`'s TD error, its weight, and the loss again.
        """

        def joint(mixer: Mixer, weights: Tree, q: jax.Array) -> parts.Joint:
            return parts.joint(mixer, weights, q, batch.state)

        q = self.q_values(weights, batch)
        central_q = self.q_values(weights, batch, "central_agent")
        online = joint(self.mixer, weights["mixer"], q)
        central = joint(self.central, weights["central_mixer"], central_q)
        target_q = self.q_values(target_weights, batch, "central_agent")
        frozen = jax.lax.stop_gradient((weights["mixer"], q))
        values = self.target.operator(
            joint(self.mixer, *frozen),
            joint(self.central, target_weights["central_mixer"], target_q),
            batch.avail_actions,
        )
        target, values = jax.lax.stop_gradient(
            (
                self.target.returns(
                    batch.reward, values[1:], batch.terminated, batch.filled, env_steps
                ),
                values[:-1],
            )
        )

        q_total = online.mix(parts.of_actions(q, batch.actions))[:-1]
        q_star = central.mix(parts.of_actions(central_q, batch.actions))[:-1]
        error = q_total - target
        best = greedy(frozen[1], batch.avail_actions)[:-1]
        as_best = jnp.any(best & one_hot(batch.actions, q.shape[1]), axis=1)
        all_best = jnp.all(as_best.reshape(*target.shape, -1), axis=-1)
        matters = self.matters(q_total, target, all_best, values)
        weight = jnp.where(matters, 1.0, self.alpha)
        loss = parts.mean_over_steps(weight * error**2 + (q_star - target) ** 2, batch)
        return loss, {
            "target": parts.mean_over_steps(target, batch),
            "q_total": parts.mean_over_steps(q_total, batch),
            "q_star": parts.mean_over_steps(q_star, batch),
            "realised_return": parts.mean_over_steps(
                parts.realised_returns(batch, self.target.gamma), batch
            ),
            "td_error": parts.mean_over_steps(jnp.abs(error), batch),
            "weight": parts.mean_over_steps(weight, batch),
            "loss": loss,
        }


def optimistic(
    q_total: jax.Array, target: jax.Array, all_best: jax.Array, value: jax.Array
) -> jax.Array:
    """OW: where `Q_tot` underestimates."""
    del all_best, value
    return q_total < target


def central(
    q_total: jax.Array, target: jax.Array, all_best: jax.Array, value: jax.Array
) -> jax.Array:
    """CW: where the joint action was the greedy one or turns out better."""
    del q_total
    return all_best | (target > value)


def _weighted_qmix(
    spec: EnvSpec, config: Config, target: Target, *, name: str, matters: Matters
) -> WeightedQMix:
    network = config.network
    return WeightedQMix(
        name=name,
        spec=spec,
        target=target,
        hidden=network.hidden,
        net=agent_net(spec, network),
        mixer=monotonic_mixer(spec, network),
        central=Mixer(
            init=partial(
                central_mixer.init,
                state_dim=spec.state_dim,
                num_agents=spec.num_agents,
                embed=network.central_embed,
            ),
            prepare=lambda weights, state: (weights, state),
            mix=lambda prepared, agent_qs: central_mixer.mix(prepared[0], agent_qs, prepared[1]),
        ),
        matters=matters,
        alpha=config.weighting.alpha,
    )


ow_qmix = partial(_weighted_qmix, name="ow-qmix", matters=optimistic)
"""OW-QMIX: errors count in full where `Q_tot` is too low."""

cw_qmix = partial(_weighted_qmix, name="cw-qmix", matters=central)
"""CW-QMIX: errors count in full where the joint action is the best known."""
