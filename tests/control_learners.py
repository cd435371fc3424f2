"""Small actors and critics, and steps that they learn from."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sparl.compute import native
from sparl.methods import resolve
from sparl.presets import defaults
from sparl.replay import transitions
from sparl.replay.transitions import Row
from sparl.topology import by_name
from sparl.train.program import build

needs_kernels = pytest.mark.skipif(bool(native.unavailable()), reason="no kernels")
FORMS = ["masked", pytest.param("sparse", marks=needs_kernels)]


def config_of(algorithm, method, form="masked", interval=4, tau=0.005, **settings):
    config = defaults(algorithm, method)
    fixed = method in ("dense", "static")
    topology = {} if fixed else {"interval": interval, "fraction": 0.3}
    if config.topology.distribution == "lambda":
        topology["lambdas"] = "1.2,4"
    return resolve(
        dataclasses.replace(
            config,
            env="gym:Pendulum-v1",
            compute=form,
            topology=dataclasses.replace(config.topology, **topology),
            network=dataclasses.replace(config.network, hidden=16),
            replay=dataclasses.replace(config.replay, capacity=400, batch_size=16),
            control=dataclasses.replace(
                config.control,
                tau=tau,
                critic_sparsity=0.6 if config.sparsity == 0.9 else 0.0,
                **({"min_replay": 300} if method == "rlx2" else {}),
            ),
            **({"sparsity": 0.7} if config.sparsity == 0.9 else {}),
            **settings,
        )
    )


@functools.cache
def program_of(*args, **kwargs):
    return build(config_of(*args, **kwargs))


def ring_of(program):
    """Three hundred steps of nonsense, in episodes of ten."""
    rng = np.random.default_rng(0)
    steps = np.arange(300)
    rows = Row(
        obs=rng.normal(size=(1, 1, 300, 3)).astype(np.float32),
        action=rng.uniform(-1, 1, size=(1, 1, 300, 1)).astype(np.float32),
        greedy=rng.uniform(-1, 1, size=(1, 1, 300, 1)).astype(np.float32),
        reward=rng.normal(size=(1, 1, 300)).astype(np.float32),
        terminated=(steps % 20 == 8)[None, None],
        final=(steps % 10 == 9)[None, None],
    )
    ring = program.init(program.seeds).ring
    rows = rows._replace(greedy=rows.greedy[..., : ring.rows.greedy.shape[-1]])
    insert = jax.vmap(transitions.insert)
    return insert(ring, jax.tree.map(jnp.asarray, rows), jnp.full((1, 1), 299, jnp.int32))


def learn(program, learner, updates, ring=None):
    ring = ring or ring_of(program)
    return program.learn(learner, ring, np.full(1, updates, np.int32), np.int32(0))


def evolve(program, learner):
    return program.evolve(learner, ring_of(program), np.int32(1000), np.ones(1, bool))


def plain(program, learner):
    """In the masked form, as arrays of NumPy."""
    learner = program.to_masked(learner)
    return jax.tree.map(np.array, learner._replace(key=jax.random.key_data(learner.key)))


def links(program, learner):
    return {k: np.asarray(v) for k, v in by_name(program.to_masked(learner).topology).items()}


CELLS = [("td3", "ds"), ("td3", "rlx2"), ("sac", "set"), ("sac", "ds")]
