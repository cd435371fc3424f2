"""Play on environments that worker processes step, while the learner learns."""

import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from sparl.compute import Topology, Tree
from sparl.config import Config
from sparl.envs import Workers
from sparl.errors import SparlError
from sparl.spec import ControlSpec, EnvSpec
from sparl.train.host_envs import HostEnvs

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
    """What is done in `E` environments.

    Attributes:
        greedy: What is held for best `[E, ...]`.
        actions: What is done `[E, ...]`.
        memory: What the next decision is to know of this one.
    """

    greedy: Any
    actions: Any
    memory: Any


class Recorder(Protocol):
    """Takes down one chunk."""

    def acted(self, k: int, envs: HostEnvs, acts: Acts) -> None:
        """At step `k`, before the environments take it."""
        ...

    def stepped(
        self, k: int, envs: HostEnvs, acts: Acts, ended: np.ndarray, lost: np.ndarray
    ) -> None:
        """After it, before others begin in place of episodes that have ended or are lost `[E]`."""
        ...

    def finish(self, envs: HostEnvs, broken: int) -> Any:
        """What the learner is handed, arrays without an axis of seeds."""
        ...


class Player(Protocol):
    """Decides what is done, and says how it is taken down."""

    def prepare(self, params: Tree, topology: Topology) -> Any:
        """What `act` needs of parameters and links with an axis of seeds, as copies."""
        ...

    def act(
        self,
        weights: Any,
        key: jax.Array,
        step: Any,
        exploration: Any,
        obs: Any,
        avail_actions: Any,
        fresh: Any,
        memory: Any,
    ) -> Acts:
        """Decide in all environments.

        Args:
            weights: Of `prepare`.
            key: Random key of a chunk.
            step: Its step.
            exploration: See `exploration`.
            obs: What is seen `[E, ...]`.
            avail_actions: Likewise.
            fresh: Whether it is the first of an episode `[E]`.
            memory: Of the last decision.
        """
        ...

    def memory(self) -> Any:
        """Before the first step."""
        ...

    def exploration(self, env_steps: np.ndarray) -> np.ndarray:
        """How the player explores after `env_steps`, one number for each; 0 is not at all."""
        ...

    def record(self) -> Recorder:
        """For the next chunk."""
        ...

    def nothing(self) -> Any:
        """What a recorder of a chunk begins with: zeros for it to write into."""
        ...


class HostRollout:
    """Interaction with environments that are stepped on the host.

    All of it happens in a thread of its own. `collect` hands over the chunk that this thread has
    made meanwhile and lets it begin the next, with the weights of that moment: the learner then
    makes its updates while workers step. What is collected so depends on the seed and not on who
    was faster.

    Args:
        spec: Sizes of the environment.
        player: Decides what is done.
        config: The resolved configuration, of one seed.

    Attributes:
        player: The player.
    """

    def __init__(
        self,
        spec: EnvSpec | ControlSpec,
        player: Player,
        config: Config,
    ):
        self.player = player
        self._config = config
        self._can_win = isinstance(spec, EnvSpec)
        self._reward_scale = config.reward_scale or spec.reward_scale
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
        self._memory: Any = None

    def init(self, key: jax.Array) -> HostRolloutState:
        """Before the first step."""
        return HostRolloutState(key, jnp.zeros((), jnp.int32))

    def finished_shapes(self) -> Any:
        """Shapes and types of what `collect` returns, with a leading axis for its one seed."""
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), self.player.nothing()
        )

    def collect(
        self, params: Tree, topology: Topology, state: HostRolloutState
    ) -> tuple[HostRolloutState, Any]:
        """A chunk of steps of every environment.

        Args:
            params: Weights for the chunk after this one, and for this one if it is the first.
            topology: Their links.
            state: What the last call returned.

        Returns:
            The next state, and what the player's recorder made of the chunk.

        Raises:
            BrokenEnvironmentError: If an environment breaks again and again.
        """
        weights = self.player.prepare(params, topology)  # The learner donates its own.
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
            Means over the episodes, `[1]`: `return`, `episode_length` and, of teams, `win_rate`.

        Raises:
            BrokenEnvironmentError: If an environment breaks again and again.
        """
        del seeds  # There is one, the configuration's.
        play = partial(self._evaluate, self.player.prepare(params, topology), int(number))
        return self._thread.submit(play).result()

    def warm_up(self, params: Tree, topology: Topology) -> None:
        """Compile what acts, by one decision about nothing."""
        envs, weights = self._envs[_EVALUATION], self.player.prepare(params, topology)
        self._decide(weights, jax.random.key(0), 0, 0.0, envs, self.player.memory())

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
            config = self._config
            # Whoever has a cluster has one for all of them.
            most = config.num_envs if config.workers == "ray" else os.cpu_count() or 1
            self._workers = Workers(
                config.env,
                count=min(config.num_envs, config.num_workers or most),
                kind=config.workers,
                timeout=config.env_timeout,
            )
        return self._workers

    def _decide(
        self,
        weights: Any,
        key: jax.Array,
        step: int,
        exploration: float,
        envs: HostEnvs,
        memory: Any,
    ) -> Acts:
        seen = (envs.seen.obs, envs.seen.avail_actions)
        acts = self.player.act(
            weights, key, np.int32(step), np.float32(exploration), *seen, envs.fresh, memory
        )
        return acts._replace(greedy=np.asarray(acts.greedy), actions=np.asarray(acts.actions))

    def _chunk(self, weights: Any, state: HostRolloutState) -> tuple[HostRolloutState, Any]:
        config, envs = self._config, self._envs[_TRAINING]
        every = np.arange(config.num_envs)
        key, chunk_key = jax.random.split(state.key[0])
        env_steps = int(state.env_steps[0])
        explored = self.player.exploration(env_steps + config.num_envs * np.arange(config.chunk))
        if self._memory is None:
            self._memory = self.player.memory()
            envs.begin(every, (env_steps,))
        recorder = self.player.record()
        for k, exploration in enumerate(explored.tolist()):
            acts = self._decide(weights, chunk_key, k, exploration, envs, self._memory)
            self._memory = acts.memory
            recorder.acted(k, envs, acts)
            ended, lost = envs.step(acts.actions, every, self._reward_scale)
            recorder.stepped(k, envs, acts, ended, lost)
            env_steps += config.num_envs
            envs.begin(np.flatnonzero(ended | lost), (env_steps,))
        broken = sum(each.broken for each in self._envs.values())
        for each in self._envs.values():
            each.broken = 0
        finished = recorder.finish(envs, broken)
        state = HostRolloutState(key[None], jnp.full(1, env_steps, jnp.int32))
        return state, jax.tree.map(lambda x: x[None], finished)

    def _evaluate(self, weights: Any, number: int) -> dict[str, np.ndarray]:
        wanted, envs = self._config.eval_episodes, self._envs[_EVALUATION]
        playing = np.arange(self._config.num_envs) < wanted
        begun = int(playing.sum())
        envs.begin(np.flatnonzero(playing), (number,))
        found: dict[str, list[float]] = {"win_rate": [], "return": [], "episode_length": []}
        key, memory, steps = jax.random.key(0), self.player.memory(), 0
        while playing.any():
            acts = self._decide(weights, key, steps, 0.0, envs, memory)
            memory = acts.memory
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
        if not self._can_win:
            del found["win_rate"]
        return {name: np.array([np.mean(values)]) for name, values in found.items()}
