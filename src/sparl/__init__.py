"""sparl: deep RL agents whose networks are sparse from the first step to the last."""

from importlib.metadata import version

from sparl import compute, topology
from sparl.config import (
    Config,
    ControlConfig,
    ExplorationConfig,
    NetworkConfig,
    OptimizerConfig,
    ReplayConfig,
    TargetConfig,
    TopologyConfig,
)
from sparl.errors import InputError, SparlError
from sparl.presets import defaults
from sparl.train.loop import NotFiniteError, RunInterruptedError
from sparl.train.result import Result
from sparl.train.start import resume, train

__version__ = version("sparl")

__all__ = [
    "Config",
    "ControlConfig",
    "ExplorationConfig",
    "InputError",
    "NetworkConfig",
    "NotFiniteError",
    "OptimizerConfig",
    "ReplayConfig",
    "Result",
    "RunInterruptedError",
    "SparlError",
    "TargetConfig",
    "TopologyConfig",
    "compute",
    "defaults",
    "resume",
    "topology",
    "train",
]
