"""PyMARL's agents, as every value-based algorithm here has them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax

from sparl.algorithms import parts
from sparl.compute import Tree
from sparl.config import NetworkConfig
from sparl.nets import agent, separate_agents
from sparl.nets.inputs import input_dim
from sparl.replay import Batch
from sparl.spec import EnvSpec
from sparl.targets import Target


class AgentNet(NamedTuple):
    """The functions of an agent network; see `sparl.nets.agent` for shapes.

    Attributes:
        init: Draws the parameters.
        step: One step.
        unroll: Whole episodes.
        activity: How much its units do.
    """

    init: Callable[..., Tree]
    step: Callable[..., tuple[jax.Array, jax.Array]]
    unroll: Callable[..., jax.Array]
    activity: Callable[..., dict[str, jax.Array]]


def agent_net(spec: EnvSpec, network: NetworkConfig) -> AgentNet:
    """One network for all agents, or one for each."""
    if network.agents == "shared":
        return AgentNet(agent.init, agent.step, agent.unroll, agent.activity)
    own = separate_agents
    functions = (own.init, own.step, own.unroll, own.activity)
    return AgentNet(*(partial(each, networks=spec.num_agents) for each in functions))


@dataclass(frozen=True)
class Agents:
    """What acts, and what is the same whatever the joint value is made of.

    Attributes:
        name: The algorithm's name.
        spec: Sizes of the environment.
        target: What joint Q-values are regressed to.
        hidden: Units of an agent.
        net: Their network, or networks.
    """

    name: str
    spec: EnvSpec
    target: Target
    hidden: int
    net: AgentNet

    def init_agent(self, key: jax.Array) -> Tree:
        """Parameters of the agents."""
        spec = self.spec
        inputs = input_dim(spec.obs_dim, spec.num_actions, spec.num_agents)
        return self.net.init(key, inputs, self.hidden, spec.num_actions)

    def initial_hidden(self, columns: int) -> jax.Array:
        """Zeros `[hidden, columns]`."""
        return agent.initial_hidden(self.hidden, columns)

    def act(
        self, weights: Tree, inputs: jax.Array, hidden: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Q-values `[A, C]` and next hidden state `[h, C]` from inputs `[in, C]`."""
        return self.net.step(weights["agent"], inputs, hidden)

    def q_values(self, weights: Tree, batch: Batch, network: str = "agent") -> jax.Array:
        """Q-values `[T + 1, A, C]` of whole episodes, by the agent network of that name."""
        length = parts.column_lengths(batch, self.spec.num_agents)
        return self.net.unroll(weights[network], batch.inputs, length)

    def activity(self, weights: Tree, batch: Batch) -> dict[str, jax.Array]:
        """The mean magnitude of each hidden unit of the agent, by layer."""
        length = parts.column_lengths(batch, self.spec.num_agents)
        return self.net.activity(weights["agent"], batch.inputs, length)
