"""Distributions, evolution rules and the schedule."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sparl.errors import InputError
from sparl.topology import (
    cosine,
    drop_and_grow,
    ds,
    erdos_renyi,
    evolve,
    link_counts,
    random_topology,
    rigl,
    set_,
    uniform,
)
from sparl.topology.top import top_mask

KEY = jax.random.key(0)

# Maps of SMAC: agents, input, state, actions.
MAPS = {
    "3m": (3, 42, 48, 9),
    "2s3z": (5, 96, 120, 11),
    "3s5z": (8, 150, 216, 14),
    "2c_vs_64zg": (2, 404, 342, 70),
}


def shapes(map_name):
    n, inputs, state, actions = MAPS[map_name]
    return {
        "agent/fc1": (64, inputs),
        "agent/w_ih": (192, 64),
        "agent/w_hh": (192, 64),
        "agent/fc2": (actions, 64),
    }, {
        "w1.0": (64, state),
        "w1.2": (32 * n, 64),
        "wf.0": (64, state),
        "wf.2": (32, 64),
        "b1": (32, state),
        "V.0": (32, state),
        "V.2": (1, 32),
    }


@pytest.mark.parametrize(
    ("map_name", "sparsity", "agent", "mixer"),
    [
        ("3m", 0.95, ".0794 .0420 .0420 .2553", ".0479 .0342 .0479 .0615 .0684 .0684 1"),
        ("2s3z", 0.95, ".0548 .0438 .0438 .2241", ".0419 .0383 .0419 .0820 .0693 .0693 1"),
        ("2s3z", 0.90, ".1095 .0876 .0876 .4482", ".0846 .0773 .0846 .1656 .1398 .1398 1"),
        ("3s5z", 0.90, ".0972 .0909 .0909 .3797", ".0820 .0791 .0820 .1898 .1453 .1453 1"),
        ("3s5z", 0.85, ".1459 .1363 .1363 .5696", ".1233 .1189 .1233 .2853 .2184 .2184 1"),
        ("2c_vs_64zg", 0.90, ".0892 .1027 .1027 .1474", ".0744 .1253 .0744 .1879 .1370 .1370 1"),
        ("2c_vs_64zg", 0.85, ".1338 .1540 .1540 .2212", ".1117 .1882 .1117 .2823 .2058 .2058 1"),
    ],
)
def test_erdos_renyi_densities_of_the_paper_maps(map_name, sparsity, agent, mixer):
    for layers, expected in zip(shapes(map_name), (agent, mixer), strict=True):
        densities = list(erdos_renyi(layers, sparsity).values())
        np.testing.assert_allclose(densities, [float(x) for x in expected.split()], atol=6e-5)


layer_shapes = st.dictionaries(
    st.text("abc", min_size=1, max_size=3),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    min_size=1,
)


@given(shapes=layer_shapes, sparsity=st.floats(0, 0.99))
def test_densities_meet_the_budget(shapes, sparsity):
    for distribution in (erdos_renyi, uniform):
        densities = distribution(shapes, sparsity)
        size = {name: rows * cols for name, (rows, cols) in shapes.items()}
        assert all(0 < density <= 1 for density in densities.values())
        links = sum(densities[name] * size[name] for name in shapes)
        assert links == pytest.approx((1 - sparsity) * sum(size.values()))


def test_too_few_links_names_the_layer_and_the_way_out():
    layers = {"agent/fc1/w": (64, 42), "agent/fc2/w": (9, 64)}
    with pytest.raises(InputError, match=r"sparsity 0.999 .* leaves agent/fc1/w .* is 0\.\d+"):
        link_counts(layers, 0.999)
    with pytest.raises(InputError) as error:
        link_counts(layers, 0.999)
    limit = float(str(error.value).rsplit(" ", 1)[1])
    assert min(link_counts(layers, limit).values()) >= 9
    with pytest.raises(InputError):
        link_counts(layers, limit + 0.001)


def test_random_topology_has_the_counted_links_and_leaves_biases_alone():
    params = {"agent": {"fc1": {"w": jnp.ones((64, 42)), "b": jnp.ones(64)}}}
    topology = random_topology(KEY, params, 0.9)
    links = link_counts({"agent/fc1/w": (64, 42)}, 0.9)["agent/fc1/w"]
    assert topology["agent"]["fc1"]["w"].sum() == links == 64 * 42 - int(0.9 * 64 * 42)
    assert topology["agent"]["fc1"]["b"] is None
    other = random_topology(jax.random.key(1), params, 0.9)
    assert (topology["agent"]["fc1"]["w"] != other["agent"]["fc1"]["w"]).any()


def test_random_topology_is_uniform():
    params = {"w": jnp.ones((4, 5))}
    masks = jax.vmap(lambda key: random_topology(key, params, 0.8)["w"])(
        jax.random.split(KEY, 4000)
    )
    # 4 links of 20 places: each place is active in a fifth of the draws, within 5 sigma.
    np.testing.assert_allclose(masks.mean(axis=0), 0.2, atol=5 * (0.16 / 4000) ** 0.5)


@given(
    score=hnp.arrays(np.float32, (6, 7), elements=st.sampled_from([0.0, -0.0, 0.5, 1.0, 2.0, 1e9])),
    where=hnp.arrays(bool, (6, 7)),
    data=st.data(),
)
def test_top_mask_is_what_sorting_gives(score, where, data):
    count = data.draw(st.integers(0, int(where.sum())))
    order = np.argsort(np.where(where, -score, np.inf).ravel(), kind="stable")
    expected = np.zeros(where.size, bool)
    expected[order[:count]] = True
    np.testing.assert_array_equal(jax.jit(top_mask)(score, count, where).ravel(), expected)


@st.composite
def layers(draw):
    """A layer with ties and zeros, its mask, a gradient, and a share to move."""
    shape = draw(st.sampled_from([(1, 1), (3, 5), (8, 8), (7, 2)]))  # few, as each compiles
    numbers = st.one_of(st.sampled_from([0.0, 1.0, -1.0]), st.floats(-3, 3, width=32))
    mask = draw(hnp.arrays(bool, shape))
    weight = draw(hnp.arrays(np.float32, shape, elements=numbers)) * mask
    gradient = draw(hnp.arrays(np.float32, shape, elements=numbers))
    return weight, mask, gradient, draw(st.floats(0, 1, width=32))


@pytest.mark.parametrize("rule", [rigl, set_])
@given(layer=layers(), seed=st.integers(0, 100))
def test_rules_keep_counts_and_the_largest_links(rule, layer, seed):
    weight, mask, gradient, fraction = layer
    new = np.asarray(jax.jit(rule)(jax.random.key(seed), weight, mask, gradient, fraction))
    links = int(mask.sum())
    moved = int(np.float32(fraction) * np.float32(links))
    assert new.sum() == links
    # The largest survive: of the links that are gone, none is above the smallest that had to stay.
    magnitude = np.sort(np.abs(weight[mask]))[::-1]
    gone = mask & ~new
    assert gone.sum() <= moved
    if gone.any():
        assert np.abs(weight[gone]).max() <= magnitude[links - moved - 1 : links - moved].min(
            initial=np.inf
        )


@given(layer=layers())
def test_rigl_grows_where_the_gradient_is_largest(layer):
    weight, mask, gradient, fraction = layer
    new = np.asarray(jax.jit(rigl)(KEY, weight, mask, gradient, fraction))
    links = int(mask.sum())
    moved = int(np.float32(fraction) * np.float32(links))
    # Survivors by a stable sort, then growth by a stable sort of all other places.
    order = np.argsort(np.where(mask, -np.abs(weight), np.inf).ravel(), kind="stable")
    expected = np.zeros(mask.size, bool)
    expected[order[: links - moved]] = True
    promise = np.where(expected, np.inf, -np.abs(gradient).ravel())
    expected[np.argsort(promise, kind="stable")[:moved]] = True
    np.testing.assert_array_equal(new.ravel(), expected)


def test_set_grows_uniformly_among_all_places_but_the_survivors():
    weight = jnp.asarray([[3.0, 2.0, 0.1, 0.0, 0.0, 0.0]])
    mask = jnp.asarray([[True, True, True, False, False, False]])
    grown = jax.vmap(lambda key: set_(key, weight, mask, weight, 0.34))(jax.random.split(KEY, 4000))
    np.testing.assert_array_equal(grown[:, 0, :2].all(axis=0), [True, True])
    np.testing.assert_allclose(grown.mean(axis=0)[0, 2:], 0.25, atol=5 * (0.1875 / 4000) ** 0.5)


@given(layer=layers(), seed=st.integers(0, 100))
def test_ds_drops_the_weakest_of_each_sign(layer, seed):
    weight, mask, gradient, fraction = layer
    new = np.asarray(jax.jit(ds)(jax.random.key(seed), weight, mask, gradient, fraction))
    assert new.sum() == mask.sum()
    for sign in (1, -1):
        links = np.sort(sign * weight[mask & (sign * weight > 0)])
        dropped = int(np.float32(fraction) * np.float32(len(links)))
        # Whatever is above the weakest that had to stay has stayed.
        for least in links[dropped : dropped + 1]:
            assert new[mask & (sign * weight > least)].all()


def test_ds_grows_uniformly_among_all_places_but_the_survivors():
    weight = jnp.asarray([[3.0, 0.1, -2.0, -0.2, 0.0, 0.0, 0.0]])
    mask = jnp.asarray([[True, True, True, True, True, False, False]])
    grown = jax.vmap(lambda key: ds(key, weight, mask, weight, 0.5))(jax.random.split(KEY, 4000))
    # One of each sign is dropped, and the link that holds zero.
    np.testing.assert_array_equal(grown[:, 0, [0, 2]].all(axis=0), [True, True])
    shares = grown.mean(axis=0)[0, [1, 3, 4, 5, 6]]
    np.testing.assert_allclose(shares, 0.6, atol=5 * (0.24 / 4000) ** 0.5)


EVOLVE = [jax.jit(partial(evolve, rule)) for rule in (rigl, set_, ds)]


@given(layer=layers(), seed=st.integers(0, 100))
def test_evolve_zeroes_new_links_and_keeps_the_weight_of_regrown_ones(layer, seed):
    weight, mask, gradient, fraction = map(jnp.asarray, layer)
    tree = {"w": weight, "b": jnp.ones(3)}
    for changed_by in EVOLVE:
        params, topology, changed = changed_by(
            jax.random.key(seed),
            tree,
            {"w": mask, "b": None},
            {"w": gradient, "b": jnp.ones(3)},
            fraction,
        )
        new = topology["w"]
        assert (params["w"][~new] == 0).all()
        assert (params["w"][new & ~mask] == 0).all()
        assert (params["w"][new & mask] == weight[new & mask]).all()
        assert (params["b"] == 1).all()
        assert topology["b"] is None
        if mask.any():
            assert changed["w"] == pytest.approx((new & ~mask).sum() / mask.sum())


def test_nothing_moves_at_fraction_zero():
    mask = jax.random.uniform(KEY, (9, 9)) < 0.3
    weight = jnp.where(mask, 1.0, 0.0)
    assert (drop_and_grow(weight, mask, jnp.ones((9, 9)), 0.0) == mask).all()


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (0, 0.5),
        (0.1, 0.48776),
        (0.25, 0.42678),
        (0.5, 0.25),
        (0.75, 0.07322),
        (0.9, 0.01224),
        (1, 0),
    ],
)
def test_cosine_golden(progress, expected):
    assert cosine(progress, start=0.5) == pytest.approx(expected, abs=1e-5)


def test_cosine_stays_at_zero():
    for progress in (1.0, 1.3):
        assert cosine(progress, start=0.5) == pytest.approx(0, abs=1e-7)
