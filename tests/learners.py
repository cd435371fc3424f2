"""Learners beside one another."""

import functools

import jax
import numpy as np


def assert_agree(one, other):
    """The same links, and weights and moments that differ by rounding alone."""
    jax.tree.map(np.testing.assert_array_equal, one.topology, other.topology)
    for part in ("params", "target_params", "opt_state"):
        pair = (getattr(state, part) for state in (one, other))
        jax.tree.map(functools.partial(np.testing.assert_allclose, atol=2e-4), *pair)
