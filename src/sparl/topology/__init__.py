"""Which links exist, when they move, and what they cost.

For a network of one's own: `init` takes links away, and `evolving` trains what is left with any
optax optimiser. Beneath them `random_topology` draws masks, `evolve` moves links by one of the
`RULES`, `cosine` says how many, `account` counts parameters and FLOPs.
"""

from sparl.topology.accounting import Accounting, account
from sparl.topology.accounting_control import account_actor_critic, account_comix
from sparl.topology.budgets import agent_budgets
from sparl.topology.distribution import DISTRIBUTIONS, by_lambdas, erdos_renyi, uniform
from sparl.topology.drop_grow import drop_and_grow
from sparl.topology.ds import ds, prune, trim
from sparl.topology.evolve import RULES, WHOLE, Rule, carry_moments, evolve, move_links
from sparl.topology.evolving import EvolvingState, evolving
from sparl.topology.initial import (
    init,
    link_count_tree,
    link_counts,
    random_topology,
    weight_shapes,
)
from sparl.topology.names import by_name
from sparl.topology.rigl import rigl
from sparl.topology.schedule import cosine
from sparl.topology.set import set_

__all__ = [
    "DISTRIBUTIONS",
    "RULES",
    "WHOLE",
    "Accounting",
    "EvolvingState",
    "Rule",
    "account",
    "account_actor_critic",
    "account_comix",
    "agent_budgets",
    "by_lambdas",
    "by_name",
    "carry_moments",
    "cosine",
    "drop_and_grow",
    "ds",
    "erdos_renyi",
    "evolve",
    "evolving",
    "init",
    "link_count_tree",
    "link_counts",
    "move_links",
    "prune",
    "random_topology",
    "rigl",
    "set_",
    "trim",
    "uniform",
    "weight_shapes",
]
