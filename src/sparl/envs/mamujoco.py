"""Multi-agent MuJoCo: a robot's joints shared out among agents (Peng et al., NeurIPS 2021)."""

import fcntl
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from sparl.envs import gym
from sparl.envs.base import TimeStep
from sparl.envs.requirements import require
from sparl.errors import InputError, unknown_name
from sparl.spec import ControlSpec

ROBOTS = (
    "Ant",
    "HalfCheetah",
    "Hopper",
    "Humanoid",
    "HumanoidStandup",
    "ManySegmentAnt",
    "ManySegmentSwimmer",
    "Pusher",
    "Reacher",
    "Swimmer",
    "Walker2d",
)


class MaMujoco:
    """A parallel environment of Gymnasium-Robotics' `mamujoco_v1`.

    Args:
        env: The environment.
    """

    def __init__(self, env: Any):
        self._env = env
        self._agents = list(env.possible_agents)
        spaces = [env.action_space(agent) for agent in self._agents]
        self._low = np.concatenate([space.low for space in spaces])
        self._high = np.concatenate([space.high for space in spaces])
        lengths = tuple(len(space.low) for space in spaces)
        self._ends = np.cumsum(lengths)[:-1]
        robot = env.unwrapped.single_agent_env
        views = tuple(env.observation_space(agent).shape[0] for agent in self._agents)
        self.spec = ControlSpec(
            obs_dim=sum(views) + robot.observation_space.shape[0],
            action_dim=sum(lengths),
            episode_limit=robot.spec.max_episode_steps or gym.WITHOUT_LIMIT,
            obs_dims=views,
            action_dims=lengths,
        )

    def reset(self, seed: int) -> TimeStep:
        """Begin an episode."""
        obs, _ = self._env.reset(seed=seed)
        return self._seen(obs, 0.0, terminated=False, truncated=False)

    def step(self, actions: Any) -> TimeStep:
        """Take one step with the agents' actions, one after another, in [-1, 1]."""
        stretched = gym.stretched(actions, self._low, self._high)
        chosen = dict(zip(self._agents, np.split(stretched, self._ends), strict=True))
        obs, rewards, terminated, truncated, _ = self._env.step(chosen)
        one = self._agents[0]  # All are told the same.
        return self._seen(
            obs, float(rewards[one]), terminated=terminated[one], truncated=truncated[one]
        )

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _seen(
        self, obs: dict[str, np.ndarray], reward: float, *, terminated: bool, truncated: bool
    ) -> TimeStep:
        everything = [*(obs[agent] for agent in self._agents), self._env.state()]
        return gym.seen(
            np.concatenate(everything), reward, terminated=terminated, truncated=truncated
        )


def make(name: str) -> MaMujoco:
    """A robot and how its joints are shared out: `"HalfCheetah-2x3"`, `"Humanoid-9|8"`.

    Agents observe their own joints and the torso; with `-k1` behind the name the joints at a
    distance of up to one as well, and so on.

    Raises:
        InputError: If there is no such robot or no such partition, or a package is missing.
    """
    robot = name.partition("-")[0]
    if robot not in ROBOTS:
        raise unknown_name("robot of mamujoco", robot, ROBOTS)
    if not (parts := re.fullmatch(r"[^-]+-([^-]+)(?:-k([0-9]+))?", name)):
        raise InputError(
            f"mamujoco:{name}: an environment is named mamujoco:ROBOT-PARTITION, e.g. "
            "mamujoco:HalfCheetah-2x3, or mamujoco:HalfCheetah-2x3-k1 to see joints one link away"
        )
    partition, distance = parts[1], int(parts[2] or 0)
    require("mujoco", "mamujoco", gym.INSTALL_MUJOCO)
    gym.hush_mujoco()
    with redirect_stderr(StringIO()) as said:
        module = require(
            "gymnasium_robotics.envs.multiagent_mujoco.mamujoco_v1",
            "mamujoco",
            gym.INSTALL_MUJOCO,
        )
    # It has a notice about robot hands, which are no concern of ours.
    sys.stderr.writelines(x for x in said.getvalue().splitlines(True) if "AdroitHand" not in x)
    try:
        with _alone(module):
            env = module.parallel_env(robot, partition, agent_obsk=distance)
    except Exception as error:  # It has no type of its own for what it does not know.
        why = str(error) or type(error).__name__
        if "partitioning" in why:
            why = (
                f"it is not shared out as {partition!r}. How it can be, such as 2x3 and 6x1 of "
                "HalfCheetah, is listed at robotics.farama.org/envs/MaMuJoCo"
            )
        raise InputError(f"mamujoco:{name} cannot be made: {why}") from error
    return MaMujoco(env)


MAKERS = {"mamujoco": make}
"""The one interface of this module."""


@contextmanager
def _alone(module: ModuleType) -> Iterator[None]:
    """No other process makes a robot: one of many segments is written to a file of one name."""
    with Path(str(module.__file__)).open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
