"""What Q is regressed to: an operator over the next actions, then a return over the next steps.

An operator turns the Q-values of a step's actions into the value of the step (`double_q`,
`soft_mellowmax`, ..., agent by agent, or `subspace_softmax` over joint actions); a return turns
these into a target (`n_step`, `td_lambda`). `compose` makes a `Target` of one of each.
"""

from sparl.targets.compose import KINDS, OPERATORS, SUBSPACE_SOFTMAX, Target, compose
from sparl.targets.double_q import double_q, greedy
from sparl.targets.joint import Joint
from sparl.targets.n_step import n_step
from sparl.targets.operators import maximum, softmax
from sparl.targets.soft_mellowmax import soft_mellowmax
from sparl.targets.subspace_softmax import subspace_softmax
from sparl.targets.td_lambda import td_lambda

__all__ = [
    "KINDS",
    "OPERATORS",
    "SUBSPACE_SOFTMAX",
    "Joint",
    "Target",
    "compose",
    "double_q",
    "greedy",
    "maximum",
    "n_step",
    "soft_mellowmax",
    "softmax",
    "subspace_softmax",
    "td_lambda",
]
