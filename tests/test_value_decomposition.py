"""Every algorithm's loss and gradient against the float64 reference."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import reference
from sparl import algorithms, replay, targets
from sparl.compute import bind, dense
from sparl.config import Config, NetworkConfig, TargetConfig, WeightingConfig
from sparl.nets import agent, qmix_mixer
from sparl.replay.ring import Step
from sparl.spec import EnvSpec
from sparl.topology import by_name, random_topology

SPEC = EnvSpec(num_agents=3, num_actions=4, obs_dim=5, state_dim=6, episode_limit=4)
NETWORK = NetworkConfig(hidden=3, embed=2, hypernet=3, central_embed=3)
LENGTHS = (4, 2, 3)
ALPHA = 0.3
REFERENCES = {
    "qmix": partial(reference.loss, mix=reference.mix_qmix),
    "vdn": partial(reference.loss, mix=reference.mix_vdn),
    "res": partial(reference.loss, mix=reference.mix_qmix, regulariser=0.05),
    "ow-qmix": partial(reference.weighted_loss, optimistic=True, alpha=ALPHA),
    "cw-qmix": partial(reference.weighted_loss, optimistic=False, alpha=ALPHA),
}
OPERATORS = {
    "double_q": reference.by_agent(reference.double_q),
    "soft_mellowmax": reference.by_agent(reference.soft_mellowmax),
    "subspace_softmax": reference.subspace_softmax,
}
CASES = [
    (name, *target)
    for name in ("qmix", "vdn", "ow-qmix", "cw-qmix")
    for target in (("one_step", "double_q"), ("td_lambda", "soft_mellowmax"))
] + [("res", kind, "subspace_softmax") for kind in ("one_step", "td_lambda")]


def random_episodes(seed=0):
    rng = np.random.default_rng(seed)
    episodes = []
    for i, length in enumerate(LENGTHS):
        avail = rng.random((length + 1, 3, 4)) < 0.6
        avail[..., 0] = True
        episodes.append(
            {
                "obs": rng.normal(size=(length + 1, 3, 5)).astype(np.float16).astype(float),
                "state": rng.normal(size=(length + 1, 6)).astype(np.float16).astype(float),
                "avail": avail,
                "actions": rng.integers(0, 4, (length, 3)),
                "rewards": rng.normal(size=length).astype(np.float32).astype(float),
                "terminated": i % 2 == 0,
            }
        )
    return episodes


def as_batch(episodes, longest=4):
    """The episodes as the ring would hold them, with rubbish behind their ends."""
    rng = np.random.default_rng(99)
    rows = []
    for episode in episodes:
        length = len(episode["rewards"])
        step = {
            "obs": 100 * rng.normal(size=(longest + 1, 3, 5)),
            "state": 100 * rng.normal(size=(longest + 1, 6)),
            "avail_actions": rng.random((longest + 1, 3, 4)) < 0.5,
            "actions": rng.integers(0, 4, (longest + 1, 3)),
            "reward": 100 * rng.normal(size=longest + 1),
            "terminated": rng.random(longest + 1) < 0.5,
        }
        step["obs"][: length + 1] = episode["obs"]
        step["state"][: length + 1] = episode["state"]
        step["avail_actions"][: length + 1] = episode["avail"]
        step["actions"][:length] = episode["actions"]
        step["reward"][:length] = episode["rewards"]
        step["terminated"][:length] = False
        step["terminated"][length - 1] = episode["terminated"]
        rows.append(step)
    stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    steps = Step(
        obs=jnp.asarray(stacked["obs"], jnp.float16),
        state=jnp.asarray(stacked["state"], jnp.float16),
        avail_actions=jnp.packbits(jnp.asarray(stacked["avail_actions"]), axis=-1),
        actions=jnp.asarray(stacked["actions"], jnp.uint8),
        greedy=jnp.zeros(stacked["actions"].shape, jnp.uint8),
        reward=jnp.asarray(stacked["reward"], jnp.float32),
        terminated=jnp.asarray(stacked["terminated"]),
    )
    lengths = jnp.asarray([len(episode["rewards"]) for episode in episodes])
    return replay.to_batch(steps, lengths, SPEC.num_actions)


def make(name, kind, operator, network=NETWORK, spec=SPEC):
    config = Config(
        algorithm=name,
        network=network,
        target=TargetConfig(kind=kind, operator=operator, lam=0.6, burn_in=0.0),
        weighting=WeightingConfig(alpha=ALPHA),
    )
    target = targets.compose(config.target, gamma=0.99, total_steps=100)
    return algorithms.make(spec, config, target)


def to_float64(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


@pytest.mark.parametrize(("name", "kind", "operator"), CASES)
def test_loss_and_gradient(name, kind, operator):
    algorithm = make(name, kind, operator)
    params = algorithm.init(jax.random.key(1))
    target_params = algorithm.init(jax.random.key(2))
    topology = random_topology(jax.random.key(3), params, 0.4)
    params = bind(params, topology)
    episodes = random_episodes()

    @jax.jit
    def loss(params, topology):
        return algorithm.loss(bind(params, topology), target_params, as_batch(episodes), 50)[0]

    params64 = to_float64(params)
    reference_loss = REFERENCES[name](
        to_float64(params),
        to_float64(target_params),
        episodes,
        operator=OPERATORS[operator],
        gamma=0.99,
        lam=0.0 if kind == "one_step" else 0.6,
    )
    assert loss(params, topology) == pytest.approx(reference_loss(params64), rel=1e-5)

    # Targets are constants to the gradient: what the online net has to do with them (double Q's
    # choice, RES's weights) is computed from parameters that stay as they are.
    numeric = jax.tree.map(np.zeros_like, params64)
    for values, out in zip(jax.tree.leaves(params64), jax.tree.leaves(numeric), strict=True):
        for index in np.ndindex(values.shape):
            sides = []
            for step in (1e-6, -2e-6):
                values[index] += step
                sides.append(reference_loss(params64))
            values[index] += 1e-6
            out[index] = (sides[0] - sides[1]) / 2e-6

    everywhere = by_name(jax.grad(loss)(params, dense(params)))
    masked = by_name(jax.grad(loss)(params, topology))
    masks = by_name(topology)
    scale = max(np.abs(x).max() for x in jax.tree.leaves(numeric))
    for layer, gradient in by_name(numeric).items():
        links = masks.get(layer, np.ones(gradient.shape, bool))
        np.testing.assert_allclose(everywhere[layer], gradient, atol=2e-5 * scale, rtol=1e-3)
        np.testing.assert_allclose(masked[layer], gradient * links, atol=2e-5 * scale, rtol=1e-3)
        np.testing.assert_array_equal(masked[layer][~links], 0)


def test_padding_is_of_no_consequence():
    """Cutting a batch to its longest episode, or not, changes nothing but rounding."""
    algorithm = make("qmix", "td_lambda", "soft_mellowmax")
    params = algorithm.init(jax.random.key(1))
    episodes = random_episodes()[1:2]

    def gradient(longest):
        batch = as_batch(episodes, longest)
        return jax.jit(jax.grad(lambda p: algorithm.loss(p, params, batch, 50)[0]))(params)

    short, long = gradient(2), gradient(4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), short, long)


def test_unroll_repeats_step():
    params = agent.init(jax.random.key(0), 6, 4, 3)
    inputs = jax.random.normal(jax.random.key(1), (5, 6, 2))
    hidden, qs = agent.initial_hidden(4, 2), []
    for inputs_t in inputs:
        q, hidden = agent.step(params, inputs_t, hidden)
        qs.append(q)
    both = agent.unroll(params, inputs, jnp.array([5, 3]))
    np.testing.assert_allclose(both[..., 0], np.stack(qs)[..., 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(both[:3, :, 1], np.stack(qs)[:3, :, 1], rtol=1e-5, atol=1e-6)
    # Past the end there is no state left, only the last bias.
    np.testing.assert_array_equal(both[3:, :, 1], [params["fc2"]["b"]] * 2)


def test_qmix_is_monotonic():
    params = qmix_mixer.init(jax.random.key(0), 6, 3, 8, 8)
    state = jax.random.normal(jax.random.key(1), (6, 50))
    qs = jax.random.normal(jax.random.key(2), (3, 50))
    slope = jax.vmap(
        jax.grad(
            lambda q, s: qmix_mixer.mix(qmix_mixer.prepare(params, s[:, None]), q[:, None])[0]
        ),
        (1, 1),
    )(qs, state)
    assert (slope >= 0).all()
    assert (slope > 0).any()


def test_parameter_shapes_are_pymarls():
    network = NetworkConfig()
    spec = EnvSpec(num_agents=3, num_actions=9, obs_dim=30, state_dim=48, episode_limit=60)
    params = make("qmix", "one_step", "double_q", network, spec).init(jax.random.key(0))
    # The counts of MAST's 3m, which its Table 1 follows from.
    leaves = by_name(params)
    weights = {
        part: sum(x.size for name, x in leaves.items() if name.startswith(part) and x.ndim == 2)
        for part in ("agent", "mixer")
    }
    assert weights == {"agent": 27840, "mixer": 17440}
    assert sum(x.size for x in leaves.values()) == 27840 + 457 + 17440 + 321
