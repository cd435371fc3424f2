"""Algorithms by name."""

from collections.abc import Callable

from sparl.algorithms.base import Algorithm
from sparl.algorithms.qmix import qmix
from sparl.algorithms.res import res
from sparl.algorithms.vdn import vdn
from sparl.algorithms.weighted_qmix import cw_qmix, ow_qmix
from sparl.config import Config
from sparl.errors import unknown_name
from sparl.spec import EnvSpec
from sparl.targets import Target

ALGORITHMS: dict[str, Callable[[EnvSpec, Config, Target], Algorithm]] = {
    "qmix": qmix,
    "vdn": vdn,
    "ow-qmix": ow_qmix,
    "cw-qmix": cw_qmix,
    "res": res,
}
"""The algorithms, by the name that `--algorithm` takes."""


def make(spec: EnvSpec, config: Config, target: Target) -> Algorithm:
    """The algorithm that `config` names.

    Raises:
        InputError: If there is none of that name.
    """
    if config.algorithm not in ALGORITHMS:
        raise unknown_name("algorithm", config.algorithm, ALGORITHMS)
    return ALGORITHMS[config.algorithm](spec, config, target)
