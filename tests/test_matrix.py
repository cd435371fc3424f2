"""Every algorithm with every method: it trains, in every form, and its links stay as many."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sparl.algorithms import ALGORITHMS
from sparl.compute import native
from sparl.config import NetworkConfig
from sparl.methods import METHODS
from sparl.presets import TEAM
from sparl.topology import RULES, WHOLE, by_name
from test_rollout import CONFIG, program_of

needs_kernels = pytest.mark.skipif(bool(native.unavailable()), reason="no kernels")
NETWORKS = {
    "vdn": NetworkConfig(hidden=8),
    "qmix": CONFIG.network,
    "res": CONFIG.network,
    "ow-qmix": dataclasses.replace(CONFIG.network, central_embed=8),
    "cw-qmix": dataclasses.replace(CONFIG.network, central_embed=8),
}


def test_algorithms_of_teams_are_those_that_settings_speak_of():
    assert tuple(ALGORITHMS) == TEAM


def cells():
    for method, parts in METHODS.items():
        if parts.topology in WHOLE:
            yield pytest.param(method, "auto", id=method)
            continue
        for form in ("masked", "sparse"):
            marks = needs_kernels if form == "sparse" else ()
            yield pytest.param(method, form, id=f"{method}-{form}", marks=marks)


@pytest.fixture(scope="module", params=ALGORITHMS)
def algorithm(request):
    """Each in turn, after which its compiled programs are let go of."""
    yield request.param
    program_of.cache_clear()
    jax.clear_caches()


@functools.cache
def played():
    """A replay of some episodes, which no algorithm and no method has any part in."""
    own = program_of(dataclasses.replace(CONFIG, method="dense"))
    rollout, ring, learner = own.init(own.seeds)
    for _ in range(8):
        rollout, finished = own.collect(learner.params, learner.topology, rollout)
        ring = own.store(ring, finished, np.int32(np.sum(finished.ended)))
    return jax.tree.map(np.asarray, ring)


def links(learner):
    return {name: int(mask.sum()) for name, mask in by_name(learner.topology).items()}


def weights(learner):
    return {k: np.asarray(x) for k, x in by_name(learner.params).items() if not k.endswith("b")}


@pytest.mark.parametrize(("method", "compute"), cells())
def test_every_cell_trains(algorithm, method, compute):
    config = dataclasses.replace(
        CONFIG, algorithm=algorithm, method=method, compute=compute, network=NETWORKS[algorithm]
    )
    own = program_of(config)
    ring = jax.tree.map(jnp.asarray, played())
    learner = own.init(own.seeds).learner
    before = weights(learner)
    learner, metrics = own.learn(learner, ring, np.full(1, 3, np.int32), np.int32(10**6))
    assert metrics.bad_update.item() == -1
    assert learner.updates.item() == 3
    for name, values in weights(learner).items():
        assert not np.array_equal(values, before[name]), f"{name} was not trained"

    due = np.ones(1, bool)
    if own.config.replay.kind == "dynamic":
        ring, found = own.review(learner, ring, due)
        assert 0 < found["policy_distance"].item() <= 1
        assert found["discarded"].item() == (ring.added - ring.live).item()
    if RULES[own.config.topology.kind]:
        counted = links(own.to_masked(learner))
        learner, changed = own.evolve(learner, ring, np.int32(1000), due)
        assert links(own.to_masked(learner)) == counted
        assert np.isfinite(changed["loss"]).all()
