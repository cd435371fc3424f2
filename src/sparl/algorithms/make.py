"""Algorithms by name."""

from collections.abc import Callable

from sparl.algorithms.base import Algorithm
from sparl.algorithms.comix import Comix
from sparl.algorithms.control import Control
from sparl.algorithms.qmix import monotonic_mixer, qmix
from sparl.algorithms.res import res
from sparl.algorithms.sac import Sac
from sparl.algorithms.td3 import Td3
from sparl.algorithms.vdn import vdn
from sparl.algorithms.weighted_qmix import cw_qmix, ow_qmix
from sparl.config import Config
from sparl.errors import InputError, unknown_name
from sparl.presets import CONTROL
from sparl.spec import ControlSpec, EnvSpec
from sparl.targets import OPERATORS, Target

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
    """The algorithm of continuous control that `config` names.

    Raises:
        InputError: If the environment is a team's and the algorithm is not, or the other way round.
    """
    team, algorithm = bool(spec.num_agents), config.algorithm
    if team != (algorithm == "comix"):
        raise InputError(
            f"{config.env} is {'a team' if team else 'one agent'}, and {algorithm} is for "
            + ("one: pass --algorithm comix" if team else "teams: pass --algorithm td3 or sac")
        )
    hidden, gamma, target = config.network.hidden, config.gamma, config.target
    match algorithm:
        case "comix":
            return Comix(
                spec=spec,
                settings=config.control,
                hidden=hidden,
                gamma=gamma,
                mixer=monotonic_mixer(spec, config.network),
                operator=OPERATORS[target.operator](target),
                lam=target.lam if target.kind == "td_lambda" else None,
            )
        case "sac":
            return Sac(spec, hidden, gamma)
        case _:
            return Td3(spec, config.control, hidden, gamma)
