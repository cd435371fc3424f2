"""Environments of worker processes in the middle of their episodes, whatever becomes of them."""

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from sparl.envs import TimeStep, Workers, time_step_shapes
from sparl.envs.worker import Act, Broken, Order, Reset
from sparl.errors import SparlError
from sparl.spec import ControlSpec, EnvSpec

PATIENCE = 5
"""So many episodes may break in a row, by an environment's own fault, before a run gives up."""


class BrokenEnvironmentError(SparlError):
    """An environment broke again and again."""


class HostEnvs:
    """`E` environments, of which each is in an episode of its own; arrays change in place.

    Args:
        name: The environment's name.
        spec: Its sizes.
        count: `E`.
        first_slot: The workers' slot of the first.
        source: What the seeds of its episodes follow from.
        workers: Gets the workers.
        notes: Takes a sentence about everything that breaks.

    Attributes:
        seen: What was seen last, arrays `[E, ...]`.
        reward: Rewards of the last step, scaled `[E]`.
        fresh: Boolean `[E]`: the episode has just begun.
        steps: Steps of each episode so far `[E]`.
        episode_return: Its undiscounted return so far `[E]`.
        broken: Episodes that were lost.
    """

    def __init__(
        self,
        name: str,
        spec: EnvSpec | ControlSpec,
        *,
        count: int,
        first_slot: int,
        source: Sequence[int],
        workers: Callable[[], Workers],
        notes: deque[str],
    ):
        self.seen = TimeStep(
            **{
                field: np.zeros((count, *shape), kind)
                for field, (shape, kind) in time_step_shapes(spec).items()
            }
        )
        self.reward = np.zeros(count, np.float32)
        self.fresh = np.ones(count, bool)
        self.steps = np.zeros(count, np.int32)
        self.episode_return = np.zeros(count, np.float32)
        self.broken = 0
        self._name, self._limit = name, spec.episode_limit
        self._first_slot, self._source = first_slot, tuple(source)
        self._workers, self._notes = workers, notes
        self._in_a_row = np.zeros(count, int)

    def begin(self, which: np.ndarray, origin: Sequence[int]) -> None:
        """Begin new episodes, as often as it takes.

        Args:
            which: Indices of environments.
            origin: What the seeds follow from, besides the source and the index.

        Raises:
            BrokenEnvironmentError: If that is too often.
        """
        self.fresh[which] = True
        self.steps[which] = 0
        self.episode_return[which] = 0
        attempt = 0
        while len(which):
            orders = []
            for e in which.tolist():
                entropy = (*self._source, *origin, e, attempt)
                seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
                orders.append(Reset(self._first_slot + e, seed))
            which = which[self._play(orders)[which]]
            attempt += 1

    def step(
        self, actions: np.ndarray, which: np.ndarray, reward_scale: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Take a step in some environments.

        Args:
            actions: `[E, ...]`.
            which: Indices of environments.
            reward_scale: Factor on rewards, before they are summed.

        Returns:
            Which episodes have ended, and which are lost, both `[E]`; begin others in their place.

        Raises:
            BrokenEnvironmentError: If an environment breaks once too often.
        """
        lost = self._play([Act(self._first_slot + e, actions[e]) for e in which.tolist()])
        self.fresh[:] = False
        self.steps += 1
        self.reward = self.seen.reward * reward_scale
        self.episode_return += self.reward
        # The limit also where the environment has none, as an episode must fit its place.
        late = self.steps >= self._limit
        played = np.zeros_like(lost)
        played[which] = True
        ended = played & ~lost & (self.seen.terminated | self.seen.truncated | late)
        self._in_a_row[ended] = 0
        return ended, lost

    def _play(self, orders: Sequence[Order]) -> np.ndarray:
        """Have orders carried out and take in what was seen; which episodes are lost `[E]`."""
        lost = np.zeros(len(self.steps), bool)
        for slot, answer in self._workers().play(orders).items():
            e = slot - self._first_slot
            if isinstance(answer, Broken):
                lost[e] = True
                self._count(e, answer)
                continue
            for into, value in zip(self.seen, answer, strict=True):
                into[e] = value
        return lost

    def _count(self, e: int, broken: Broken) -> None:
        self.broken += 1
        env = f"environment {e} of {self._name}"
        self._notes.append(f"{env} lost its episode: {broken.reason}")
        self._in_a_row[e] += broken.own
        if self._in_a_row[e] >= PATIENCE:
            raise BrokenEnvironmentError(
                f"{env} broke {PATIENCE} times in a row, at last: {broken.reason}"
            )
