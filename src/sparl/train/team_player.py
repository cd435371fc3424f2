"""Teams on the host: epsilon-greedy recurrent agents, of which whole episodes are kept."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sparl.algorithms import Algorithm
from sparl.compute import Topology, Tree, bind
from sparl.config import Config
from sparl.nets.inputs import NO_ACTION
from sparl.replay import Step
from sparl.replay.ring import empty_step
from sparl.spec import EnvSpec
from sparl.train.acting import epsilon, explore, greedy_actions, next_q
from sparl.train.host_envs import HostEnvs
from sparl.train.host_rollout import Acts
from sparl.train.rollout import Finished


class TeamPlayer:
    """Epsilon-greedy play of an algorithm's agents.

    Args:
        spec: Sizes of the environment.
        algorithm: Whose agents act.
        config: The resolved configuration, of one seed.
    """

    def __init__(self, spec: EnvSpec, algorithm: Algorithm, config: Config):
        self.act: Any = jax.jit(self._act)
        self.prepare: Any = jax.jit(_prepare)
        self._spec, self._algorithm, self._config = spec, algorithm, config
        self._row = jax.eval_shape(lambda: empty_step(spec))
        self._history: Step | None = None

    def memory(self) -> tuple[jax.Array, jax.Array]:
        """The last actions `[E, n]` and the agents' hidden states `[h, E n]`."""
        shape = (self._config.num_envs, self._spec.num_agents)
        last_actions = jnp.full(shape, NO_ACTION, jnp.int32)
        return last_actions, self._algorithm.initial_hidden(last_actions.size)

    def exploration(self, env_steps: np.ndarray) -> np.ndarray:
        """Epsilon."""
        return np.asarray(epsilon(self._config.exploration, env_steps))

    def record(self) -> "TeamRecorder":
        """For the next chunk, which begins with the rows that came before it."""
        recorder = TeamRecorder(self.nothing(), self._spec.episode_limit, self._history)
        self._history = recorder.done.rows
        return recorder

    def nothing(self) -> Finished:
        """Zeros for a chunk, without an axis of seeds."""
        limit, chunk, envs = self._spec.episode_limit, self._config.chunk, self._config.num_envs

        def rows(count: int) -> Step:
            return jax.tree.map(lambda x: np.zeros((count, envs, *x.shape), x.dtype), self._row)

        return Finished(
            rows=rows(limit + chunk),
            final=rows(chunk),
            ended=np.zeros((chunk, envs), bool),
            length=np.zeros((chunk, envs), np.int32),
            episode_return=np.zeros((chunk, envs), np.float32),
            won=np.zeros((chunk, envs), bool),
            broken=np.zeros((), np.int32),
        )

    def _act(
        self,
        weights: Tree,
        key: jax.Array,
        step: jax.Array,
        share: jax.Array,
        obs: jax.Array,
        avail_actions: jax.Array,
        fresh: jax.Array,
        memory: tuple[jax.Array, jax.Array],
    ) -> Acts:
        last_actions, hidden = memory
        last_actions = jnp.where(fresh[:, None], NO_ACTION, last_actions)
        hidden = jnp.where(jnp.repeat(fresh, last_actions.shape[1]), 0, hidden)
        actions = self._spec.num_actions
        q, hidden = next_q(self._algorithm, actions, weights, obs, last_actions, hidden)
        greedy = greedy_actions(q, avail_actions)
        actions = explore(jax.random.fold_in(key, step), greedy, avail_actions, share)
        return Acts(greedy, actions, (actions, hidden))


def _prepare(params: Tree, topology: Topology) -> Tree:
    return bind(*jax.tree.map(lambda x: jnp.copy(x[0]), (params, topology)))


class TeamRecorder:
    """Takes down the rows of a chunk, from which episodes are cut.

    Args:
        done: Zeros to write into.
        limit: Longest episode, in steps.
        before: The rows of the chunk before, if there was one.
    """

    def __init__(self, done: Finished, limit: int, before: Step | None):
        self.done, self._limit = done, limit
        if before is not None:
            for row, old in zip(done.rows, before, strict=True):
                row[:limit] = old[-limit:]

    def acted(self, k: int, envs: HostEnvs, acts: Acts) -> None:
        """Write what was seen and done."""
        self._write(self.done.rows, self._limit + k, envs, acts)

    def stepped(
        self, k: int, envs: HostEnvs, acts: Acts, ended: np.ndarray, lost: np.ndarray
    ) -> None:
        """Write what came of it; rewards and ends belong to the row of what was seen before."""
        del lost  # An episode's length counts from the one that began in its place.
        done, seen = self.done, envs.seen
        self._write(done.final, k, envs, acts)
        done.ended[k] = ended
        done.rows.reward[self._limit + k] = envs.reward
        done.rows.terminated[self._limit + k] = seen.terminated
        done.length[k] = envs.steps
        done.episode_return[k] = envs.episode_return
        done.won[k] = seen.won

    def finish(self, envs: HostEnvs, broken: int) -> Finished:
        """All of it."""
        del envs
        return self.done._replace(broken=np.int32(broken))

    def _write(self, rows: Step, index: int, envs: HostEnvs, acts: Acts) -> None:
        rows.obs[index] = envs.seen.obs
        rows.state[index] = envs.seen.state
        rows.avail_actions[index] = np.packbits(envs.seen.avail_actions, axis=-1)
        rows.actions[index] = acts.actions
        rows.greedy[index] = acts.greedy
