"""COMIX against float64 references, in training, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import control_reference
import reference
from sparl.algorithms import cross_entropy, make_control
from sparl.errors import InputError
from sparl.methods import resolve
from sparl.presets import defaults
from sparl.replay.transitions import TransitionBatch
from sparl.spec import ControlSpec
from sparl.topology import by_name, weight_shapes
from sparl.train.program import build
from team_of_hands import Hands, config_of
from test_control_algorithms import check_gradient, close, steps_of, trees

KEY = jax.random.key(3)
B, N = 6, 3


def test_the_search_goes_by_its_elites():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(3, 20, 2, 5))
    wanted = rng.uniform(-1, 1, size=(2, 5))

    def value(actions):
        return -((actions - wanted) ** 2).sum(axis=1)

    actions, values = cross_entropy.search(value, jnp.asarray(noise), elites=4)
    found = cross_entropy.best(actions, values)
    for c in range(5):
        mean, std = np.zeros(2), np.ones(2)
        for draws in noise[..., c]:
            raw = mean + std * draws
            worth = [-np.sum((np.tanh(own) - wanted[:, c]) ** 2) for own in raw]
            elites = raw[np.argsort(worth)[-4:]]
            mean, std = elites.mean(axis=0), elites.std(axis=0, ddof=1)
        close(actions[..., c], np.tanh(raw))
        close(values[:, c], worth)
        close(found[:, c], np.tanh(raw[np.argmax(worth)]))
    assert np.abs(found - wanted).max() < 0.3


def q_of(params, i, view, action):
    """What agent `i` of `Hands` holds of an action, padded to two numbers like its view."""
    padded = [np.pad(x, (0, 2 - len(x))) for x in (view, action)]
    x = np.concatenate([padded[0], np.eye(2)[i], padded[1]])
    return control_reference.mlp(params["agent"], x)[0]


def samples_of(params, i, view, noise, elites=4):
    """The values of the last round's samples `[S]`; noise `[R, S, A]`."""
    size = Hands.spec.action_dims[i]
    mean, std = np.zeros(2), np.ones(2)
    for draws in noise:
        raw = mean + std * draws
        worth = np.array([q_of(params, i, view, np.tanh(own)[:size]) for own in raw])
        best = raw[np.argsort(worth)[-elites:]]
        mean, std = best.mean(axis=0), best.std(axis=0, ddof=1)
    return worth


def split(obs):
    """What the agents see, and what the mixer does."""
    state = obs[3:]
    return (obs[:1], obs[1:3]), np.copysign(np.log(1 + np.abs(state)), state)


def value_of(params, obs, noise, operator):
    """Of what a team sees; noise `[R, S, A, n]`."""
    views, state = split(obs)
    own = [samples_of(params, i, view, noise[..., i]) for i, view in enumerate(views)]
    every = [np.ones(len(q), bool) for q in own]
    qs = np.array([operator(q, q, avail) for q, avail in zip(own, every, strict=True)])
    return reference.mix_qmix(params["mixer"], qs, state)


def target_of(step, value, kind):
    """The target of a step, `value` being one of what is seen after its k-th reward."""
    if kind != "td_lambda":
        return control_reference.target(step, N, 0.99, lambda obs: value(obs, 0))
    count = int(step["included"].sum())
    values = [value(step["next_obs"][k], k) for k in range(count)]
    ends = any(step["terminated"][:count])
    return reference.returns(step["reward"][:count], values, ends, 0.99, 0.6)[0]


def q_total(params, step):
    views, state = split(step["obs"])
    actions = (step["action"][:1], step["action"][1:])
    qs = [q_of(params, i, *own) for i, own in enumerate(zip(views, actions, strict=True))]
    return reference.mix_qmix(params["mixer"], np.array(qs), state)


def test_returns_of_the_reference_are_those_of_a_window():
    # An episode that is cut off behind the second of its steps.
    found = reference.returns([1.0, 2.0], [10.0, 20.0], terminated=False, gamma=0.5, lam=0.6)
    second = 2 + 0.5 * 20
    assert found[0] == pytest.approx(1 + 0.5 * (0.4 * 10 + 0.6 * second))


# A whole window, some cut off, terminals in all places that can be; and before returns have more
# than one reward.
INCLUDED = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 0, 1], [1, 0, 0, 1, 0, 1]], bool)
FIRST = np.array([[1] * 6, [0] * 6, [0] * 6], bool)


@pytest.mark.parametrize(
    ("kind", "operator", "included", "searched"),
    [
        ("one_step", "max", INCLUDED[:1], 1),
        ("n_step", "max", INCLUDED, 1),
        ("td_lambda", "soft_mellowmax", INCLUDED, N),
        ("td_lambda", "soft_mellowmax", FIRST, 1),
    ],
)
def test_the_loss_is_that_of_the_formulas(kind, operator, included, searched):
    config = resolve(config_of("dense", target={"kind": kind, "operator": operator}))
    algorithm = make_control(Hands.spec, config)
    rng, count = np.random.default_rng(0), len(included)
    terminated = np.array([[0, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0]], bool)
    batch = TransitionBatch(
        obs=rng.normal(size=(6, B)),
        action=rng.uniform(-1, 1, size=(3, B)),
        reward=rng.normal(size=(count, B)),
        terminated=terminated[:count],
        included=included,
        next_obs=rng.normal(size=(count, 6, B)),
    )
    pair, (params, old) = trees(algorithm)
    noise = np.asarray(algorithm._noise(KEY, searched * B * 2), float)
    noise = noise.reshape(2, 16, 2, searched, B, 2)
    operate = {"max": reference.maximum, "soft_mellowmax": reference.soft_mellowmax}[operator]

    def target(b, step):
        return target_of(
            step, lambda obs, k: value_of(old, obs, noise[..., k, b, :], operate), kind
        )

    steps = steps_of(batch)
    targets = np.array([target(b, step) for b, step in enumerate(steps)])

    def loss(params):
        return np.mean((np.array([q_total(params, step) for step in steps]) - targets) ** 2)

    single = jax.tree.map(lambda x: x if x.dtype == bool else x.astype(np.float32), batch)
    (found, scalars), gradient = jax.value_and_grad(algorithm.loss, has_aux=True)(
        pair[0], pair[1], jax.tree.map(jnp.asarray, single), KEY
    )
    close(found, loss(params))
    check_gradient(gradient, params, ("agent", "mixer"), loss)
    q = np.array([q_total(params, step) for step in steps])
    close(scalars["q"], q.mean())
    close(scalars["target"], targets.mean())
    close(scalars["td_error"], np.abs(q - targets).mean())


def test_an_agent_acts_by_what_it_sees_alone():
    algorithm = make_control(Hands.spec, resolve(config_of("dense")))
    weights = algorithm.init(KEY)
    obs = jax.random.normal(KEY, (6, 9))
    acted = algorithm.act(weights, obs)
    assert acted.shape == (3, 9)
    # Nor by who is beside it.
    np.testing.assert_allclose(algorithm.act(weights, obs[:, 4:5]), acted[:, 4:5], rtol=1e-5)
    other = algorithm.act(weights, obs.at[1:].add(1.0))
    np.testing.assert_array_equal(other[0], acted[0])
    assert (other[1:] != acted[1:]).any()


def test_exploration_is_noise_within_the_bounds():
    algorithm = make_control(Hands.spec, resolve(config_of("dense")))
    weights = algorithm.init(KEY)
    obs = jax.random.normal(KEY, (6, 3000))
    best, acted = algorithm.explore(weights, obs, jax.random.key(1))
    inside = jnp.abs(best) < 0.5
    assert float(jnp.std((acted - best)[inside])) == pytest.approx(0.1, rel=0.05)
    assert float(jnp.max(jnp.abs(acted))) <= 1


@pytest.mark.parametrize("columns", [1, 100, 1000, 10_000])
def test_samples_go_in_groups_or_all_at_once(columns, monkeypatch):
    algorithm = make_control(Hands.spec, resolve(config_of("dense")))
    weights = algorithm.init(KEY)
    obs = jax.random.normal(KEY, (6, 50))
    expected = algorithm.act(weights, obs)
    monkeypatch.setattr("sparl.algorithms.comix.COLUMNS", columns)
    np.testing.assert_allclose(algorithm.act(weights, obs), expected, rtol=1e-4, atol=1e-6)


def test_ds_has_its_own_pace_and_the_other_rules_that_of_mast():
    found = {
        method: resolve(defaults("comix", method)).topology for method in ("ds", "rigl", "mast")
    }
    paces = {method: (own.interval, own.fraction) for method, own in found.items()}
    assert paces == {"ds": (1000, 0.05), "rigl": (10_000, 0.5), "mast": (10_000, 0.5)}


def test_parameters_and_flops_are_those_of_the_networks():
    config = resolve(config_of("mast"))
    program = build(config)
    params = jax.eval_shape(program.algorithm.init, KEY)
    sizes = {name: leaf.size for name, leaf in by_name(params).items()}
    counted = program.accounting(dict.fromkeys(weight_shapes(params), 0.5))
    assert counted.parameters["dense"] == sum(sizes.values())
    # Two agents search among 2 x 16 actions with a network of 6, 16, 16 and 1 units.
    forward = 11 * 16 + 31 * 16 + 31
    assert counted.flops["test_dense"] == 2 * 32 * forward
    hyper = 3 * (5 * 8) + 15 * 16 + 5 * 8 + 15 * 8 + 15
    mixing = 3 * 8 + 15
    expected = 2 * (3 + 3 * 32) * forward + (3 + 3) * (hyper + mixing)
    assert counted.flops["train_dense"] == expected


@pytest.mark.parametrize(
    ("dims", "match"),
    [
        ({"obs_dims": (2,), "action_dims": (1, 1)}, "for each agent"),
        ({"obs_dims": (2, 0), "action_dims": (1, 1)}, "for each agent"),
        ({"obs_dims": (2, 1), "action_dims": (1, 2)}, "the sum of action_dims"),
        ({"obs_dims": (2, 3), "action_dims": (1, 1)}, "obs_dim more than that"),
    ],
)
def test_sizes_of_a_team_agree(dims, match):
    with pytest.raises(InputError, match=match):
        ControlSpec(obs_dim=5, action_dim=2, episode_limit=3, **dims)
