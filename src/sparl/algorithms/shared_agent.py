"""PyMARL's agent, shared by all agents, as every value-based algorithm here has it."""

from dataclasses import dataclass

import jax

from sparl.algorithms import parts
from sparl.compute import Tree
from sparl.nets import agent
from sparl.nets.inputs import input_dim
from sparl.replay import Batch
from sparl.spec import EnvSpec
from sparl.targets import Target


@dataclass(frozen=True)
class SharedAgent:
    """What acts, and what is the same whatever the joint value is made of.

    Attributes:
        name: The algorithm's name.
        spec: Sizes of the environment.
        target: What joint Q-values are regressed to.
        hidden: Units of the agent.
    """

    name: str
    spec: EnvSpec
    target: Target
    hidden: int

    def init_agent(self, key: jax.Array) -> Tree:
        """Parameters of one agent network."""
        spec = self.spec
        inputs = input_dim(spec.obs_dim, spec.num_actions, spec.num_agents)
        return agent.init(key, inputs, self.hidden, spec.num_actions)

    def initial_hidden(self, columns: int) -> jax.Array:
        """Zeros `[hidden, columns]`."""
        return agent.initial_hidden(self.hidden, columns)

    def act(
        self, weights: Tree, inputs: jax.Array, hidden: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Q-values `[A, C]` and next hidden state `[h, C]` from inputs `[in, C]`."""
        return agent.step(weights["agent"], inputs, hidden)

    def q_values(self, weights: Tree, batch: Batch, network: str = "agent") -> jax.Array:
        """Q-values `[T + 1, A, C]` of whole episodes, by the agent network of that name."""
        length = parts.column_lengths(batch, self.spec.num_agents)
        return agent.unroll(weights[network], batch.inputs, length)

    def activity(self, weights: Tree, batch: Batch) -> dict[str, jax.Array]:
        """The mean magnitude of each hidden unit of the agent, by layer."""
        length = parts.column_lengths(batch, self.spec.num_agents)
        return agent.activity(weights["agent"], batch.inputs, length)
