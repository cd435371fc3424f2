"""Agents with a network each: MAST's role experiment (Hu et al., 2024, section 4.2)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sparl.compute import to_masked
from sparl.config import Config, NetworkConfig, TopologyConfig
from sparl.envs.make import INTERFACES
from sparl.errors import InputError
from sparl.methods import resolve
from sparl.nets import agent, separate_agents
from sparl.spec import EnvSpec
from sparl.topology import RULES, agent_budgets, by_name, evolve, link_counts, random_topology
from sparl.train import program
from test_rollout import CONFIG
from toy import Toy, fill

AGENTS, IN, HIDDEN, ACTIONS, EPISODES, STEPS = 3, 5, 4, 2, 6, 7
SPEC = EnvSpec(
    num_agents=3,
    num_actions=2,
    obs_dim=4,
    state_dim=3,
    episode_limit=5,
    agent_types=("stalker", "zealot", "zealot"),
)


@pytest.fixture
def weights():
    key = jax.random.key(0)
    return separate_agents.init(key, IN, HIDDEN, ACTIONS, networks=AGENTS)


def network_of(weights, a):
    """The parameters of one agent."""
    return jax.tree.map(lambda x: jnp.split(x, AGENTS)[a], weights)


def test_each_agent_has_a_network_of_its_own(weights):
    for name, value in by_name(weights).items():
        one = by_name(agent.init(jax.random.key(0), IN, HIDDEN, ACTIONS))[name]
        assert value.shape == (AGENTS * one.shape[0], *one.shape[1:])
        blocks = jnp.split(value, AGENTS)
        assert (blocks[0] != blocks[1]).any()


def test_columns_go_through_the_network_of_their_agent(weights):
    keys = jax.random.split(jax.random.key(1), 3)
    inputs = jax.random.normal(keys[0], (STEPS, IN, EPISODES * AGENTS))
    hidden = jax.random.normal(keys[1], (HIDDEN, EPISODES * AGENTS))
    length = jax.random.randint(keys[2], (EPISODES * AGENTS,), 1, STEPS + 1)
    q, after = separate_agents.step(weights, inputs[0], hidden, networks=AGENTS)
    whole = separate_agents.unroll(weights, inputs, length, networks=AGENTS)
    activity = separate_agents.activity(weights, inputs, length, networks=AGENTS)
    for a in range(AGENTS):
        at, alone = slice(a, None, AGENTS), network_of(weights, a)
        expected_q, expected_after = agent.step(alone, inputs[0, :, at], hidden[:, at])
        np.testing.assert_allclose(q[:, at], expected_q, rtol=1e-5)
        np.testing.assert_allclose(after[:, at], expected_after, rtol=1e-5)
        expected = agent.unroll(alone, inputs[..., at], length[at])
        np.testing.assert_allclose(whole[..., at], expected, rtol=1e-5, atol=1e-6)
        for name, units in agent.activity(alone, inputs[..., at], length[at]).items():
            np.testing.assert_allclose(jnp.split(activity[name], AGENTS)[a], units, rtol=1e-5)


def test_no_gradient_reaches_another_agent(weights):
    inputs = jax.random.normal(jax.random.key(1), (STEPS, IN, EPISODES * AGENTS))
    length = jnp.full(EPISODES * AGENTS, STEPS)

    def of_second(weights):
        q = separate_agents.unroll(weights, inputs, length, networks=AGENTS)
        return jnp.sum(q[..., 1::AGENTS] ** 2)

    for name, gradient in by_name(jax.grad(of_second)(weights)).items():
        first, second, third = jnp.split(gradient, AGENTS)
        assert not first.any(), name
        assert second.any(), name
        assert not third.any(), name


def config(densities=""):
    return Config(
        sparsity=0.6,
        network=NetworkConfig(agents="separate"),
        topology=TopologyConfig(kind="rigl", agent_densities=densities),
    )


def blocks_of(mask):
    return [int(block.sum()) for block in jnp.split(mask, AGENTS)]


@pytest.mark.parametrize("densities", ["", "stalker=0.7,zealot=0.45"])
def test_every_agent_begins_with_the_links_of_its_budget(densities):
    budgets = agent_budgets(SPEC, config(densities))
    params = {
        "agent": separate_agents.init(jax.random.key(0), 20, 16, 4, networks=AGENTS),
        "mixer": {"w": jnp.ones((10, 10))},
    }
    masks = by_name(random_topology(jax.random.key(1), params, 0.6, "erdos_renyi", budgets))
    assert masks["mixer/w"].sum() == 40
    alone = {"agent": agent.init(jax.random.key(0), 20, 16, 4)}
    shapes = {name: value.shape for name, value in by_name(alone).items() if value.ndim == 2}
    wanted = [0.7, 0.45, 0.45] if densities else [0.4] * 3
    for name in shapes:
        expected = [link_counts(shapes, 1 - density)[name] for density in wanted]
        assert blocks_of(masks[name]) == expected
    total = link_counts({n: m.shape for n, m in masks.items()}, 0.6, "erdos_renyi", budgets)
    assert total == {name: int(mask.sum()) for name, mask in masks.items()}


@pytest.mark.parametrize("rule", ["set", "rigl"])
@pytest.mark.parametrize("apart", [{}, {"agent": AGENTS}])
def test_links_move_between_agents_unless_densities_were_given(rule, apart):
    keys = jax.random.split(jax.random.key(0), 3)
    params = {"agent": {"w": jax.random.normal(keys[0], (30, 40))}}
    masks = random_topology(keys[1], params, 0.7)
    # The third agent's links matter least, and the first's would help most.
    scale = jnp.repeat(jnp.array([2.0, 1.0, 0.1]), 10)[:, None]
    params = jax.tree.map(lambda w, m: jnp.where(m, w * scale, 0), params, masks)
    gradients = jax.tree.map(lambda w: scale * jnp.ones_like(w), params)
    before = blocks_of(masks["agent"]["w"])
    _, after, changed = evolve(RULES[rule], keys[2], params, masks, gradients, 0.3, apart)
    after = blocks_of(after["agent"]["w"])
    assert sum(after) == sum(before)
    assert changed["agent/w"] > 0.1
    if apart:
        assert after == before
    else:
        assert after[0] > before[0]
        assert after[2] < before[2]


class Units(Toy):
    spec = dataclasses.replace(Toy.spec, agent_types=("stalker", "zealot"))


@pytest.fixture
def program_of(monkeypatch, one_length):
    monkeypatch.setitem(INTERFACES, "toy", lambda _: Units())

    def make(**changed):
        network = dataclasses.replace(CONFIG.network, agents="separate")
        topology = TopologyConfig(interval=2, agent_densities=changed.pop("densities", ""))
        settings = {"network": network, "topology": topology} | changed
        return program.build(resolve(dataclasses.replace(CONFIG, **settings)))

    yield make
    jax.clear_caches()


@pytest.mark.parametrize(
    ("algorithm", "densities"), [("qmix", ""), ("ow-qmix", "stalker=0.5,zealot=0.7")]
)
def test_separate_agents_train(program_of, algorithm, densities):
    own = program_of(algorithm=algorithm, densities=densities)
    assert own.form == "masked"
    ring, _ = fill(own)
    state = own.init(own.seeds)
    learner, before = state.learner, by_name(state.learner.topology)
    before = {name: np.asarray(mask[0]) for name, mask in before.items()}
    learner, metrics = own.learn(learner, ring, np.int32([3]), np.int32(100))
    assert metrics.updates == 3
    assert np.isfinite(metrics.sums["loss"]).all()
    learner, changed = own.evolve(learner, ring, np.int32(100), np.array([True]))
    assert changed["agent/fc1/w"] > 0
    _, after = to_masked(learner.params, learner.topology)
    for name, mask in by_name(after).items():
        assert mask.sum() == before[name].sum()
        if densities and name.startswith(("agent", "central_agent")):
            halves = [np.split(m, 2) for m in (before[name], np.asarray(mask[0]))]
            assert [m.sum() for m in halves[0]] == [m.sum() for m in halves[1]]


@pytest.mark.parametrize("algorithm", ["qmix", "vdn", "ow-qmix"])
def test_every_agents_parameters_are_counted(program_of, algorithm):
    network = NetworkConfig(hidden=8, agents="separate")
    if algorithm != "vdn":
        network = dataclasses.replace(network, embed=4, hypernet=8)
    topology = TopologyConfig()
    plain = {"method": "static", "network": network, "topology": topology, "replay": None}
    plain["replay"] = dataclasses.replace(CONFIG.replay, window=100, window_batch=8)
    own = program_of(algorithm=algorithm, **plain)
    params = jax.eval_shape(own.algorithm.init, jax.random.key(0))
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert own.accounting().parameters["dense"] == size


@pytest.mark.parametrize(
    ("densities", "sentence"),
    [
        ("stalker=0.1", "leaves out zealot of smax:3m"),
        ("stalker=0.1,zealot=0.1,marine=0.2", "unknown unit of smax:3m 'marine'"),
        ("stalker=0.1,zealot=2", "density in (0, 1]"),
        ("stalker=0.1,stalker=0.2,zealot=0.1", "each unit once"),
        ("stalker", "must be UNIT=DENSITY"),
        ("stalker=x,zealot=0.1", "must be UNIT=DENSITY"),
    ],
)
def test_densities_that_will_not_do(densities, sentence):
    with pytest.raises(InputError) as refusal:
        agent_budgets(SPEC, config(densities))
    assert sentence in str(refusal.value)


def test_densities_need_units():
    with pytest.raises(InputError, match="does not say which its agents are"):
        agent_budgets(dataclasses.replace(SPEC, agent_types=()), config("stalker=0.1"))


def test_kernels_are_refused(program_of):
    with pytest.raises(InputError, match="choose --compute masked or auto"):
        program_of(compute="sparse")
