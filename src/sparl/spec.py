"""The sizes on which environments, networks and replay agree."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EnvSpec:
    """The sizes of a cooperative multi-agent environment.

    Attributes:
        num_agents: Agents, all of one action space.
        num_actions: Actions of each agent.
        obs_dim: Length of one agent's observation.
        state_dim: Length of the global state, seen in training only.
        episode_limit: Longest episode, in steps.
    """

    num_agents: int
    num_actions: int
    obs_dim: int
    state_dim: int
    episode_limit: int
