"""SMAX: StarCraft-like micromanagement in JAX (Rutherford et al., NeurIPS 2024)."""

import contextlib
import io
import sys
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

from sparl.envs import smax_map
from sparl.envs.base import TimeStep
from sparl.envs.smax_map import SmaxMap
from sparl.errors import unknown_name
from sparl.spec import EnvSpec

# On import, jaxmarl prints which of its optional parts are there, after pointing sys.stdout and
# sys.stderr at the process's own streams.
with (
    contextlib.redirect_stdout(io.StringIO()) as silence,
    contextlib.redirect_stderr(sys.stderr),
    mock.patch.object(sys, "__stdout__", silence),
):
    from jaxmarl.environments.smax import SMAX, HeuristicEnemySMAX
    from jaxmarl.environments.smax.smax_env import MAP_NAME_TO_SCENARIO, Scenario


class Smax:
    """One SMAX map against the heuristic enemy.

    What differs from `jaxmarl`'s own environment: the world state lies in [0, 1], each unit as it
    sees itself (positions are raw there, and the cooldown of a weapon that nobody fires falls on
    below zero, to -20 and beyond; a mixer fed with either diverges); a time limit is told apart
    from the end of a battle, and strikes at the limit rather than a step later; nothing resets by
    itself, so the final observation is there to bootstrap from.

    Args:
        map_name: Any map that `jaxmarl` knows, e.g. `"3s5z"`; `"2c_vs_64zg"`; or the path of a
            map's file, which ends in `.toml`.

    Raises:
        InputError: If the map is unknown, or its file will not do.
    """

    def __init__(self, map_name: str):
        self._env = _battle(map_name)
        self._agents = self._env.agents
        inner = self._env._env
        allies = jnp.asarray(inner.scenario)[: inner.num_allies].tolist()
        drawn = inner.smacv2_unit_type_generation  # Anew for every episode.
        self.spec = EnvSpec(
            num_agents=inner.num_allies,
            num_actions=inner.num_ally_actions,
            obs_dim=inner.obs_size,
            state_dim=inner.state_size,
            episode_limit=inner.max_steps,
            reward_scale=10.0,
            agent_types=() if drawn else tuple(inner.unit_type_names[i] for i in allies),
        )
        # world_state lists own_features per unit (health, x, y, cooldown, type bits), then all
        # teams, then all type ids.
        features, units = len(inner.own_features), inner.num_agents
        unit = jnp.ones(features)
        unit = unit.at[1:3].set(1 / jnp.array([inner.map_width, inner.map_height]))
        self._cooldowns = 3 + features * jnp.arange(units)
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
            state=self._scaled(obs["world_state"], state.state.unit_types),
            avail_actions=jnp.stack([avail[agent] for agent in self._agents]).astype(bool),
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            won=jnp.zeros((), bool),
        )

    def _scaled(self, world_state: jax.Array, unit_types: jax.Array) -> jax.Array:
        whole = self._env._env.unit_type_weapon_cooldowns[unit_types]
        scaled = world_state * self._state_scale
        cooldowns = jnp.clip(scaled[self._cooldowns] / whole, 0, 1)
        return scaled.at[self._cooldowns].set(cooldowns)


MAKERS = {"smax": Smax}
"""The one interface of this module."""


def _battle(map_name: str) -> HeuristicEnemySMAX:
    """The environment of `jaxmarl` for a map."""
    options: dict[str, Any] = {
        "see_enemy_actions": True,
        "walls_cause_death": True,
        "attack_mode": "closest",
    }
    if map_name in MAP_NAME_TO_SCENARIO:
        return HeuristicEnemySMAX(scenario=MAP_NAME_TO_SCENARIO[map_name], **options)
    shipped = smax_map.shipped()
    if not map_name.endswith(".toml") and map_name not in shipped:
        raise unknown_name("SMAX map", map_name, [*MAP_NAME_TO_SCENARIO, *shipped])
    source = Path(map_name) if map_name.endswith(".toml") else shipped[map_name]
    described = smax_map.load(source, SMAX)
    options |= _arguments(described)
    env = HeuristicEnemySMAX(**options)
    beams = jnp.array([described.beams[name] for name in described.stats])
    if beams.any():
        del options["attack_mode"]
        env._env = _BeamSMAX(beams, **options)
    return env


def _arguments(described: SmaxMap) -> dict[str, Any]:
    """What SMAX's constructor takes for a map."""
    names = list(described.stats)
    units = (*described.allies, *described.enemies)
    types = jnp.array([names.index(name) for name in units], jnp.uint8)
    scenario = Scenario(types, len(described.allies), len(described.enemies), False, False)
    arrays = {
        array: jnp.array([described.stats[name][stat] for name in names])
        for stat, array in smax_map.PARAMETERS.items()
    }
    shorthands = [name[:1] for name in names]
    named = {"unit_type_names": names, "unit_type_shorthands": shorthands, "scenario": scenario}
    return arrays | named | described.sizes


class _BeamSMAX(SMAX):
    """SMAX where a shot of some unit types burns a line across the line of fire.

    As the colossus of StarCraft II: enemies that the line touches lose as much as the target.

    Args:
        beams: Width and depth of each unit type's line `[types, 2]`, 0 where it has none.
        options: SMAX's own.
    """

    def __init__(self, beams: jax.Array, **options: Any):
        super().__init__(**options)
        self.beams = beams

    @partial(jax.jit, static_argnums=(0,))
    def _world_step(self, key: jax.Array, state: Any, actions: Any) -> Any:
        after = super()._world_step(key, state, actions)
        # Only a shot raises a cooldown.
        fired = after.unit_weapon_cooldowns > state.unit_weapon_cooldowns
        unit = jnp.arange(self.num_agents)
        aimed = actions[1] - self.num_movement_actions
        # Each side counts the other from the front.
        ally = unit < self.num_allies
        target = jnp.where(ally, self.num_allies + aimed, self.num_allies - 1 - aimed)
        target = jnp.where(fired, target, unit)

        place = state.unit_positions
        towards = place[target] - place
        length = jnp.linalg.norm(towards, axis=-1, keepdims=True)
        towards = towards / jnp.maximum(length, 1e-6)
        apart = place[None] - place[target][:, None]  # [shooter, unit, 2]
        along = jnp.abs(jnp.sum(apart * towards[:, None], axis=-1))
        sideways = jnp.stack([-towards[:, 1], towards[:, 0]], axis=-1)
        across = jnp.abs(jnp.sum(apart * sideways[:, None], axis=-1))
        width, depth = self.beams[state.unit_types].T[..., None]
        gap = jnp.stack([jnp.maximum(across - width / 2, 0), jnp.maximum(along - depth / 2, 0)])
        radius = self.unit_type_radiuses[state.unit_types]
        touched = jnp.sum(gap**2, axis=0) <= radius**2
        enemies = state.unit_teams[:, None] != state.unit_teams
        hit = touched & enemies & state.unit_alive & (unit != target[:, None])
        burns = fired & (width[:, 0] > 0)
        damage = jnp.where(burns, self.unit_type_attacks[state.unit_types], 0.0) @ hit
        return after.replace(unit_health=jnp.maximum(after.unit_health - damage, 0.0))
