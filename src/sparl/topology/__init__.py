"""Which links exist, when they move, and what they cost.

`random_topology` draws the masks that training starts from, `evolve` moves links by one of the
`RULES`, `cosine` says how many, `account` counts parameters and FLOPs.
"""

from sparl.topology.accounting import Accounting, account
from sparl.topology.distribution import DISTRIBUTIONS, erdos_renyi, uniform
from sparl.topology.drop_grow import drop_and_grow
from sparl.topology.evolve import RULES, Rule, evolve
from sparl.topology.init import link_count_tree, link_counts, random_topology, weight_shapes
from sparl.topology.names import by_name
from sparl.topology.rigl import rigl
from sparl.topology.schedule import cosine
from sparl.topology.set import set_

__all__ = [
    "DISTRIBUTIONS",
    "RULES",
    "Accounting",
    "Rule",
    "account",
    "by_name",
    "cosine",
    "drop_and_grow",
    "erdos_renyi",
    "evolve",
    "link_count_tree",
    "link_counts",
    "random_topology",
    "rigl",
    "set_",
    "uniform",
    "weight_shapes",
]
