"""SMAX: StarCraft-like micromanagement in JAX (Rutherford et al., NeurIPS 2024)."""

import contextlib
import io
import sys
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

from sparl.envs.base import TimeStep
from sparl.errors import unknown_name
from sparl.spec import EnvSpec

# On import, jaxmarl prints which of its optional parts are there, after pointing sys.stdout and
# sys.stderr at the process's own streams.
with (
    contextlib.redirect_stdout(io.StringIO()) as silence,
    contextlib.redirect_stderr(sys.stderr),
    mock.patch.object(sys, "__stdout__", silence),
):
    from jaxmarl.environments.smax import HeuristicEnemySMAX, map_name_to_scenario
    from jaxmarl.environments.smax.smax_env import MAP_NAME_TO_SCENARIO


class Smax:
    """One SMAX map against the heuristic enemy.

    What differs from `jaxmarl`'s own environment: the world state is scaled to about one
    (positions are raw there, and a mixer fed with them diverges); a time limit is told apart from
    the end of a battle, and strikes at the limit rather than a step later; nothing resets by
    itself, so the final observation is there to bootstrap from.

    Args:
        map_name: Any map that `jaxmarl` knows, e.g. `"3s5z"`.

    Raises:
        InputError: If the map is unknown.
    """

    def __init__(self, map_name: str):
        if map_name not in MAP_NAME_TO_SCENARIO:
            raise unknown_name("SMAX map", map_name, MAP_NAME_TO_SCENARIO)
        self._env = HeuristicEnemySMAX(
            scenario=map_name_to_scenario(map_name),
            see_enemy_actions=True,
            walls_cause_death=True,
            attack_mode="closest",
        )
        self._agents = self._env.agents
        inner = self._env._env
        self.spec = EnvSpec(
            num_agents=inner.num_allies,
            num_actions=inner.num_ally_actions,
            obs_dim=inner.obs_size,
            state_dim=inner.state_size,
            episode_limit=inner.max_steps,
        )
        # world_state lists own_features per unit (health, x, y, cooldown, type bits), then all
        # teams, then all type ids.
        unit = jnp.ones(len(inner.own_features))
        unit = unit.at[1:3].set(1 / jnp.array([inner.map_width, inner.map_height]))
        units = inner.num_agents
        self._state_scale = jnp.concatenate(
            [jnp.tile(unit, units), jnp.ones(units), jnp.full(units, 1 / inner.unit_type_bits)]
        )

    def reset(self, key: jax.Array) -> tuple[Any, TimeStep]:
        """Begin a battle."""
        obs, state = self._env.reset(key)
        # Leaves come weakly typed and would make a compiled loop compile twice.
        state = jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), state)
        false = jnp.zeros((), bool)
        return state, self._time_step(obs, state, jnp.zeros(()), false, false)

    def step(self, key: jax.Array, state: Any, actions: jax.Array) -> tuple[Any, TimeStep]:
        """Take one step (eight ticks of the battle)."""
        by_agent = {agent: actions[i] for i, agent in enumerate(self._agents)}
        obs, state, reward, _, _ = self._env.step_env(key, state, by_agent)
        alive = state.state.unit_alive
        ally = jnp.any(alive[: self._env.num_allies])
        enemy = jnp.any(alive[self._env.num_allies :])
        terminated = ~ally | ~enemy
        # jaxmarl looks at the time before it counts the step, and so plays one more than its limit.
        truncated = (state.state.step >= self.spec.episode_limit) & ~terminated
        time_step = self._time_step(obs, state, reward[self._agents[0]], terminated, truncated)
        return state, time_step._replace(won=ally & ~enemy)

    def _time_step(
        self,
        obs: dict[str, jax.Array],
        state: Any,
        reward: jax.Array,
        terminated: jax.Array,
        truncated: jax.Array,
    ) -> TimeStep:
        avail = self._env.get_avail_actions(state)
        return TimeStep(
            obs=jnp.stack([obs[agent] for agent in self._agents]),
            state=obs["world_state"] * self._state_scale,
            avail_actions=jnp.stack([avail[agent] for agent in self._agents]).astype(bool),
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            won=jnp.zeros((), bool),
        )
