"""Play on environments that worker processes step, while the learner learns."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sparl.algorithms import Algorithm
from sparl.compute import Topology, Tree, bind
from sparl.config import Config
from sparl.envs import TimeStep, Workers
from sparl.envs.worker import Broken, Order
from sparl.errors import SparlError
from sparl.nets.inputs import NO_ACTION
from sparl.replay import Step
from sparl.replay.ring import empty_step
from sparl.spec import EnvSpec
from sparl.train.acting import epsilon, explore, greedy_actions, next_q
from sparl.train.rollout import Finished

PATIENCE = 5
"""So many episodes may break in a row, in one environment, before a run gives up."""
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


@dataclass
class _Episodes:
    """`E` environments in the middle of their episodes; arrays of NumPy, which change in place."""

    seen: TimeStep
    last_actions: np.ndarray
    hidden: jax.Array
    fresh: np.ndarray
    steps: np.ndarray
    episode_return: np.ndarray


@dataclass
class HostRollout:
    """Epsilon-greedy interaction with environments that are stepped on the host.

    All of it happens in a thread of its own. `collect` hands over the chunk that this thread has
    made meanwhile and lets it begin the next, with the weights of that moment: the learner then
    makes its updates while workers step. What is collected so depends on the seed and not on who
    was faster.

    Attributes:
        spec: Sizes of the environment.
        algorithm: Whose agents act.
        config: The resolved configuration, of one seed.
        reward_scale: Factor on rewards, before they are stored or summed.
        start_workers: Makes the workers, when they are first needed.
    """

    spec: EnvSpec
    algorithm: Algorithm
    config: Config
    reward_scale: float
    start_workers: Callable[[], Workers]
    _thread: ThreadPoolExecutor = field(init=False)
    _closing: threading.Event = field(default_factory=threading.Event)
    _pending: Future | None = None
    _workers: Workers | None = None
    _episodes: _Episodes | None = None
    _history: Step | None = None
    _notes: deque[str] = field(default_factory=deque)

    def __post_init__(self):
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rollout")
        self._in_a_row = dict.fromkeys(range(2 * self.config.num_envs), 0)
        self.act: Any = jax.jit(self._act)

    def init(self, key: jax.Array) -> HostRolloutState:
        """Before the first step."""
        return HostRolloutState(key, jnp.zeros((), jnp.int32))

    def finished_shapes(self) -> Finished:
        """Shapes and types of what `collect` returns, with a leading axis for its one seed."""
        limit, chunk, envs = self.spec.episode_limit, self.config.chunk, self.config.num_envs

        def zeros() -> Finished:
            def rows(count: int) -> Step:
                row = empty_step(self.spec)
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
        spec, envs = self.spec, self.config.num_envs
        n = spec.num_agents
        return jax.eval_shape(
            lambda: (
                jax.random.key(0),
                jnp.zeros(()),
                jnp.zeros((envs, n, spec.obs_dim)),
                jnp.zeros((envs, n, spec.num_actions), bool),
                jnp.zeros((envs, n), jnp.int32),
                self.algorithm.initial_hidden(envs * n),
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
            SparlError: If an environment breaks again and again.
        """
        weights = jax.tree.map(jnp.copy, (params, topology))  # The learner donates its own.
        pending = self._pending or self._thread.submit(self._chunk, weights, state)
        self._pending = None
        state, finished = pending.result()
        self._pending = self._thread.submit(self._chunk, weights, state)
        return state, finished

    def evaluate(
        self, params: Tree, topology: Topology, seeds: jax.Array, number: Any
    ) -> dict[str, Any]:
        """Play `config.eval_episodes` greedy episodes, in environments that none trains in.

        Returns:
            Means over the episodes, `[1]`: `win_rate`, `return` and `episode_length`.
        """
        del seeds  # There is one, the configuration's.
        play = partial(self._evaluate, params, topology, int(number))
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

    # Acting.

    def _act(
        self,
        params: Tree,
        topology: Topology,
        key: jax.Array,
        share: jax.Array,
        obs: jax.Array,
        avail_actions: jax.Array,
        last_actions: jax.Array,
        hidden: jax.Array,
        fresh: jax.Array,
    ) -> Acts:
        weights = bind(*jax.tree.map(lambda x: x[0], (params, topology)))
        hidden = jnp.where(jnp.repeat(fresh, last_actions.shape[1]), 0, hidden)
        actions = self.spec.num_actions
        q, hidden = next_q(self.algorithm, actions, weights, obs, last_actions, hidden)
        greedy = greedy_actions(q, avail_actions)
        return Acts(greedy, explore(key, greedy, avail_actions, share), hidden)

    def _decide(self, weights: tuple, key: jax.Array, share: float, now: _Episodes) -> Acts:
        acts = self.act(
            *weights,
            key,
            np.float32(share),
            now.seen.obs,
            now.seen.avail_actions,
            now.last_actions,
            now.hidden,
            now.fresh,
        )
        now.hidden = acts.hidden
        return acts._replace(greedy=np.asarray(acts.greedy), actions=np.asarray(acts.actions))

    # Playing.

    def _chunk(self, weights: tuple, state: HostRolloutState) -> tuple[HostRolloutState, Finished]:
        limit, chunk = self.spec.episode_limit, self.config.chunk
        key, chunk_key = jax.random.split(state.key[0])
        keys = jax.random.split(chunk_key, chunk)
        env_steps = int(state.env_steps[0])
        if self._episodes is None:
            self._episodes = self._begin(_TRAINING, (env_steps,))
        now = self._episodes
        done = jax.tree.map(lambda x: np.zeros(x.shape[1:], x.dtype), self.finished_shapes())
        if self._history is not None:
            for row, old in zip(done.rows, self._history, strict=True):
                row[:limit] = old[-limit:]
        for k in range(chunk):
            share = epsilon(self.config.exploration, env_steps)
            acts = self._decide(weights, keys[k], float(share), now)
            _write(done.rows, limit + k, now.seen, acts)
            every = np.arange(self.config.num_envs)
            done.ended[k], broken = self._step(_TRAINING, now, acts.actions, every)
            _write(done.final, k, now.seen, acts)
            # Rewards and ends belong to the row of what was seen before them.
            done.rows.reward[limit + k] = now.seen.reward * self.reward_scale
            done.rows.terminated[limit + k] = now.seen.terminated
            done.length[k] = now.steps
            done.episode_return[k] = now.episode_return
            done.won[k] = now.seen.won
            done.broken[...] += broken.sum()
            env_steps += self.config.num_envs
            self._begin_again(_TRAINING, now, (env_steps,), np.flatnonzero(done.ended[k] | broken))
        self._history = done.rows
        state = HostRolloutState(key[None], jnp.full(1, env_steps, jnp.int32))
        return state, jax.tree.map(lambda x: x[None], done)

    def _evaluate(self, params: Tree, topology: Topology, number: int) -> dict[str, np.ndarray]:
        wanted, envs = self.config.eval_episodes, self.config.num_envs
        key = jax.random.key(0)  # Greedy agents draw nothing.
        now = self._begin(_EVALUATION, (number,))
        begun, playing = min(wanted, envs), np.arange(envs) < wanted
        steps = 0
        found: dict[str, list[float]] = {"win_rate": [], "return": [], "episode_length": []}
        while playing.any():
            acts = self._decide((params, topology), key, 0.0, now)
            ended, broken = self._step(_EVALUATION, now, acts.actions, np.flatnonzero(playing))
            steps += 1
            for e in np.flatnonzero(ended):
                found["win_rate"].append(float(now.seen.won[e]))
                found["return"].append(float(now.episode_return[e]))
                found["episode_length"].append(float(now.steps[e]))
            # One that broke is played again; one that has ended makes room for the next.
            more = np.flatnonzero(ended)[: wanted - begun]
            begun += len(more)
            playing[np.setdiff1d(np.flatnonzero(ended), more)] = False
            again = np.union1d(more, np.flatnonzero(broken))
            self._begin_again(_EVALUATION, now, (number, steps), again)
        return {name: np.array([np.mean(values)]) for name, values in found.items()}

    def _step(
        self, purpose: int, now: _Episodes, actions: np.ndarray, which: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Step environments; whether each one's episode has ended, or broken `[E]`."""
        orders = [Order(self._slot(purpose, e), actions=actions[e]) for e in which]
        broken = self._order(orders, now)
        now.last_actions = actions.astype(np.int32)
        now.fresh[:] = False
        now.steps += 1
        now.episode_return += now.seen.reward * self.reward_scale
        # The limit also where the environment has none, as an episode must fit its place.
        late = now.steps >= self.spec.episode_limit
        ended = np.isin(np.arange(len(broken)), which) & ~broken
        ended &= now.seen.terminated | now.seen.truncated | late
        for e in np.flatnonzero(ended):
            self._in_a_row[self._slot(purpose, e)] = 0
        return ended, broken

    def _begin(self, purpose: int, origin: tuple[int, ...]) -> _Episodes:
        spec, envs = self.spec, self.config.num_envs
        n = spec.num_agents
        now = _Episodes(
            seen=TimeStep(
                obs=np.zeros((envs, n, spec.obs_dim), np.float32),
                state=np.zeros((envs, spec.state_dim), np.float32),
                avail_actions=np.ones((envs, n, spec.num_actions), bool),
                reward=np.zeros(envs, np.float32),
                terminated=np.zeros(envs, bool),
                truncated=np.zeros(envs, bool),
                won=np.zeros(envs, bool),
            ),
            last_actions=np.full((envs, n), NO_ACTION, np.int32),
            hidden=self.algorithm.initial_hidden(envs * n),
            fresh=np.ones(envs, bool),
            steps=np.zeros(envs, np.int32),
            episode_return=np.zeros(envs, np.float32),
        )
        self._begin_again(purpose, now, origin, np.arange(envs))
        return now

    def _begin_again(
        self, purpose: int, now: _Episodes, origin: tuple[int, ...], which: np.ndarray
    ) -> None:
        """Begin new episodes, as often as it takes."""
        now.last_actions[which] = NO_ACTION
        now.fresh[which] = True
        now.steps[which] = 0
        now.episode_return[which] = 0
        attempt = 0
        while len(which):
            orders = []
            for e in which:
                source = (self.config.seed, purpose, *origin, int(e), attempt)
                seed = int(np.random.SeedSequence(source).generate_state(1)[0])
                orders.append(Order(self._slot(purpose, e), seed=seed))
            which = which[self._order(orders, now)[which]]
            attempt += 1

    def _order(self, orders: list[Order], now: _Episodes) -> np.ndarray:
        """Have orders carried out and take in what was seen; which have broken `[E]`."""
        if self._closing.is_set():
            raise SparlError("the environments are closed")
        if self._workers is None:
            self._workers = self.start_workers()
        broken = np.zeros(self.config.num_envs, bool)
        for slot, answer in self._workers.play(orders).items():
            e = slot % self.config.num_envs
            if isinstance(answer, Broken):
                broken[e] = True
                self._count_broken(slot, answer.reason)
                continue
            for into, value in zip(now.seen, answer, strict=True):
                into[e] = value
        return broken

    def _count_broken(self, slot: int, reason: str) -> None:
        self._in_a_row[slot] += 1
        env = f"environment {slot % self.config.num_envs} ({self.config.env})"
        self._notes.append(f"{env} broke: {reason}. Its episode is lost; it begins another one")
        if self._in_a_row[slot] >= PATIENCE:
            raise SparlError(f"{env} broke {PATIENCE} times in a row, at last: {reason}")

    def _slot(self, purpose: int, e: Any) -> int:
        return purpose * self.config.num_envs + int(e)


def _write(rows: Step, index: int, seen: TimeStep, acts: Acts) -> None:
    """Write what was seen and done into row `index`."""
    rows.obs[index] = seen.obs
    rows.state[index] = seen.state
    rows.avail_actions[index] = np.packbits(seen.avail_actions, axis=-1)
    rows.actions[index] = acts.actions
    rows.greedy[index] = acts.greedy
