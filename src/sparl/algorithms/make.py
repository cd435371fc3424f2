"""Algorithms by name."""

from collections.abc import Callable

from sparl.algorithms.base import Algorithm
from sparl.algorithms.control import Control
from sparl.algorithms.qmix import qmix
from sparl.algorithms.res import res
from sparl.algorithms.sac import Sac
from sparl.algorithms.td3 import Td3
from sparl.algorithms.vdn import vdn
from sparl.algorithms.weighted_qmix import cw_qmix, ow_qmix
from sparl.config import CONTROL, Config
from sparl.errors import unknown_name
from sparl.spec import ControlSpec, EnvSpec
from sparl.targets import Target

ALGORITHMS: dict[str, Callable[[EnvSpec, Config, Target], Algorithm]] = {
    "qmix": qmix,
    "vdn": vdn,
    "ow-qmix": ow_qmix,
    "cw-qmix": cw_qmix,
    "res": res,
}
"""The algorithms of teams, by the name that `--algorithm` takes."""


def make(spec: EnvSpec, config: Config, target: Target) -> Algorithm:
    """The algorithm that `config` names.

    Raises:
        InputError: If there is none of that name.
    """
    if config.algorithm not in ALGORITHMS:
        raise unknown_name("algorithm", config.algorithm, (*ALGORITHMS, *CONTROL))
    return ALGORITHMS[config.algorithm](spec, config, target)


def make_control(spec: ControlSpec, config: Config) -> Control:
    """The algorithm of continuous control that `config` names."""
    hidden, gamma = config.network.hidden, config.gamma
    if config.algorithm == "sac":
        return Sac(spec, hidden, gamma)
    return Td3(spec, config.control, hidden, gamma)
