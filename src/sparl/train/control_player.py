"""Continuous control on the host: noisy actions, and every step is kept."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sparl.algorithms.control import Control
from sparl.compute import Topology, Tree, bind
from sparl.config import Config
from sparl.replay.transitions import Row, empty_row
from sparl.spec import ControlSpec
from sparl.train.host_envs import HostEnvs
from sparl.train.host_rollout import Acts

NOISY, RANDOM = 1.0, 2.0
"""The kinds of exploration; 0 is none."""


class Played(NamedTuple):
    """What a chunk of `K` steps of `E` environments has come to.

    Attributes:
        rows: Rows for the ring, leaves `[E, 2 K + 1, ...]`; see `transitions.insert`.
        count: How many of each environment, int32 `[E]`.
        ended: Boolean `[K, E]`: an episode ended at this step.
        length: Its steps `[K, E]`.
        episode_return: Its undiscounted return `[K, E]`.
        broken: How many episodes were lost to a crash or a hang.
    """

    rows: Row
    count: Any
    ended: Any
    length: Any
    episode_return: Any
    broken: Any


def row_of(spec: ControlSpec, config: Config) -> Row:
    """A row as this run keeps them; best actions are for the dynamic replay alone."""
    return empty_row(spec, greedy=config.replay.kind == "dynamic")


class ControlPlayer:
    """Uniform actions at first, then those that the algorithm explores with.

    Args:
        spec: Sizes of the environment.
        algorithm: Whose networks act.
        config: The resolved configuration, of one seed.
    """

    def __init__(self, spec: ControlSpec, algorithm: Control, config: Config):
        self.act: Any = jax.jit(self._act)
        self.prepare: Any = jax.jit(self._prepare)
        self._spec, self._algorithm, self._config = spec, algorithm, config
        self._row = row_of(spec, config)

    def memory(self) -> tuple:
        """None."""
        return ()

    def exploration(self, env_steps: np.ndarray) -> np.ndarray:
        """`RANDOM` for the first steps, then `NOISY`."""
        return np.where(env_steps < self._config.control.random_steps, RANDOM, NOISY)

    def record(self) -> "ControlRecorder":
        """For the next chunk."""
        return ControlRecorder(self.nothing())

    def nothing(self) -> Played:
        """Zeros for a chunk, without an axis of seeds."""
        chunk, envs = self._config.chunk, self._config.num_envs
        shape = (envs, 2 * chunk + 1)
        return Played(
            rows=jax.tree.map(lambda x: np.zeros((*shape, *x.shape), x.dtype), self._row),
            count=np.zeros(envs, np.int32),
            ended=np.zeros((chunk, envs), bool),
            length=np.zeros((chunk, envs), np.int32),
            episode_return=np.zeros((chunk, envs), np.float32),
            broken=np.zeros((), np.int32),
        )

    def _act(
        self,
        weights: Tree,
        key: jax.Array,
        step: jax.Array,
        exploration: jax.Array,
        obs: jax.Array,
        avail_actions: jax.Array,
        fresh: jax.Array,
        memory: tuple,
    ) -> Acts:
        del avail_actions, fresh
        explore_key, random_key = jax.random.split(jax.random.fold_in(key, step))
        best, noisy = self._algorithm.explore(weights, obs.T, explore_key)
        anything = jax.random.uniform(random_key, best.shape, minval=-1, maxval=1)
        action = jnp.where(exploration == NOISY, noisy, best)
        action = jnp.where(exploration == RANDOM, anything, action)
        # Random steps count as a policy's own, for the replay to tell how far it has moved (RLx2).
        best = jnp.where(exploration == RANDOM, anything, best)
        return Acts(best.T, action.T, memory)

    def _prepare(self, params: Tree, topology: Topology) -> Tree:
        """What acts, alone."""
        acting = self._algorithm.acting
        own = ({name: tree[name] for name in acting} for tree in (params, topology))
        return bind(*jax.tree.map(lambda x: jnp.copy(x[0]), tuple(own)))


class ControlRecorder:
    """Takes down the rows of a chunk.

    Args:
        done: Zeros to write into.
    """

    def __init__(self, done: Played):
        self._done = done

    def acted(self, k: int, envs: HostEnvs, acts: Acts) -> None:
        """Write what was seen and done."""
        del k
        rows, count = self._done.rows, self._done.count
        every = np.arange(len(count))
        rows.obs[every, count] = envs.seen.obs
        rows.action[every, count] = acts.actions
        kept = rows.greedy.shape[-1]  # None where no replay asks for them.
        rows.greedy[every, count] = acts.greedy[:, :kept]

    def stepped(
        self, k: int, envs: HostEnvs, acts: Acts, ended: np.ndarray, lost: np.ndarray
    ) -> None:
        """Write what came of it."""
        del acts
        done, count = self._done, self._done.count
        every = np.arange(len(count))
        done.rows.reward[every, count] = envs.reward
        done.rows.terminated[every, count] = envs.seen.terminated
        # What came of a step that was lost nobody knows: what it began from was seen last.
        done.rows.final[every, count] = lost
        count += 1
        for e in np.flatnonzero(ended):
            done.rows.obs[e, count[e]] = envs.seen.obs[e]
            done.rows.final[e, count[e]] = True
            count[e] += 1
        done.ended[k] = ended
        done.length[k] = envs.steps
        done.episode_return[k] = envs.episode_return

    def finish(self, envs: HostEnvs, broken: int) -> Played:
        """All of it, and what is seen now."""
        done = self._done
        done.rows.obs[np.arange(len(done.count)), done.count] = envs.seen.obs
        return done._replace(broken=np.int32(broken))
