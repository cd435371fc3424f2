"""Sparse training of any network through optax."""

import itertools
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kernel_cases import needs_kernels
from sparl import compute, topology
from sparl.topology import by_name

WIDTHS = (12, 24, 16, 3)


def init_mlp(key):
    keys = jax.random.split(key, len(WIDTHS) - 1)
    return {
        str(i): {
            "w": jax.random.normal(k, (WIDTHS[i + 1], WIDTHS[i])),
            "b": jnp.zeros(WIDTHS[i + 1]),
        }
        for i, k in enumerate(keys)
    }


def loss(params, links, x):
    weights = compute.bind(params, links)
    hidden = compute.linear(weights["0"], x, relu=True)
    hidden = compute.linear(weights["1"], hidden, relu=True)
    return jnp.mean((compute.linear(weights["2"], hidden) - x[:3]) ** 2)


def train(form, rule, updates, *, inner=None, **settings):
    """Parameters, state and topologies after each update, in the masked form."""
    params, links = topology.init(
        jax.random.key(1), init_mlp(jax.random.key(0)), sparsity=0.7, compute=form
    )
    inner = inner or optax.adam(1e-2)
    settings = {"total_updates": 40, "interval": 4, "fraction": 0.5} | settings
    optimizer = topology.evolving(inner, links, rule=rule, **settings)

    @jax.jit
    def update(params, state, x):
        traced.append(x)
        gradients = jax.grad(loss)(params, state.topology, x)
        dense = partial(lambda x, p: jax.grad(loss)(p, compute.dense(p), x), x)
        steps, state = optimizer.update(gradients, state, params, dense_gradients=dense)
        return optax.apply_updates(params, steps), state

    state = optimizer.init(params)
    history, traced = [], []
    for i in range(updates):
        params, state = update(params, state, jax.random.normal(jax.random.key(i), (12, 30)))
        history.append(compute.to_masked(params, state.topology))
    assert len(traced) == 1, "moved links were compiled anew"
    return params, state, history


def masks_of(history, layer="1"):
    return [np.asarray(masks[layer]["w"]) for _, masks in history]


@needs_kernels
@pytest.mark.parametrize("rule", ["static", "set", "rigl"])
def test_kernels_train_as_masks_do(rule):
    _, _, sparse = train("sparse", rule, 12)
    _, _, masked = train("masked", rule, 12)
    for (params, masks), (expected, expected_masks) in zip(sparse, masked, strict=True):
        jax.tree.map(np.testing.assert_array_equal, masks, expected_masks)
        jax.tree.map(partial(np.testing.assert_allclose, atol=2e-5), params, expected)


@pytest.mark.parametrize("rule", ["set", "rigl"])
def test_links_move_when_they_should_and_keep_their_number(rule):
    _, _, history = train("masked", rule, 44)
    masks = masks_of(history)
    moved = [int((new & ~old).sum()) for old, new in itertools.pairwise(masks)]
    assert len({mask.sum() for mask in masks}) == 1
    # The list begins with the second update; changes come every fourth, fewer and fewer.
    assert all(m == 0 for i, m in enumerate(moved) if (i + 2) % 4)
    assert moved[2] > moved[30]
    assert moved[2] > 0
    # At the end of `total_updates` the share is 0.
    assert moved[38] == 0
    assert moved[42] == 0


def test_static_links_stay():
    _, _, history = train("masked", "static", 8)
    assert all((mask == masks_of(history)[0]).all() for mask in masks_of(history))


@pytest.mark.parametrize("form", ["masked", pytest.param("sparse", marks=needs_kernels)])
def test_new_links_start_at_zero_without_moments(form):
    _, state, history = train(form, "rigl", 4)
    _, earlier, before = train(form, "rigl", 3)
    now, then = masks_of(history)[-1], masks_of(before)[-1]
    new = now & ~then
    assert new.any()

    def dense(state):
        return np.asarray(compute.to_masked(state.inner[0].mu, state.topology)[0]["1"]["w"])

    for values in (np.asarray(history[-1][0]["1"]["w"]), dense(state)):
        assert not values[new].any()
    # What links had that are still there they keep.
    np.testing.assert_array_equal(dense(state)[now & then], dense(earlier)[now & then])


def test_rigl_grows_where_the_gradient_is_largest():
    """With a gradient that is large in one place only, that place is grown."""
    params = {"w": jnp.arange(1.0, 13).reshape(3, 4)}
    params, links = topology.init(jax.random.key(0), params, sparsity=0.5, compute="masked")
    absent = np.argwhere(~np.asarray(links["w"]))[0]
    wanted = jnp.zeros((3, 4)).at[tuple(absent)].set(7.0)
    optimizer = topology.evolving(
        optax.sgd(1.0), links, rule="rigl", total_updates=100, interval=1, fraction=0.2
    )
    _, state = optimizer.update(
        params, optimizer.init(params), params, dense_gradients=lambda _: {"w": wanted}
    )
    assert state.topology["w"][tuple(absent)]


@needs_kernels
@pytest.mark.parametrize(
    "inner",
    [
        optax.chain(
            optax.clip_by_global_norm(1.0), optax.adamw(optax.cosine_decay_schedule(1e-2, 20))
        ),
        optax.partition(
            {"slow": optax.sgd(1e-3, momentum=0.9), "fast": optax.adam(1e-2)},
            {"0": "slow", "1": "fast", "2": "fast"},
        ),
        optax.adam(1e-2, mu_dtype=jnp.bfloat16),
    ],
    ids=["chain", "partition", "moments in fewer bits"],
)
def test_other_transformations_are_carried_along(inner):
    _, _, sparse = train("sparse", "rigl", 9, inner=inner)
    _, _, masked = train("masked", "rigl", 9, inner=inner)
    for (params, masks), (expected, expected_masks) in zip(sparse, masked, strict=True):
        jax.tree.map(np.testing.assert_array_equal, masks, expected_masks)
        jax.tree.map(partial(np.testing.assert_allclose, atol=2e-4), params, expected)


def test_past_the_last_change_every_update_is_a_gradient_step():
    _, _, history = train("masked", "rigl", 12, total_updates=8)
    biases = [np.asarray(params["1"]["b"]) for params, _ in history]
    steps = [bool((new != old).any()) for old, new in itertools.pairwise(biases)]
    # The list begins with the second update; the fourth changes the topology, the eighth does not.
    assert steps == [i != 2 for i in range(11)]


def test_a_state_that_is_given_away_leaves_the_topology():
    params, links = topology.init(
        jax.random.key(0), init_mlp(jax.random.key(0)), sparsity=0.5, compute="masked"
    )
    optimizer = topology.evolving(optax.sgd(1.0), links, rule="set", total_updates=9)
    state = optimizer.init(params)
    assert not set(map(id, jax.tree.leaves(links))) & set(map(id, jax.tree.leaves(state)))


def test_half_precision_trains_under_masks():
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), init_mlp(jax.random.key(0)))
    params, links = topology.init(jax.random.key(1), half, sparsity=0.7, compute="masked")
    optimizer = topology.evolving(optax.sgd(1e-2), links, rule="rigl", total_updates=9, interval=1)
    updates, state = optimizer.update(
        params, optimizer.init(params), params, dense_gradients=lambda p: p
    )
    assert updates["0"]["w"].dtype == jnp.bfloat16
    assert state.topology["0"]["w"].sum() == links["0"]["w"].sum()


def test_a_whole_network_shares_one_budget():
    params = init_mlp(jax.random.key(0))
    _, masks = topology.init(jax.random.key(1), params, sparsity=0.7, compute="masked")
    weights = [mask for mask in jax.tree.leaves(masks) if mask.ndim == 2]
    assert abs(sum(m.sum() for m in weights) / sum(m.size for m in weights) - 0.3) < 0.01
    assert masks["0"]["b"] is None
    shares = [m.mean() for m in weights]
    assert shares[0] < shares[2]  # Erdos-Renyi keeps more of small layers.
    same, everywhere = topology.init(jax.random.key(1), params, sparsity=0.0)
    assert same is params
    assert jax.tree.leaves(everywhere) == []


def test_the_example_learns():
    example = Path(__file__).parents[1] / "examples" / "mlp.py"
    out = subprocess.run(
        [sys.executable, example, "--updates", "201", "--width", "128", "--sparsity", "0.8"],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    ).stdout
    losses = re.findall(r"loss (\d+\.\d+) -> (\d+\.\d+)", out)
    assert len(losses) == 2
    assert all(float(last) < float(first) / 2 for first, last in losses), out


@pytest.mark.parametrize("form", ["masked", pytest.param("sparse", marks=needs_kernels)])
@pytest.mark.parametrize("dtype", [np.float64, np.int32, jnp.bfloat16, bool])
def test_activations_count_as_float32(form, dtype):
    params, links = topology.init(
        jax.random.key(1), init_mlp(jax.random.key(0)), sparsity=0.7, compute=form
    )
    layer = compute.bind(params, links)["0"]
    x = np.random.default_rng(0).integers(0, 2, (12, 5))
    np.testing.assert_array_equal(
        compute.linear(layer, x.astype(dtype)), compute.linear(layer, x.astype(np.float32))
    )


@pytest.mark.parametrize("form", ["masked", pytest.param("sparse", marks=needs_kernels)])
def test_biases_count_as_float32(form):
    params, links = topology.init(
        jax.random.key(1), init_mlp(jax.random.key(0)), sparsity=0.7, compute=form
    )
    layer = compute.bind(params, links)["0"]
    half = layer["b"].astype(jnp.bfloat16)
    x = jnp.ones((12, 3))
    expected = compute.linear(layer | {"b": half.astype(jnp.float32)}, x)
    np.testing.assert_array_equal(compute.linear(layer | {"b": half}, x), expected)


def test_absent_links_stay_absent_where_the_loss_did_not_bind():
    params, masks = topology.init(
        jax.random.key(1), init_mlp(jax.random.key(0)), sparsity=0.7, compute="masked"
    )
    optimizer = topology.evolving(optax.adam(0.1), masks, rule="static", total_updates=9)
    ones = jax.tree.map(jnp.ones_like, params)
    updates, state = optimizer.update(ones, optimizer.init(params), params)
    for name, mask in by_name(masks).items():
        np.testing.assert_array_equal(by_name(updates)[name] != 0, mask)
        np.testing.assert_array_equal(by_name(state.inner[0].mu)[name] != 0, mask)
