"""How a weight multiplies: the only package that knows in which form weights are held.

Networks are written against two functions. `bind` joins a tree of parameters with the tree of
their links into weights that can multiply; `linear` multiplies one of them. What a weight is made
of (all links, or a mask over an array with zeros) is decided by the topology alone, so a network
never asks.

Activations are feature-major: `[features, columns]`, a column being one sample.
"""

from sparl.compute.bind import FORMS, Links, Tree, bind, dense
from sparl.compute.gru import gru_cell
from sparl.compute.linear import linear

__all__ = ["FORMS", "Links", "Tree", "bind", "dense", "gru_cell", "linear"]
