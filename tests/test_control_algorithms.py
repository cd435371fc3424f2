"""TD3 and SAC against float64 references of the published formulas, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import control_reference as reference
from sparl.algorithms.sac import Sac
from sparl.algorithms.td3 import Td3
from sparl.config import ControlConfig
from sparl.replay.transitions import TransitionBatch, at_most
from sparl.spec import ControlSpec

SPEC = ControlSpec(obs_dim=5, action_dim=2, episode_limit=20)
KEY = jax.random.key(3)
B, N = 6, 3


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    # A whole window, one cut off after two steps, one after the first; terminals in all places.
    included = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 0, 1], [1, 0, 0, 1, 0, 1]], bool)
    terminated = np.array([[0, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0]], bool)
    return TransitionBatch(
        obs=rng.normal(size=(5, B)),
        action=rng.uniform(-1, 1, size=(2, B)),
        reward=rng.normal(size=(N, B)),
        terminated=terminated,
        included=included,
        next_obs=rng.normal(size=(N, 5, B)),
    )


def steps_of(batch):
    columns = []
    for b in range(B):
        column = {name: value[..., b] for name, value in batch._asdict().items()}
        columns.append({k: v.astype(float) if v.dtype != bool else v for k, v in column.items()})
    return columns


def trees(algorithm):
    """Online and target parameters, in float32 for the code and in float64 for the reference."""
    pair = [algorithm.init(jax.random.key(i)) for i in (0, 1)]
    return pair, [jax.tree.map(lambda x: np.asarray(x, float), tree) for tree in pair]


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


def check_gradient(gradient, params, names, loss):
    """Against central differences of the reference, along random directions of each network."""
    rng = np.random.default_rng(1)
    for name in names:
        step = jax.tree.map(lambda x: rng.normal(size=x.shape), params[name])
        along = sum(jax.tree.leaves(jax.tree.map(lambda g, s: np.sum(g * s), gradient[name], step)))
        after, before = (
            loss(params | {name: jax.tree.map(lambda x, s: x + size * s, params[name], step)})  # noqa: B023
            for size in (1e-6, -1e-6)
        )
        np.testing.assert_allclose(along, (after - before) / 2e-6, rtol=2e-3, atol=1e-5)


def run(algorithm, name, pair, batch, rewards):
    part = next(part for part in algorithm.parts if part.name == name)
    as_jax = jax.tree.map(jnp.asarray, batch)
    as_jax = jax.tree.map(lambda x: x.astype(jnp.float32) if x.dtype != bool else x, as_jax)

    as_jax = at_most(as_jax, jnp.int32(rewards))

    def loss(params):
        return part.loss(params, pair[1], as_jax, KEY)

    (value, _), gradient = jax.value_and_grad(loss, has_aux=True)(pair[0])
    others = set(gradient) - set(part.networks)
    return value, jax.tree.map(np.asarray, gradient), others


# As it is, with noise that is mostly clipped, and with actions that are.
@pytest.mark.parametrize(("std", "clip"), [(0.2, 0.5), (5.0, 0.5), (5.0, 3.0)])
@pytest.mark.parametrize("rewards", [1, 2, 3])
def test_td3_critics(batch, rewards, std, clip):
    config = ControlConfig(target_noise=std, noise_clip=clip)
    algorithm = Td3(SPEC, config, 8, 0.99)
    pair, (params, old) = trees(algorithm)
    found, gradient, others = run(algorithm, "critic_loss", pair, batch, rewards)
    noise = np.asarray(std * jax.random.normal(KEY, (2, B)), float)
    steps = steps_of(batch)
    targets = [
        reference.td3_target(old, step, noise[:, b], rewards=rewards, clip=clip)
        for b, step in enumerate(steps)
    ]
    close(found, reference.critic_loss(params, steps, targets))
    # A target is no function of what is trained.
    check_gradient(
        gradient, params, ("critic1", "critic2"), lambda p: reference.critic_loss(p, steps, targets)
    )
    for name in others:
        assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient[name]))


def test_td3_actor(batch):
    algorithm = Td3(SPEC, ControlConfig(), 8, 0.99)
    pair, (params, _) = trees(algorithm)
    found, gradient, _ = run(algorithm, "actor_loss", pair, batch, 1)
    steps = steps_of(batch)
    close(found, reference.td3_actor_loss(params, steps))
    check_gradient(gradient, params, ("actor",), lambda p: reference.td3_actor_loss(p, steps))


@pytest.mark.parametrize("rewards", [1, 3])
def test_sac_critics(batch, rewards):
    algorithm = Sac(SPEC, 8, 0.99)
    pair, (params, old) = trees(algorithm)
    found, gradient, _ = run(algorithm, "critic_loss", pair, batch, rewards)
    last_key, key = jax.random.split(KEY)
    noise = np.asarray(jax.random.normal(last_key, (2, B)), float)
    way = []
    for _ in range(1, N):
        key, own = jax.random.split(key)
        way.append(np.asarray(jax.random.normal(own, (2, B)), float))
    steps = steps_of(batch)
    targets = [
        reference.sac_target(
            params, old, step, noise[:, b], [each[:, b] for each in way], rewards=rewards
        )
        for b, step in enumerate(steps)
    ]
    close(found, reference.critic_loss(params, steps, targets))
    check_gradient(
        gradient, params, ("critic1", "critic2"), lambda p: reference.critic_loss(p, steps, targets)
    )


def test_sac_actor_and_temperature(batch):
    algorithm = Sac(SPEC, 8, 0.99)
    pair, (params, _) = trees(algorithm)
    steps = steps_of(batch)
    noise = np.asarray(jax.random.normal(KEY, (2, B)), float).T
    found, gradient, _ = run(algorithm, "actor_loss", pair, batch, 1)

    def price(p):
        # What holds the entropy does not move the policy.
        return reference.sac_temperature_loss(params, steps, noise, 2, p["temperature"]["log"])

    def actor(p):
        # And what the policy pays does not move the price.
        fixed = p | {"temperature": params["temperature"]}
        return reference.sac_actor_loss(fixed, steps, noise)

    close(found, actor(params) + price(params))
    names = ("actor", "temperature")
    check_gradient(gradient, params, names, lambda p: actor(p) + price(p))


@pytest.mark.parametrize("log_std", [9.0, -9.0, -50.0])
def test_sac_spread_is_clipped(log_std):
    algorithm = Sac(SPEC, 8, 0.99)
    (tree, _), (params, _) = trees(algorithm)
    for each in (tree, params):
        each["actor"]["2"]["b"] = np.array([0.3, -0.2, log_std, log_std - 1], np.float32)
    obs = np.ones((5, B), np.float32)
    action, log_density = algorithm.sample(jax.tree.map(jnp.asarray, tree), jnp.asarray(obs), KEY)
    noise = np.asarray(jax.random.normal(KEY, (2, B)), float)
    for b in range(B):
        expected, density = reference.draw(params, obs[:, b], noise[:, b])
        np.testing.assert_allclose(action[:, b], expected, atol=1e-5)
        np.testing.assert_allclose(log_density[b], density, rtol=1e-4)


def test_sac_density_far_out_is_finite():
    algorithm = Sac(SPEC, 8, 0.99)
    weights = algorithm.init(KEY)
    weights["actor"]["2"]["b"] = jnp.asarray([50.0, -50, 0, 0])
    _, log_density = algorithm.sample(weights, jnp.ones((5, 4)), KEY)
    assert jnp.isfinite(log_density).all()


def test_exploration_of_sac_is_its_policy():
    algorithm = Sac(SPEC, 8, 0.99)
    weights = algorithm.init(KEY)
    obs = jax.random.normal(KEY, (5, 100))
    best, acted = algorithm.explore(weights, obs, KEY)
    np.testing.assert_allclose(best, algorithm.act(weights, obs), rtol=1e-6)
    np.testing.assert_allclose(acted, algorithm.sample(weights, obs, KEY)[0], rtol=1e-6)


def test_exploration_of_td3_is_noise_within_the_bounds():
    algorithm = Td3(SPEC, ControlConfig(), 8, 0.99)
    weights = algorithm.init(KEY)
    obs = jax.random.normal(KEY, (5, 4000))
    best, acted = algorithm.explore(weights, obs, jax.random.key(1))
    np.testing.assert_array_equal(best, algorithm.act(weights, obs))
    inside = jnp.abs(best) < 0.5
    assert float(jnp.std((acted - best)[inside])) == pytest.approx(0.1, rel=0.05)
    assert float(jnp.max(jnp.abs(acted))) <= 1
