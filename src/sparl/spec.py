"""The sizes on which environments, networks and replay agree."""

from dataclasses import dataclass

from sparl.errors import InputError


@dataclass(frozen=True)
class EnvSpec:
    """The sizes of a cooperative multi-agent environment.

    Attributes:
        num_agents: Agents, all of one action space.
        num_actions: Actions of each agent.
        obs_dim: Length of one agent's observation.
        state_dim: Length of the global state, seen in training only.
        episode_limit: Longest episode, in steps.
        reward_scale: What rewards are multiplied by, unless a run says otherwise, for the best
            return to be about 20.
        agent_types: What kind of unit each agent is; empty where that is not known or changes.
    """

    num_agents: int
    num_actions: int
    obs_dim: int
    state_dim: int
    episode_limit: int
    reward_scale: float = 1.0
    agent_types: tuple[str, ...] = ()

    def __post_init__(self):
        for name in ("num_agents", "num_actions", "obs_dim", "state_dim", "episode_limit"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"{name} of an EnvSpec must be at least 1, got {getattr(self, name)}"
                )


@dataclass(frozen=True)
class ControlSpec:
    """The sizes of an environment of one agent with continuous actions.

    Attributes:
        obs_dim: Length of the observation.
        action_dim: Length of an action; each of its numbers lies in [-1, 1], which the adapter
            stretches to what the environment takes.
        episode_limit: Longest episode, in steps.
        reward_scale: What rewards are multiplied by, unless a run says otherwise.
    """

    obs_dim: int
    action_dim: int
    episode_limit: int
    reward_scale: float = 1.0

    def __post_init__(self):
        for name in ("obs_dim", "action_dim", "episode_limit"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"{name} of a ControlSpec must be at least 1, got {getattr(self, name)}"
                )
