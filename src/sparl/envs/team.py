"""Gymnasium environments that speak of a team as tuples: level-based foraging and warehouses."""

from collections.abc import Callable
from typing import Any

import numpy as np

from sparl.envs.base import TimeStep
from sparl.envs.padding import pad, possible
from sparl.envs.requirements import require
from sparl.errors import unknown_name
from sparl.spec import EnvSpec


class Team:
    """A Gymnasium environment whose observations, actions and rewards have one entry per agent.

    The team's reward is the sum of the agents', the state all observations. These environments
    say that they have terminated when time runs out; here that is a truncation.

    Args:
        env: The environment.
        episode_limit: Its time limit.
        done: Of the environment, whether its task is done, which ends an episode before its time.
        clear: Lets the environment forget its last episode, where a reset does not.
    """

    def __init__(
        self,
        env: Any,
        episode_limit: int,
        *,
        done: Callable[[Any], bool] = lambda _: False,
        clear: Callable[[Any], None] = lambda _: None,
    ):
        self._env, self._done, self._clear = env, done, clear
        views = env.observation_space.spaces
        self._obs_dim = max(view.shape[0] for view in views)
        self._can = possible([int(space.n) for space in env.action_space.spaces])
        self.spec = EnvSpec(
            num_agents=len(views),
            num_actions=self._can.shape[1],
            obs_dim=self._obs_dim,
            state_dim=self._obs_dim * len(views),
            episode_limit=episode_limit,
        )

    def reset(self, seed: int) -> TimeStep:
        """Begin an episode."""
        self._clear(self._env.unwrapped)
        obs, _ = self._env.reset(seed=seed)
        return self._seen(obs, 0.0, ended=False)

    def step(self, actions: Any) -> TimeStep:
        """Take one step."""
        obs, rewards, terminated, truncated, _ = self._env.step(tuple(map(int, actions)))
        return self._seen(obs, float(np.sum(rewards)), ended=bool(terminated or truncated))

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _seen(self, obs: Any, reward: float, *, ended: bool) -> TimeStep:
        seen = pad(obs, self._obs_dim)
        done = ended and self._done(self._env.unwrapped)
        return TimeStep(
            obs=seen,
            state=seen.reshape(-1),
            avail_actions=self._can,
            reward=reward,
            terminated=done,
            truncated=ended and not done,
            won=done,
        )


def foraging(name: str) -> Team:
    """Level-based foraging (Papoudakis et al., 2021), e.g. `"Foraging-8x8-2p-3f-v3"`.

    Raises:
        InputError: If the package is missing or the name unknown.
    """
    env = _make(name, "lbforaging", "lbf", prefix="Foraging")

    def clear(inner: Any) -> None:
        for player in inner.players:  # Where they stood, nobody could begin.
            player.position = None

    limit = env.unwrapped._max_episode_steps
    return Team(env, limit, done=lambda inner: not inner.field.any(), clear=clear)


def warehouse(name: str) -> Team:
    """Multi-robot warehouse (Papoudakis et al., 2021), e.g. `"rware-tiny-2ag-v2"`.

    Raises:
        InputError: If the package is missing or the name unknown.
    """
    env = _make(name, "rware", "rware", prefix="rware")
    return Team(env, env.unwrapped.max_steps)


MAKERS: dict[str, Callable[[str], Team]] = {"lbf": foraging, "rware": warehouse}
"""The families of environments."""


def _make(name: str, package: str, interface: str, *, prefix: str) -> Any:
    install = f"pip install {package}"
    require(package, interface, install)  # Which registers its environments.
    gymnasium = require("gymnasium", interface, install)
    known = [known for known in gymnasium.registry if known.startswith(prefix)]
    if name not in known:
        raise unknown_name(f"{interface} environment", name, known)
    return gymnasium.make(name, disable_env_checker=True)
