"""Model size and FLOPs of continuous control, counted as those of teams are."""

from collections.abc import Mapping

from sparl.topology.accounting import (
    Accounting,
    Layer,
    Part,
    qmix_mixer_layers,
    qmix_mixing_flops,
    tally,
)


def account_actor_critic(
    algorithm: str,
    *,
    obs_dim: int,
    action_dim: int,
    densities: Mapping[str, float],
    hidden: int = 256,
    policy_delay: int = 2,
    rewards: int = 1,
) -> Accounting:
    """Counts the parameters and FLOPs of TD3 or SAC.

    An update of the critics is a forward and a backward pass of both, worth three forward passes
    each, and a forward pass of the target critics and of the actor whose action they value; SAC's
    returns of several rewards take one more of the actor for each state on the way. An update of
    the actor, one in `policy_delay` with TD3, is the same of the actor and of the critics that it
    goes through: one with TD3, two with SAC.

    Args:
        algorithm: "td3" or "sac".
        obs_dim: Width of the observation.
        action_dim: Width of the action.
        densities: Fraction of the weights present by layer name.
        hidden: Width of both hidden layers.
        policy_delay: TD3: updates of the critics to one of the actor.
        rewards: Most rewards of a return.
    """
    td3 = algorithm == "td3"
    share = 1 / policy_delay if td3 else 1
    actor = _layers("actor", obs_dim, hidden, action_dim if td3 else 2 * action_dim)
    on_the_way = 0 if td3 else rewards - 1
    parts = [Part(actor, copies=2 if td3 else 1, passes=1 + on_the_way + 3 * share)]
    for i, name in enumerate(("critic1", "critic2")):
        through = 3 * share if i == 0 or not td3 else 0
        critic = _layers(name, obs_dim + action_dim, hidden, 1)
        parts.append(Part(critic, copies=2, passes=4 + through))
    return tally(parts, densities, chosen=1)


def account_comix(
    *,
    obs_dims: tuple[int, ...],
    action_dims: tuple[int, ...],
    state_dim: int,
    densities: Mapping[str, float],
    hidden: int = 400,
    embed: int = 64,
    hypernet: int = 64,
    searched: int = 128,
    steps: int = 1,
) -> Accounting:
    """Counts the parameters and FLOPs of COMIX.

    An update is a forward and a backward pass for what was done, worth three forward passes of
    each agent and of the mixer, and for each step of the target a forward pass of the mixer and
    one of each agent for every action that its search looks at. Choosing actions is such a search.

    Args:
        obs_dims: Width of each agent's observation.
        action_dims: Width of each agent's action.
        state_dim: Width of the global state.
        densities: Fraction of the weights present by layer name.
        hidden: Width of both hidden layers of the agent.
        embed: Width of the mixer's hidden layer.
        hypernet: Width of the mixer's two-layer hypernetworks.
        searched: Actions that an agent's search for the best one looks at.
        steps: Steps of a target.
    """
    n = len(obs_dims)
    agent = _layers("agent", max(obs_dims) + n + max(action_dims), hidden, 1)
    mixer = qmix_mixer_layers(state_dim, n, embed=embed, hypernet=hypernet)
    mixing = qmix_mixing_flops(n, embed=embed)
    parts = [
        Part(agent, copies=2, passes=n * (3 + steps * searched)),
        Part(mixer, copies=2, passes=3 + steps, extra_flops=mixing),
    ]
    return tally(parts, densities, chosen=n * searched)


def _layers(name: str, inputs: int, hidden: int, outputs: int) -> tuple[Layer, ...]:
    """A network of two hidden layers."""
    widths = (inputs, hidden, hidden, outputs)
    return tuple(Layer(f"{name}/{i}/w", widths[i], widths[i + 1]) for i in range(3))
