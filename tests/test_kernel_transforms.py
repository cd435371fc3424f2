"""The kernels under JAX's transformations, on several threads, and with what is no number."""

import hashlib
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernel_cases import (
    assert_close,
    links_of,
    needs_kernels,
    normal,
    random_mask,
    random_net,
    values_of,
)
from sparl.compute import kernels
from sparl.compute.links import from_mask, take

pytestmark = needs_kernels


def test_seeds_are_vectorised():
    rng = np.random.default_rng(0)
    masks = np.stack([random_mask(rng, (6, 9), 0.2) for _ in range(3)])
    count = int(masks.sum(axis=(1, 2)).min())
    for mask in masks:  # As many links for each.
        rows, places = np.nonzero(mask)
        mask[rows[count:], places[count:]] = False
    links = jax.vmap(lambda mask: from_mask(mask, count))(jnp.asarray(masks))
    values, x = normal(rng, (3, count)), normal(rng, (3, 9, 10))

    def loss(values, x, links):
        return jnp.sum(jnp.tanh(kernels.linear(values, jnp.ones(6), x, links, relu=True)))

    for transform in (lambda f: f, lambda f: jax.grad(f, (0, 1))):
        together = jax.jit(jax.vmap(transform(loss)))(values, x, links)
        for seed in range(3):
            own = jax.tree.map(lambda leaf, seed=seed: leaf[seed], (values, x, links))
            alone = transform(loss)(*own)
            jax.tree.map(lambda a, b, seed=seed: assert_close(a[seed], b), together, alone)
    total = jax.grad(lambda v: jnp.sum(jax.vmap(loss)(v, x, links)))(values)
    assert_close(total, jax.vmap(jax.grad(loss))(values, x, links))


def test_seeds_of_a_recurrent_net_are_vectorised():
    rng = np.random.default_rng(0)
    masks, _, _ = random_net(rng, 5, 6, 4, 3, 0.3)
    counts = {name: int(mask.sum()) for name, mask in masks.items()}

    def one(key):
        """A net of as many links, elsewhere."""
        keys = dict(zip(masks, jax.random.split(key, len(masks)), strict=True))
        moved = {
            name: jax.random.permutation(keys[name], mask.ravel()).reshape(mask.shape)
            for name, mask in masks.items()
        }
        links = {name: from_mask(mask, counts[name]) for name, mask in moved.items()}
        biases = {"b1": 6, "b_ih": 12, "b_hh": 12, "b2": 3}
        values = {name: jax.random.normal(key, (n,)) for name, n in (counts | biases).items()}
        x, h0 = jax.random.normal(key, (4, 5, 9)), jax.random.normal(key, (4, 9))
        return (values, x, h0), links

    parts, links = jax.vmap(one)(jax.random.split(jax.random.key(0), 3))
    length = jnp.asarray(rng.integers(0, 5, (3, 9)), jnp.int32)

    def loss(parts, links, length):
        y, h = kernels.recurrent(parts[0], links, *parts[1:], length, keep_h=True)
        return jnp.sum(jnp.tanh(y)) + jnp.sum(h**2)

    for transform in (lambda f: f, jax.grad):
        together = jax.jit(jax.vmap(transform(loss)))(parts, links, length)
        for seed in range(3):
            own = jax.tree.map(lambda leaf, seed=seed: leaf[seed], (parts, links, length))
            alone = transform(loss)(*own)
            jax.tree.map(lambda a, b, seed=seed: assert_close(a[seed], b, 10), together, alone)
    total = jax.grad(lambda parts: jnp.sum(jax.vmap(loss)(parts, links, length)))(parts)
    each = jax.vmap(jax.grad(loss))(parts, links, length)
    jax.tree.map(lambda a, b: assert_close(a, b, 10), total, each)


THREADS = """
from test_kernel_transforms import digest
print(digest())
"""


def digest():
    """Of the bits of all that both kernels return for some large arguments."""
    rng = np.random.default_rng(0)
    _, layer, links = random_net(rng, 30, 25, 20, 5, 0.1)
    x, h0 = normal(rng, (20, 30, 300)), normal(rng, (20, 300))
    length = jnp.asarray(rng.integers(0, 21, 300), jnp.int32)
    wide = links_of(random_mask(rng, (40, 30), 0.1))
    values = normal(rng, wide.column.shape)
    # So few columns that threads share the features.
    large = links_of(random_mask(rng, (600, 500), 0.3))
    few, of_few = normal(rng, (3, 500, 150)), normal(rng, large.column.shape)

    def call(layer_values, values, x, of_few, few):
        y, h = kernels.recurrent(layer_values, links, x, h0, length, keep_h=True)
        linear = kernels.linear(values, jnp.zeros(40), x, wide, relu=True)
        return y, h, linear, kernels.linear(of_few, jnp.ones(600), few, large, relu=True)

    found, pull_back = jax.vjp(call, values_of(layer, links), values, x, of_few, few)
    arrays = jax.tree.leaves((found, pull_back(found)))
    return hashlib.sha256(b"".join(np.asarray(array).tobytes() for array in arrays)).hexdigest()


def test_bits_do_not_depend_on_the_number_of_threads():
    paths = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])  # noqa: PTH120
    digests = [
        subprocess.run(
            [sys.executable, "-c", THREADS],
            env=os.environ | {"PYTHONPATH": paths, "NPROC": str(threads)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in (1, 2, 3, 16)  # Of XLA's, however many cores there are.
    ]
    assert len(set(digests)) == 1
    assert digests[0]


def test_gradients_go_through_a_scan():
    """What the backward pass is told must not become an array on the way."""
    rng = np.random.default_rng(0)
    mask = random_mask(rng, (9, 9), 0.3)
    links = links_of(mask)
    weight, x = jnp.where(mask, normal(rng, (9, 9)), 0), normal(rng, (9, 4))
    _, layer, net_links = random_net(rng, 9, 5, 4, 9, 0.4)
    length = jnp.full(4, 3, jnp.int32)

    def step(values, x):
        x = kernels.linear(values, jnp.zeros(9), x, links, relu=True)
        y, _ = kernels.recurrent(
            values_of(layer, net_links),
            net_links,
            jnp.stack([x] * 3),
            jnp.zeros((4, 4)),
            length,
            keep_h=False,
        )
        return jnp.tanh(y[-1])

    def loss(values, x):
        return jnp.sum(jax.lax.scan(lambda x, _: (step(values, x), None), x, length=3)[0])

    def unrolled(values, x):
        return jnp.sum(step(values, step(values, step(values, x))))

    found = jax.jit(jax.grad(loss, (0, 1)))(take(links, weight), x)
    expected = jax.grad(unrolled, (0, 1))(take(links, weight), x)
    assert any(array.any() for array in expected)
    jax.tree.map(assert_close, found, expected)


def test_what_is_not_a_number_stays_so(isa):
    rng = np.random.default_rng(0)
    _, layer, links = random_net(rng, 4, 4, 4, 4, 1.0)
    x = normal(rng, (2, 4, 20)).at[0, 0, 3].set(np.nan)
    h0, length = jnp.zeros((4, 20)), jnp.full(20, 2, jnp.int32)
    y, h = kernels.recurrent(values_of(layer, links), links, x, h0, length, keep_h=True)
    for array in (y, h):
        assert np.flatnonzero(np.isnan(array).any(axis=(0, 1))).tolist() == [3]
    mask = np.ones((3, 4), bool)
    y = kernels.linear(jnp.ones(12), jnp.zeros(3), x[0], links_of(mask), relu=True)
    assert np.flatnonzero(np.isnan(y).all(axis=0)).tolist() == [3]


@pytest.mark.parametrize("gate", [0, 1, 2], ids=["reset", "update", "candidate"])
@pytest.mark.parametrize("bits", [0x7FC00001, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_gate_that_is_not_a_number_stays_so_whatever_its_bits(isa, gate, bits):
    hidden = 4
    _, layer, links = random_net(np.random.default_rng(0), 4, 4, hidden, 4, 1.0)
    values = values_of(layer, links)
    biases = np.array(values["b_ih"])
    biases.view(np.uint32)[gate * hidden + 1] = bits
    x, length = jnp.ones((1, 4, 20)), jnp.ones(20, jnp.int32)
    values |= {"b_ih": jnp.asarray(biases)}
    _, h = kernels.recurrent(values, links, x, jnp.zeros((hidden, 20)), length, keep_h=True)
    assert np.isnan(h[0, 1]).all()
    assert np.isfinite(h[0, [0, 2, 3]]).all()
