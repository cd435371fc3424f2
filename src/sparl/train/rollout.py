"""Step the environments inside the compiled program and hand back finished episodes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sparl.algorithms import Algorithm
from sparl.compute import Tree
from sparl.config import ExplorationConfig
from sparl.envs import JaxEnv, TimeStep
from sparl.nets.inputs import NO_ACTION
from sparl.replay import Step
from sparl.replay.ring import action_type, empty_step
from sparl.train.acting import epsilon, explore, greedy_actions, next_q


class RolloutState(NamedTuple):
    """`E` environments in the middle of their episodes, `n` agents, `C = E n` columns.

    Attributes:
        env_state: The environments' states, leaves `[E, ...]`.
        seen: What was seen last, leaves `[E, ...]`.
        hidden: The agents' hidden states `[h, C]`.
        last_actions: Integers `[E, n]`.
        steps: Steps of each running episode so far `[E]`.
        episode_return: Undiscounted return of each running episode so far `[E]`.
        history: The last rows of every environment, leaves `[episode_limit, E, ...]`.
        key: Random key.
        env_steps: Env steps so far, all environments together.
    """

    env_state: Any
    seen: TimeStep
    hidden: jax.Array
    last_actions: jax.Array
    steps: jax.Array
    episode_return: jax.Array
    history: Step
    key: jax.Array
    env_steps: jax.Array


class Finished(NamedTuple):
    """Episodes that ended during `K` steps, and the rows that they are cut from.

    Attributes:
        rows: Leaves `[episode_limit + K, E, ...]`.
        final: What was seen after each step, before any reset; leaves `[K, E, ...]`, of which
            `obs`, `state` and `avail_actions` mean something.
        ended: Boolean `[K, E]`: an episode ended at this step.
        length: Its steps `[K, E]`.
        episode_return: Its undiscounted return `[K, E]`.
        won: Whether it was won `[K, E]`.
        broken: How many episodes were lost to a crash or a hang; `None` where that cannot be.
    """

    rows: Step
    final: Step
    ended: Any
    length: Any
    episode_return: Any
    won: Any
    broken: Any = None


@dataclass(frozen=True)
class Rollout:
    """Epsilon-greedy interaction of one algorithm with one environment.

    Attributes:
        env: The environment, vectorised here.
        algorithm: Whose agents act.
        num_envs: `E`.
        chunk: `K`, steps of every environment per call.
        reward_scale: Factor on rewards, before they are stored or summed.
        exploration: The schedule of epsilon.
        anywhere: Whether a condition holds for any seed; see `sparl.train.seeds.any_seed`.
    """

    env: JaxEnv
    algorithm: Algorithm
    num_envs: int
    chunk: int
    reward_scale: float
    exploration: ExplorationConfig
    anywhere: Callable[[jax.Array], jax.Array]

    def init(self, key: jax.Array) -> RolloutState:
        """All environments at the start of an episode."""
        key, reset_key = jax.random.split(key)
        env_state, seen = self._reset(reset_key)
        spec, envs = self.env.spec, self.num_envs
        limit = spec.episode_limit
        return RolloutState(
            env_state=env_state,
            seen=seen,
            hidden=self.algorithm.initial_hidden(spec.num_agents * envs),
            last_actions=jnp.full((envs, spec.num_agents), NO_ACTION),
            steps=jnp.zeros(envs, jnp.int32),
            episode_return=jnp.zeros(envs),
            history=jax.tree.map(
                lambda x: jnp.zeros((limit, envs, *x.shape), x.dtype), empty_step(spec)
            ),
            key=key,
            env_steps=jnp.zeros((), jnp.int32),
        )

    def collect(self, weights: Tree, state: RolloutState) -> tuple[RolloutState, Finished]:
        """Step every environment `chunk` times with the epsilon-greedy policy of `weights`."""
        state, (rows, final, ended, length, returns, won) = jax.lax.scan(
            lambda s, _: self._step(weights, s), state, length=self.chunk
        )
        rows = jax.tree.map(lambda old, new: jnp.concatenate([old, new]), state.history, rows)
        limit = self.env.spec.episode_limit
        state = state._replace(history=jax.tree.map(lambda x: x[-limit:], rows))
        return state, Finished(rows, final, ended, length, returns, won)

    def evaluate(self, weights: Tree, key: jax.Array, episodes: int) -> dict[str, jax.Array]:
        """Play `episodes` greedy episodes from fresh environments.

        Returns:
            Means over the episodes: `win_rate`, `return` and `episode_length`.
        """
        reset_key, step_key = jax.random.split(key)
        env_state, seen = jax.vmap(self.env.reset)(jax.random.split(reset_key, episodes))
        n = self.env.spec.num_agents

        def step(carry: tuple, key: jax.Array) -> tuple[tuple, None]:
            env_state, seen, hidden, last, running, total, length, won = carry
            q, hidden = self._q(weights, seen, last, hidden)
            actions = greedy_actions(q, seen.avail_actions)
            keys = jax.random.split(key, episodes)
            env_state, seen = jax.vmap(self.env.step)(keys, env_state, actions)
            total = total + jnp.where(running, seen.reward * self.reward_scale, 0)
            length = length + running
            won = won | (running & seen.won)
            running = running & ~(seen.terminated | seen.truncated)
            return (env_state, seen, hidden, actions, running, total, length, won), None

        carry = (
            env_state,
            seen,
            self.algorithm.initial_hidden(n * episodes),
            jnp.full((episodes, n), NO_ACTION),
            jnp.ones(episodes, bool),
            jnp.zeros(episodes),
            jnp.zeros(episodes, jnp.int32),
            jnp.zeros(episodes, bool),
        )
        keys = jax.random.split(step_key, self.env.spec.episode_limit)
        (*_, total, length, won), _ = jax.lax.scan(step, carry, keys)
        return {
            "win_rate": jnp.mean(won.astype(jnp.float32)),
            "return": jnp.mean(total),
            "episode_length": jnp.mean(length.astype(jnp.float32)),
        }

    def _step(self, weights: Tree, state: RolloutState) -> tuple[RolloutState, tuple]:
        key, act_key, step_key, reset_key = jax.random.split(state.key, 4)
        envs = self.num_envs

        # Acting.
        q, hidden = self._q(weights, state.seen, state.last_actions, state.hidden)
        share = epsilon(self.exploration, state.env_steps)
        greedy = greedy_actions(q, state.seen.avail_actions)
        actions = explore(act_key, greedy, state.seen.avail_actions, share)

        # Stepping.
        keys = jax.random.split(step_key, envs)
        env_state, seen = jax.vmap(self.env.step)(keys, state.env_state, actions)
        reward = seen.reward * self.reward_scale
        steps = state.steps + 1
        # The limit also where the environment has none, as an episode must fit its place.
        ended = seen.terminated | seen.truncated | (steps >= self.env.spec.episode_limit)
        episode_return = state.episode_return + reward
        before = _row(state.seen, actions, greedy, reward, seen.terminated)
        after = _row(seen, actions, greedy, reward, seen.terminated)
        record = (before, after, ended, steps, episode_return, seen.won)

        # Starting anew where an episode has ended.
        def restart(current: tuple) -> tuple:
            fresh = self._reset(reset_key)
            return jax.tree.map(lambda new, old: _where(ended, new, old), fresh, current)

        env_state, seen = jax.lax.cond(
            self.anywhere(jnp.any(ended)), restart, lambda current: current, (env_state, seen)
        )
        fresh_columns = jnp.repeat(ended, self.env.spec.num_agents)
        return RolloutState(
            env_state=env_state,
            seen=seen,
            hidden=jnp.where(fresh_columns, 0, hidden),
            last_actions=jnp.where(ended[:, None], NO_ACTION, actions),
            steps=jnp.where(ended, 0, steps),
            episode_return=jnp.where(ended, 0, episode_return),
            history=state.history,
            key=key,
            env_steps=state.env_steps + envs,
        ), record

    def _reset(self, key: jax.Array) -> tuple[Any, TimeStep]:
        return jax.vmap(self.env.reset)(jax.random.split(key, self.num_envs))

    def _q(
        self, weights: Tree, seen: TimeStep, last_actions: jax.Array, hidden: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        actions = self.env.spec.num_actions
        return next_q(self.algorithm, actions, weights, seen.obs, last_actions, hidden)


def cut_episode(finished: Finished, index: jax.Array) -> tuple[Step, jax.Array]:
    """The rows of one finished episode.

    Args:
        finished: What `collect` returned.
        index: Which step and environment, as a position in `ended.reshape(-1)`.

    Returns:
        Rows `[episode_limit + 1, ...]`, its steps first and then what it saw last, and its length.
    """
    chunk, envs = finished.ended.shape
    k, e = index // envs, index % envs
    length = finished.length[k, e]
    limit = finished.rows.reward.shape[0] - chunk
    # Step k is row limit + k; rows beyond the newest repeat it and mean nothing.
    index_of_row = limit + k - length + 1 + jnp.arange(limit + 1)

    def cut(rows: jax.Array, final: jax.Array) -> jax.Array:
        episode = jnp.take(rows[:, e], index_of_row, axis=0, mode="clip")
        return jax.lax.dynamic_update_index_in_dim(episode, final[k, e], length, axis=0)

    return jax.tree.map(cut, finished.rows, finished.final), length


def _row(
    seen: TimeStep,
    actions: jax.Array,
    greedy: jax.Array,
    reward: jax.Array,
    terminated: jax.Array,
) -> Step:
    as_stored = action_type(seen.avail_actions.shape[-1])
    return Step(
        obs=seen.obs.astype(jnp.float16),
        state=seen.state.astype(jnp.float16),
        avail_actions=jnp.packbits(seen.avail_actions, axis=-1),
        actions=actions.astype(as_stored),
        greedy=greedy.astype(as_stored),
        reward=reward.astype(jnp.float32),
        terminated=terminated,
    )


def _where(condition: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.where(condition.reshape(-1, *[1] * (x.ndim - 1)), x, y)
