"""Optimisers: what gradients are before they get there."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from sparl.presets import defaults
from sparl.train import optimizers

GRADIENTS = {"agent": jnp.array([3.0, -4.0])}


def step(make, algorithm, clip):
    config = defaults(algorithm)
    # So large an `eps` that a step tells how large its gradient was.
    settings = dataclasses.replace(config.optimizer, clip=clip, eps=100.0)
    optimizer = make(dataclasses.replace(config, optimizer=settings))
    params = {"agent": jnp.zeros(2)}
    steps, _ = optimizer.update(GRADIENTS, optimizer.init(params), params)
    return steps["agent"]


@pytest.mark.parametrize(
    ("make", "algorithm"), [(optimizers.rmsprop, "qmix"), (optimizers.adam, "comix")]
)
def test_gradients_are_clipped_by_their_norm_and_by_none_at_zero(make, algorithm):
    whole = step(make, algorithm, 5.0)
    np.testing.assert_allclose(step(make, algorithm, 0.0), whole, rtol=1e-6)
    np.testing.assert_allclose(step(make, algorithm, 0.5), whole / 10, rtol=0.05)
