"""Budgets of links where every agent has a network of its own."""

from collections.abc import Mapping

from sparl.config import Config
from sparl.errors import InputError, unknown_name
from sparl.spec import EnvSpec

NETWORKS = ("agent", "central_agent")
"""The networks that agents can have each by itself."""

Budgets = Mapping[str, tuple[float, ...]]
"""For each network whose weights stack several agents', the sparsity of each agent's part."""


def agent_budgets(spec: EnvSpec, config: Config) -> Budgets:
    """The budgets of a run: empty where agents share one network.

    Raises:
        InputError: If densities were given by hand that do not fit the environment's units.
    """
    if config.network.agents == "shared":
        return {}
    given = config.topology.agent_densities
    sparsities = (config.sparsity,) * spec.num_agents
    if given:
        densities = _parse(given)
        if not spec.agent_types:
            raise InputError(
                f"topology.agent_densities {given!r} goes by units, and {config.env} does not say "
                "which its agents are"
            )
        for name in densities:
            if name not in spec.agent_types:
                raise unknown_name(f"unit of {config.env}", name, set(spec.agent_types))
        if missing := sorted(set(spec.agent_types) - densities.keys()):
            raise InputError(
                f"topology.agent_densities {given!r} leaves out {', '.join(missing)} of "
                f"{config.env}"
            )
        sparsities = tuple(1 - densities[name] for name in spec.agent_types)
    return dict.fromkeys(NETWORKS, sparsities)


def _parse(given: str) -> dict[str, float]:
    densities = {}
    for entry in given.split(","):
        name, _, density = entry.partition("=")
        try:
            value = float(density)
        except ValueError:
            value = 0.0
        if not 0 < value <= 1 or name.strip() in densities:
            raise InputError(
                "topology.agent_densities must be UNIT=DENSITY,..., each unit once and each "
                f"density in (0, 1], e.g. 'stalker=0.14,zealot=0.06'; got {given!r}"
            )
        densities[name.strip()] = value
    return densities
