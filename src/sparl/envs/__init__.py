"""Environments behind one protocol; `make` finds them by name.

An environment's name is `INTERFACE:NAME`. The interface selects the adapter, the adapter knows its
names.
"""

from sparl.envs.base import HostEnv, JaxEnv, TimeStep, time_step_shapes
from sparl.envs.make import make, map_file
from sparl.envs.smac import Smac
from sparl.envs.workers import Workers, check_workers

__all__ = [
    "HostEnv",
    "JaxEnv",
    "Smac",
    "TimeStep",
    "Workers",
    "check_workers",
    "make",
    "map_file",
    "time_step_shapes",
]
