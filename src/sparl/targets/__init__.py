"""What Q is regressed to: an operator over the next actions, then a return over the next steps.

An operator turns the Q-values of the next step into one value per agent (`double_q`,
`soft_mellowmax`); a return turns the mixed values into a target (`td_lambda`, of which one-step is
the case `lambda = 0`). `compose` makes a `Target` of one of each.
"""

from sparl.targets.compose import KINDS, OPERATORS, Target, compose
from sparl.targets.double_q import double_q
from sparl.targets.soft_mellowmax import soft_mellowmax
from sparl.targets.td_lambda import td_lambda

__all__ = ["KINDS", "OPERATORS", "Target", "compose", "double_q", "soft_mellowmax", "td_lambda"]
