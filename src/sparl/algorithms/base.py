"""What an algorithm is to the learner and the rollout."""

from typing import Protocol

import jax

from sparl.compute import Tree
from sparl.replay import Batch


class Algorithm(Protocol):
    """Networks and a loss. Pure: everything that changes is passed in."""

    @property
    def name(self) -> str:
        """The name that `--algorithm` takes."""
        ...

    def init(self, key: jax.Array) -> Tree:
        """Parameters, one entry per network; each network has a sparsity budget of its own."""
        ...

    def initial_hidden(self, columns: int) -> jax.Array:
        """The agents' hidden state at the start of an episode, `[h, columns]`."""
        ...

    def act(
        self, weights: Tree, inputs: jax.Array, hidden: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Q-values `[A, C]` and next hidden state `[h, C]` from inputs `[in, C]`."""
        ...

    def q_values(self, weights: Tree, batch: Batch) -> jax.Array:
        """Q-values `[T + 1, A, C]` of whole episodes, as `act` gives them step by step."""
        ...

    def activity(self, weights: Tree, batch: Batch) -> dict[str, jax.Array]:
        """The mean magnitude of each hidden unit of what acts, `[units]` by layer."""
        ...

    def loss(
        self, weights: Tree, target_weights: Tree, batch: Batch, env_steps: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss to minimise in `weights`, and scalars that describe the update."""
        ...
