"""Algorithms: each is its networks and its loss, in one file, found by name."""

from sparl.algorithms.base import Algorithm
from sparl.algorithms.control import CRITICS, Control
from sparl.algorithms.make import ALGORITHMS, make, make_control
from sparl.algorithms.tiny import fit

__all__ = ["ALGORITHMS", "CRITICS", "Algorithm", "Control", "fit", "make", "make_control"]
