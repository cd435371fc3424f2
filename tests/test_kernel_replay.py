"""Batches that the kernels read from the ring, against those that XLA makes."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernel_cases import needs_kernels, refused
from sparl import replay
from sparl.spec import EnvSpec

pytestmark = needs_kernels

# (agents, actions, obs_dim, state_dim, episodes): below, at and past tiles of eight.
SIZES = [
    (1, 1, 1, 1, 1),
    (3, 9, 30, 48, 5),
    (8, 13, 17, 8, 4),
    (5, 8, 8, 16, 9),
    (2, 300, 11, 7, 3),
]
LIMIT = 6


def full_ring(spec, rng):
    """A ring of random rows."""
    ring = replay.init(spec, capacity=9, reserve=1.0)
    draw = {
        "f": lambda x: rng.normal(size=x.shape),
        "u": lambda x: rng.integers(0, 256, x.shape),
        "b": lambda x: rng.random(x.shape) < 0.5,
    }
    steps = jax.tree.map(lambda x: jnp.asarray(draw[x.dtype.kind](x), x.dtype), ring.steps)
    actions = jnp.asarray(rng.integers(0, spec.num_actions, steps.actions.shape))
    length = rng.integers(1, LIMIT + 1, 9)
    return replace(
        ring,
        steps=steps._replace(actions=actions.astype(steps.actions.dtype)),
        length=jnp.asarray(length, jnp.int32),
        start=jnp.asarray(rng.permutation(9) * (LIMIT + 1), jnp.int32),
        added=jnp.int32(13),
        live=jnp.int32(9),
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("longest", [LIMIT, 3])
def test_batches_are_those_of_xla(size, longest):
    agents, actions, obs_dim, state_dim, episodes = size
    spec = EnvSpec(
        num_agents=agents,
        num_actions=actions,
        obs_dim=obs_dim,
        state_dim=state_dim,
        episode_limit=LIMIT,
    )
    rng = np.random.default_rng(0)
    rings = [full_ring(spec, rng) for _ in range(2)]
    rings = [replace(ring, length=jnp.minimum(ring.length, longest)) for ring in rings]
    drawn = jnp.asarray(rng.integers(0, 9, episodes))

    def by_xla(ring, drawn):
        return replay.to_batch(*replay.gather(ring, drawn, longest), actions)

    by_kernels = partial(replay.read_batch, longest=longest, num_actions=actions)
    expected = [jax.jit(by_xla)(ring, drawn) for ring in rings]
    jax.tree.map(np.testing.assert_array_equal, jax.jit(by_kernels)(rings[0], drawn), expected[0])

    # Vectorised over seeds, each with a ring of its own.
    both = jax.tree.map(lambda *x: jnp.stack(x), *rings)
    found = jax.jit(jax.vmap(by_kernels, in_axes=(0, None)))(both, drawn)
    expected = jax.tree.map(lambda *x: np.stack(x), *expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


ROWS = (
    jnp.zeros((64, 4, 1), jnp.float16),
    jnp.zeros((64, 3), jnp.float16),
    jnp.zeros((64, 4, 2), jnp.uint8),
    jnp.zeros((64, 4), jnp.uint8),
)


def gather(*arrays):
    """The kernel itself, for seven steps of one episode of four agents with ten actions."""
    shapes = ((7, 15, 4), jnp.float16), ((3, 7, 1), jnp.float16), ((7, 10, 4), jnp.bool)
    results = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
    return jax.ffi.ffi_call("sparl_gather", results)(*arrays)


@pytest.mark.parametrize("start", [-1, 58, 2**31 - 1])
def test_rows_that_are_not_there_are_refused(start):
    jax.block_until_ready(gather(*ROWS, jnp.full(1, 57, jnp.int32), jnp.zeros(1, jnp.int32)))
    with refused("leave the 64 rows of the replay"):
        jax.block_until_ready(gather(*ROWS, jnp.full(1, start, jnp.int32), jnp.zeros(1, jnp.int32)))


@pytest.mark.parametrize(
    ("changed", "shape", "match"),
    [
        (0, (4, 1), "too few dimensions"),
        (0, (63, 4, 1), r"state has shape \[64, 3\], expected it to end in \[63, 3\]"),
        (1, (3,), "too few dimensions"),
        (2, (64, 4, 1), "inputs of 15 features do not go with"),
        (3, (64, 5), r"actions has shape \[64, 5\]"),
        (5, (2,), r"length has shape \[2\]"),
    ],
)
def test_arrays_that_do_not_go_together_are_refused(changed, shape, match):
    arrays = [*ROWS, jnp.zeros(1, jnp.int32), jnp.zeros(1, jnp.int32)]
    arrays[changed] = jnp.zeros(shape, arrays[changed].dtype)
    with refused(match):
        jax.block_until_ready(gather(*arrays))


def test_actions_of_another_type_are_refused():
    once = jnp.zeros(1, jnp.int32)
    with refused("actions must be uint8 or uint16"):
        jax.block_until_ready(gather(*ROWS[:3], jnp.zeros((64, 4), jnp.int32), once, once))
