"""Widths of a dense network with as many parameters as a sparse one: the `tiny` method."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax

from sparl.algorithms.make import make
from sparl.compute import Tree
from sparl.config import Config, NetworkConfig
from sparl.errors import InputError
from sparl.spec import EnvSpec
from sparl.targets import Target
from sparl.topology import agent_budgets, by_name, link_counts, weight_shapes

WIDTHS = {
    "agent": ("hidden",),
    "mixer": ("embed", "hypernet"),
    "central_mixer": ("central_embed",),
}
"""The settings that say how wide each network is; WQMIX's central agent is as wide as the agent."""


def fit(spec: EnvSpec, config: Config, target: Target) -> NetworkConfig:
    """The widest network of which every part fits the budget of its sparse twin, biases counted.

    All widths of a part shrink by the same factor, to whole numbers.

    Raises:
        InputError: If a part does not even fit at width 1.
    """

    def params(network: NetworkConfig) -> Tree:
        algorithm = make(spec, replace(config, network=network), target)
        return jax.eval_shape(algorithm.init, jax.random.key(0))

    full = params(config.network)
    links = link_counts(
        weight_shapes(full),
        config.sparsity,
        config.topology.distribution,
        agent_budgets(spec, config),
    )
    budget = _parameters(full, links)
    network = config.network
    for part, names in WIDTHS.items():
        if budget.get(part):
            size = partial(_size, part, params)
            network = _widest(_narrower(network, names), size, budget[part])
            if size(network) > budget[part]:
                raise InputError(
                    f"sparsity {config.sparsity} leaves the {part} {budget[part]} parameters, too "
                    "few for a dense one of width 1: lower --sparsity"
                )
    return network


def _narrower(network: NetworkConfig, names: tuple[str, ...]) -> list[NetworkConfig]:
    """The same with some widths shrunk by a common factor, narrowest first."""
    full = {name: getattr(network, name) for name in names}
    widest = full[names[0]]
    return [
        replace(network, **{name: max(1, size * width // widest) for name, size in full.items()})
        for width in range(1, widest + 1)
    ]


def _widest(
    networks: list[NetworkConfig], size: Callable[[NetworkConfig], int], most: int
) -> NetworkConfig:
    """The last whose size is at most `most`, or the first."""
    return networks[max(bisect_right(networks, most, key=size) - 1, 0)]


def _size(part: str, params: Callable[[NetworkConfig], Tree], network: NetworkConfig) -> int:
    return _parameters(params(network))[part]


def _parameters(params: Tree, links: dict[str, int] | None = None) -> dict[str, int]:
    """Weights, or links where there are counts, and biases of each network."""
    total = dict.fromkeys(params, 0)
    for name, value in by_name(params).items():
        total[name.split("/")[0]] += links[name] if links and name in links else value.size
    return total
