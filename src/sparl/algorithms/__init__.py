"""Algorithms: each is its networks and its loss, in one file, found by name."""

from sparl.algorithms.base import Algorithm
from sparl.algorithms.make import ALGORITHMS, make
from sparl.algorithms.tiny import fit

__all__ = ["ALGORITHMS", "Algorithm", "fit", "make"]
