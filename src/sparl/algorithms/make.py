"""Algorithms by name."""

from collections.abc import Callable

from sparl.algorithms.base import Algorithm
from sparl.algorithms.qmix import qmix
from sparl.algorithms.vdn import vdn
from sparl.config import NetworkConfig
from sparl.errors import unknown_name
from sparl.spec import EnvSpec
from sparl.targets import Target

ALGORITHMS: dict[str, Callable[[EnvSpec, NetworkConfig, Target], Algorithm]] = {
    "qmix": qmix,
    "vdn": vdn,
}
"""The algorithms, by the name that `--algorithm` takes."""


def make(name: str, spec: EnvSpec, network: NetworkConfig, target: Target) -> Algorithm:
    """The algorithm called `name`.

    Raises:
        InputError: If there is none of that name.
    """
    if name not in ALGORITHMS:
        raise unknown_name("algorithm", name, ALGORITHMS)
    return ALGORITHMS[name](spec, network, target)
