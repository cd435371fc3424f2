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
    """The sizes of an environment with continuous actions, of one agent or of a team.

    What a team sees is one vector: the agents' observations one after another, and behind them the
    global state. What it does is one vector, too: the agents' actions one after another.

    Attributes:
        obs_dim: Length of the observation; of a team, of that vector.
        action_dim: Length of an action; of a team, of that vector. Each of its numbers lies in
            [-1, 1], which the adapter stretches to what the environment takes.
        episode_limit: Longest episode, in steps.
        reward_scale: What rewards are multiplied by, unless a run says otherwise.
        obs_dims: Of a team, the length of each agent's observation.
        action_dims: Of a team, the length of each agent's action.
    """

    obs_dim: int
    action_dim: int
    episode_limit: int
    reward_scale: float = 1.0
    obs_dims: tuple[int, ...] = ()
    action_dims: tuple[int, ...] = ()

    @property
    def num_agents(self) -> int:
        """`n` of a team, else 0."""
        return len(self.action_dims)

    @property
    def state_dim(self) -> int:
        """Length of a team's global state, seen in training only."""
        return self.obs_dim - sum(self.obs_dims)

    def __post_init__(self):
        for name in ("obs_dim", "action_dim", "episode_limit"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"{name} of a ControlSpec must be at least 1, got {getattr(self, name)}"
                )
        if not self.obs_dims and not self.action_dims:
            return
        if len(self.obs_dims) != self.num_agents or min(self.obs_dims + self.action_dims) < 1:
            raise InputError(
                "obs_dims and action_dims of a ControlSpec must both have a length of at least 1 "
                f"for each agent, got {self.obs_dims} and {self.action_dims}"
            )
        if sum(self.action_dims) != self.action_dim or self.state_dim < 1:
            raise InputError(
                f"action_dim of a ControlSpec must be the sum of action_dims {self.action_dims}, "
                f"and obs_dim more than that of obs_dims {self.obs_dims} by the length of the "
                f"state: got {self.action_dim} and {self.obs_dim}"
            )
