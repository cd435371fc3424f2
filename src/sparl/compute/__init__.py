"""How a weight multiplies: the only package that knows in which form weights are held.

Networks are written against a few functions. `bind` joins a tree of parameters with the tree of
their links into weights that can multiply; `linear`, `recurrent.step` and `recurrent.unroll`
multiply them. Whether a weight is an array of all links, an array under a mask, or its links alone
follows from the topology, so a network never asks.

Activations are feature-major: `[features, columns]`, a column being one sample.
"""

from sparl.compute import recurrent
from sparl.compute.bind import SparseWeight, Topology, Tree, Weight, bind, dense
from sparl.compute.forms import (
    FORMS,
    carry_over,
    choose,
    link_counts_of,
    on_links,
    to_dense,
    to_masked,
    to_sparse,
)
from sparl.compute.linear import linear
from sparl.compute.links import Links
from sparl.compute.memory import keep_freed, return_freed

__all__ = [
    "FORMS",
    "Links",
    "SparseWeight",
    "Topology",
    "Tree",
    "Weight",
    "bind",
    "carry_over",
    "choose",
    "dense",
    "keep_freed",
    "linear",
    "link_counts_of",
    "on_links",
    "recurrent",
    "return_freed",
    "to_dense",
    "to_masked",
    "to_sparse",
]
