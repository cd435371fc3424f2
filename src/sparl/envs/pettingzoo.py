"""PettingZoo's parallel API (Terry et al., 2021), such as the particle environments of MPE."""

import pkgutil
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete

from sparl.envs.base import TimeStep
from sparl.envs.padding import pad, possible
from sparl.envs.requirements import require
from sparl.errors import InputError, unknown_name
from sparl.spec import EnvSpec


class Parallel:
    """All agents of a parallel environment as one team.

    The team's reward is the sum of the agents'. Shorter observations are padded with zeros, actions
    that an agent lacks are unavailable to it. The state is the environment's own, or all
    observations where it has none that is a vector. An agent that has left sees zeros and has its
    first action alone; the episode lasts as long as any agent does.

    Args:
        env: The environment.
        episode_limit: Longest episode in steps; the environment's own if it is shorter.

    Raises:
        InputError: If a space is not one that a Q-network can have.
    """

    def __init__(self, env: Any, episode_limit: int):
        self._env = env
        self._agents = list(env.possible_agents)
        actions = [env.action_space(agent) for agent in self._agents]
        views = [env.observation_space(agent) for agent in self._agents]
        for agent, action, view in zip(self._agents, actions, views, strict=True):
            if not isinstance(action, Discrete) or action.start != 0:
                raise InputError(
                    f"agent {agent!r} has the action space {action}: Q-learning needs a discrete "
                    "one from 0 on, which is often an option of the environment"
                )
            if not _is_vector(view):
                raise InputError(f"agent {agent!r} must observe a vector, got {view}")
        self._obs_dim = max(view.shape[0] for view in views)
        self._can = possible([int(action.n) for action in actions])
        self._state = _is_vector(getattr(env, "state_space", None))
        self.spec = EnvSpec(
            num_agents=len(views),
            num_actions=self._can.shape[1],
            obs_dim=self._obs_dim,
            state_dim=env.state_space.shape[0] if self._state else self._obs_dim * len(views),
            episode_limit=episode_limit,
        )

    def reset(self, seed: int) -> TimeStep:
        """Begin an episode."""
        obs, _ = self._env.reset(seed=seed)
        return self._seen(obs, 0.0, terminated=False, truncated=False)

    def step(self, actions: Any) -> TimeStep:
        """Take one step."""
        chosen = dict(zip(self._agents, map(int, actions), strict=True))
        obs, rewards, terminated, _, _ = self._env.step(
            {agent: chosen[agent] for agent in self._env.agents}
        )
        ended = not self._env.agents
        # The last to leave tell why the episode has ended.
        by_itself = ended and any(terminated.values())
        reward = float(sum(rewards.values()))
        return self._seen(obs, reward, terminated=by_itself, truncated=ended and not by_itself)

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _seen(
        self, obs: dict[Any, Any], reward: float, *, terminated: bool, truncated: bool
    ) -> TimeStep:
        seen = pad([obs.get(agent, ()) for agent in self._agents], self._obs_dim)
        here = np.array([agent in self._env.agents for agent in self._agents])
        first = np.arange(self._can.shape[1]) == 0
        state = np.asarray(self._env.state(), np.float32) if self._state else seen.reshape(-1)
        return TimeStep(
            obs=seen,
            state=state,
            avail_actions=np.where(here[:, None], self._can, first),
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            won=False,
        )


def make(name: str) -> Parallel:
    """A module with a `parallel_env`: `"simple_spread_v3"` of MPE, or `"package.module"`.

    Raises:
        InputError: If it cannot be imported or has none, or its spaces will not do.
    """
    module_name = name if "." in name else f"mpe2.{name}"
    require("pettingzoo", "pettingzoo", "pip install mpe2")
    package = module_name.partition(".")[0]
    around = require(package, "pettingzoo", f"pip install {package}")
    names = [module.name for module in pkgutil.iter_modules(around.__path__)]
    inside = [f"{package}.{name}" for name in names if not name.startswith("_")]
    if module_name.count(".") == 1 and module_name not in inside:
        raise unknown_name("PettingZoo module", module_name, inside)
    module = require(module_name, "pettingzoo", f"choose another one of {package}")
    if not hasattr(module, "parallel_env"):
        raise InputError(f"{module_name} has no `parallel_env`: it does not speak that API")
    env = module.parallel_env()
    return Parallel(env, getattr(env.unwrapped, "max_cycles", 1000))


MAKERS = {"pettingzoo": make}
"""The one interface of this module."""


def _is_vector(space: Any) -> bool:
    return len(getattr(space, "shape", None) or ()) == 1
