"""Play on environments that worker processes step, while the learner learns."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sparl.algorithms import Algorithm
from sparl.compute import Topology, Tree, bind
from sparl.config import Config
from sparl.envs import TimeStep, Workers
from sparl.errors import SparlError
from sparl.replay import Step
from sparl.replay.ring import empty_step
from sparl.spec import EnvSpec
from sparl.train.acting import epsilon, explore, greedy_actions, next_q
from sparl.train.host_envs import HostEnvs
from sparl.train.rollout import Finished

_TRAINING, _EVALUATION = range(2)


class HostRolloutState(NamedTuple):
    """What a checkpoint can hold of environments that live in other processes.

    Running episodes are not in it: a resumed run begins new ones.

    Attributes:
        key: Random key.
        env_steps: Env steps so far, all environments together.
    """

    key: jax.Array
    env_steps: jax.Array


class Acts(NamedTuple):
    """What the agents of `E` environments do.

    Attributes:
        greedy: What they hold for best `[E, n]`.
        actions: What they do `[E, n]`.
        hidden: Their next hidden state `[h, E n]`.
    """

    greedy: Any
    actions: Any
    hidden: jax.Array


class HostRollout:
    """Epsilon-greedy interaction with environments that are stepped on the host.

    All of it happens in a thread of its own. `collect` hands over the chunk that this thread has
    made meanwhile and lets it begin the next, with the weights of that moment: the learner then
    makes its updates while workers step. What is collected so depends on the seed and not on who
    was faster.

    Args:
        spec: Sizes of the environment.
        algorithm: Whose agents act.
        config: The resolved configuration, of one seed.
        start_workers: Makes the workers, when they are first needed.

    Attributes:
        act: What is compiled: see `_act` for its arguments.
    """

    def __init__(
        self,
        spec: EnvSpec,
        algorithm: Algorithm,
        config: Config,
        start_workers: Callable[[], Workers],
    ):
        self.act: Any = jax.jit(self._act)
        self._spec, self._algorithm, self._config = spec, algorithm, config
        self._reward_scale = config.reward_scale or spec.reward_scale
        self._start_workers = start_workers
        self._workers: Workers | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rollout")
        self._closing = threading.Event()
        self._pending: Future | None = None
        self._notes: deque[str] = deque()
        self._envs = {
            purpose: HostEnvs(
                config.env,
                spec,
                count=config.num_envs,
                first_slot=purpose * config.num_envs,
                source=(config.seed, purpose),
                workers=self._open_workers,
                notes=self._notes,
            )
            for purpose in (_TRAINING, _EVALUATION)
        }
        self._hidden: jax.Array | None = None
        self._history: Step | None = None

    def init(self, key: jax.Array) -> HostRolloutState:
        """Before the first step."""
        return HostRolloutState(key, jnp.zeros((), jnp.int32))

    def finished_shapes(self) -> Finished:
        """Shapes and types of what `collect` returns, with a leading axis for its one seed."""
        limit, chunk, envs = self._spec.episode_limit, self._config.chunk, self._config.num_envs

        def zeros() -> Finished:
            def rows(count: int) -> Step:
                row = empty_step(self._spec)
                return jax.tree.map(lambda x: jnp.zeros((1, count, envs, *x.shape), x.dtype), row)

            each = (1, chunk, envs)
            return Finished(
                rows=rows(limit + chunk),
                final=rows(chunk),
                ended=jnp.zeros(each, bool),
                length=jnp.zeros(each, jnp.int32),
                episode_return=jnp.zeros(each),
                won=jnp.zeros(each, bool),
                broken=jnp.zeros(1, jnp.int32),
            )

        return jax.eval_shape(zeros)

    def act_shapes(self) -> tuple:
        """Shapes and types of the arguments of `act` but for the weights and their links."""
        spec, envs = self._spec, self._config.num_envs
        n = spec.num_agents
        return jax.eval_shape(
            lambda: (
                jax.random.key(0),
                jnp.zeros((), jnp.int32),
                jnp.zeros(()),
                jnp.zeros((envs, n, spec.obs_dim)),
                jnp.zeros((envs, n, spec.num_actions), bool),
                jnp.zeros((envs, n), jnp.int32),
                self._algorithm.initial_hidden(envs * n),
                jnp.zeros(envs, bool),
            )
        )

    def collect(
        self, params: Tree, topology: Topology, state: HostRolloutState
    ) -> tuple[HostRolloutState, Finished]:
        """A chunk of steps of every environment.

        Args:
            params: Weights for the chunk after this one, and for this one if it is the first.
            topology: Their links.
            state: What the last call returned.

        Raises:
            BrokenEnvironmentError: If an environment breaks again and again.
        """
        weights = jax.tree.map(jnp.copy, (params, topology))  # The learner donates its own.
        pending = self._pending or self._thread.submit(self._chunk, weights, state)
        self._pending = None
        state, finished = pending.result()
        if int(state.env_steps[0]) < self._config.total_steps:
            self._pending = self._thread.submit(self._chunk, weights, state)
        return state, finished

    def evaluate(
        self, params: Tree, topology: Topology, seeds: jax.Array, number: Any
    ) -> dict[str, Any]:
        """Play `config.eval_episodes` greedy episodes, in environments that none trains in.

        Returns:
            Means over the episodes, `[1]`: `win_rate`, `return` and `episode_length`.

        Raises:
            BrokenEnvironmentError: If an environment breaks again and again.
        """
        del seeds  # There is one, the configuration's.
        play = partial(self._evaluate, (params, topology), int(number))
        return self._thread.submit(play).result()

    def notes(self) -> list[str]:
        """What has happened to environments since the last call, in sentences."""
        return [self._notes.popleft() for _ in range(len(self._notes))]

    def close(self) -> None:
        """End the workers, and what they are at."""
        self._closing.set()
        if self._workers is not None:
            self._workers.kill()  # Or a game that hangs would be waited for.
        self._thread.shutdown(cancel_futures=True)
        if self._workers is not None:
            self._workers.close()

    def _open_workers(self) -> Workers:
        if self._closing.is_set():
            raise SparlError("the environments are closed")
        if self._workers is None:
            self._workers = self._start_workers()
        return self._workers

    # Acting.

    def _act(
        self,
        params: Tree,
        topology: Topology,
        key: jax.Array,
        step: jax.Array,
        share: jax.Array,
        obs: jax.Array,
        avail_actions: jax.Array,
        last_actions: jax.Array,
        hidden: jax.Array,
        fresh: jax.Array,
    ) -> Acts:
        weights = bind(*jax.tree.map(lambda x: x[0], (params, topology)))
        hidden = jnp.where(jnp.repeat(fresh, last_actions.shape[1]), 0, hidden)
        actions = self._spec.num_actions
        q, hidden = next_q(self._algorithm, actions, weights, obs, last_actions, hidden)
        greedy = greedy_actions(q, avail_actions)
        key = jax.random.fold_in(key, step)
        return Acts(greedy, explore(key, greedy, avail_actions, share), hidden)

    def _decide(
        self,
        weights: tuple,
        key: jax.Array,
        step: int,
        share: float,
        envs: HostEnvs,
        hidden: jax.Array,
    ) -> Acts:
        acts = self.act(
            *weights,
            key,
            np.int32(step),
            np.float32(share),
            envs.seen.obs,
            envs.seen.avail_actions,
            envs.last_actions,
            hidden,
            envs.fresh,
        )
        return acts._replace(greedy=np.asarray(acts.greedy), actions=np.asarray(acts.actions))

    def _initial_hidden(self) -> jax.Array:
        return self._algorithm.initial_hidden(self._config.num_envs * self._spec.num_agents)

    # Playing.

    def _chunk(self, weights: tuple, state: HostRolloutState) -> tuple[HostRolloutState, Finished]:
        config, limit, envs = self._config, self._spec.episode_limit, self._envs[_TRAINING]
        every = np.arange(config.num_envs)
        key, chunk_key = jax.random.split(state.key[0])
        env_steps = int(state.env_steps[0])
        shares = epsilon(config.exploration, env_steps + config.num_envs * np.arange(config.chunk))
        if self._hidden is None:
            self._hidden = self._initial_hidden()
            envs.begin(every, (env_steps,))
        done = jax.tree.map(lambda x: np.zeros(x.shape[1:], x.dtype), self.finished_shapes())
        if self._history is not None:
            for row, old in zip(done.rows, self._history, strict=True):
                row[:limit] = old[-limit:]
        for k, share in enumerate(np.asarray(shares).tolist()):
            acts = self._decide(weights, chunk_key, k, share, envs, self._hidden)
            self._hidden = acts.hidden
            _write(done.rows, limit + k, envs.seen, acts)
            done.ended[k], lost = envs.step(acts.actions, every, self._reward_scale)
            _write(done.final, k, envs.seen, acts)
            # Rewards and ends belong to the row of what was seen before them.
            done.rows.reward[limit + k] = envs.seen.reward * self._reward_scale
            done.rows.terminated[limit + k] = envs.seen.terminated
            done.length[k] = envs.steps
            done.episode_return[k] = envs.episode_return
            done.won[k] = envs.seen.won
            env_steps += config.num_envs
            envs.begin(np.flatnonzero(done.ended[k] | lost), (env_steps,))
        done.broken[...] = sum(each.broken for each in self._envs.values())
        for each in self._envs.values():
            each.broken = 0
        self._history = done.rows
        state = HostRolloutState(key[None], jnp.full(1, env_steps, jnp.int32))
        return state, jax.tree.map(lambda x: x[None], done)

    def _evaluate(self, weights: tuple, number: int) -> dict[str, np.ndarray]:
        wanted, envs = self._config.eval_episodes, self._envs[_EVALUATION]
        playing = np.arange(self._config.num_envs) < wanted
        begun = int(playing.sum())
        envs.begin(np.flatnonzero(playing), (number,))
        found: dict[str, list[float]] = {"win_rate": [], "return": [], "episode_length": []}
        key, hidden, steps = jax.random.key(0), self._initial_hidden(), 0
        while playing.any():
            acts = self._decide(weights, key, steps, 0.0, envs, hidden)
            hidden = acts.hidden
            ended, lost = envs.step(acts.actions, np.flatnonzero(playing), self._reward_scale)
            steps += 1
            for e in np.flatnonzero(ended):
                found["win_rate"].append(float(envs.seen.won[e]))
                found["return"].append(float(envs.episode_return[e]))
                found["episode_length"].append(float(envs.steps[e]))
            # One that was lost is played again; one that has ended makes room for the next.
            more = np.flatnonzero(ended)[: wanted - begun]
            begun += len(more)
            playing[np.setdiff1d(np.flatnonzero(ended), more)] = False
            envs.begin(np.union1d(more, np.flatnonzero(lost)), (number, steps))
        return {name: np.array([np.mean(values)]) for name, values in found.items()}


def _write(rows: Step, index: int, seen: TimeStep, acts: Acts) -> None:
    """Write what was seen and done into row `index`."""
    rows.obs[index] = seen.obs
    rows.state[index] = seen.state
    rows.avail_actions[index] = np.packbits(seen.avail_actions, axis=-1)
    rows.actions[index] = acts.actions
    rows.greedy[index] = acts.greedy
