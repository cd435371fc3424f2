"""Updates: absent links stay absent, the target net is a copy, seeds run side by side."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sparl import replay
from sparl.compute import bind, native
from sparl.config import ReplayConfig, TargetConfig, TopologyConfig
from sparl.nets import agent
from sparl.topology import by_name, rigl
from sparl.train import learner as learner_module
from sparl.train import team_program
from test_rollout import CONFIG, program_of
from toy import Toy, fill

needs_kernels = pytest.mark.skipif(bool(native.unavailable()), reason="no kernels")
SPARSE = [
    *((method, "masked") for method in ("static", "set", "rigl", "mast")),
    pytest.param("mast", "sparse", marks=needs_kernels),
]


class Lasting(Toy):
    """Every episode lasts as many steps, from 2 to 6."""

    def __init__(self, steps):
        self.steps = steps

    def reset(self, key):
        state, first = super().reset(key)
        state["number"] += self.steps - 2 - state["number"] % 5
        return state, first


def trained(config, updates, evolve_every=5, **kinds):
    """A state after some updates, changing the topology every few."""
    program = program_of(config, **kinds)
    ring, _ = fill(program)
    _, _, learner = program.init(program.seeds)
    seeds = config.num_seeds
    every = np.ones(seeds, bool)
    states = [jax.tree.map(jnp.copy, learner)]
    for i in range(updates):
        if config.method in ("set", "rigl", "mast") and i % evolve_every == evolve_every - 1:
            learner, _ = program.evolve(learner, ring, np.int32(1000), every)
        else:
            learner, metrics = program.learn(
                learner, ring, np.ones(seeds, np.int32), np.int32(1000)
            )
            assert (metrics.bad_update == -1).all()
        states.append(jax.tree.map(jnp.copy, learner))
    return program, ring, states


@pytest.mark.parametrize(("method", "compute"), SPARSE)
def test_absent_links_are_exactly_zero_and_so_are_their_moments(method, compute):
    program, _, states = trained(dataclasses.replace(CONFIG, method=method, compute=compute), 30)
    states = [program.to_masked(state) for state in states]
    first = by_name(states[0].topology)
    for state in states:
        masks, params = by_name(state.topology), by_name(state.params)
        (moments,) = [s.nu for s in jax.tree.leaves(state.opt_state, is_leaf=is_rms) if is_rms(s)]
        for name, mask in masks.items():
            assert (params[name][~mask] == 0).all()
            assert (by_name(moments)[name][~mask] == 0).all()
            assert mask.sum() == first[name].sum()
    moved = any((by_name(states[-1].topology)[name] != first[name]).any() for name in first)
    assert moved == (method != "static")
    # The weights that are there do learn.
    before, after = by_name(states[0].params), by_name(states[-1].params)
    assert all((before[name] != after[name]).any() for name in before)


def is_rms(x):
    return hasattr(x, "nu")


@pytest.mark.parametrize(("steps", "long"), [(2, False), (4, False), (5, True)])
def test_a_batch_is_cut_to_the_shortest_length_that_holds_it(steps, long, monkeypatch):
    """Which one it was the loss tells, as with the longer one it is not a number."""

    def read_batch(ring, episodes, steps, num_actions):
        batch = replay.read_batch(ring, episodes, steps, num_actions)
        return batch._replace(reward=batch.reward + (np.nan if steps == 6 else 0))

    monkeypatch.setattr(learner_module, "read_batch", read_batch)
    config = dataclasses.replace(CONFIG, method="static")
    program = program_of(config, (4, 6), partial(Lasting, steps))
    _, _, learner = program.init(program.seeds)
    _, metrics = program.learn(learner, fill(program)[0], np.int32([1]), np.int32(0))
    assert (metrics.bad_update.item() != -1) == long


def test_lengths_go_up_to_the_limit():
    assert team_program._lengths(100) == (25, 50, 75, 100)
    assert team_program._lengths(6) == (2, 3, 5, 6)


def test_what_is_learned_does_not_hang_on_lengths():
    config = dataclasses.replace(CONFIG, method="rigl")
    env = partial(Lasting, 3)
    states = [trained(config, 6, lengths=own, env=env)[2][-1] for own in ((3, 6), (6,))]
    one, two = map(by_name, (states[0].params, states[1].params))
    for name, values in one.items():
        np.testing.assert_allclose(values, two[name], rtol=1e-4, atol=1e-6)


def test_a_topology_step_replaces_the_gradient_step():
    _, _, states = trained(dataclasses.replace(CONFIG, method="rigl"), 5)
    before, after = states[-2], states[-1]
    assert after.updates == before.updates + 1
    masks = by_name(before.topology), by_name(after.topology)
    for name, mask in masks[0].items():
        kept = mask & masks[1][name]
        weights = by_name(before.params)[name], by_name(after.params)[name]
        np.testing.assert_array_equal(weights[0][kept], weights[1][kept])
        np.testing.assert_array_equal(weights[1][masks[1][name] & ~mask], 0)
    for name, bias in by_name(before.params).items():
        if name not in masks[0]:
            np.testing.assert_array_equal(bias, by_name(after.params)[name])


@pytest.mark.slow
def test_rigl_grows_by_the_dense_gradient_of_the_loss():
    """A batch of all the episodes there are leaves only their order to chance."""
    config = dataclasses.replace(
        CONFIG,
        method="rigl",
        topology=TopologyConfig(fraction=0.3),
        replay=ReplayConfig(capacity=6, batch_size=6, reserve=1.0),
    )
    program, ring, states = trained(config, 3)
    before = states[-1]
    after, changed = program.evolve(
        jax.tree.map(jnp.copy, before), ring, np.int32(0), np.ones(1, bool)
    )
    own, online = jax.tree.map(lambda x: x[0], (ring, before))
    assert own.live == 6
    batch = replay.to_batch(*replay.gather(own, jnp.arange(6), 6), 3)
    gradient = jax.grad(
        lambda params: program.algorithm.loss(params, online.target_params, batch, 0)[0]
    )(online.params)
    masks, weights, new = map(by_name, (online.topology, online.params, after.topology))
    for name, mask in masks.items():
        expected = rigl(None, weights[name], mask, by_name(gradient)[name], 0.3)
        np.testing.assert_array_equal(new[name][0], expected)
        assert changed[name][0] == pytest.approx(float((expected & ~mask).sum() / mask.sum()))
    assert any((new[name][0] != mask).any() for name, mask in masks.items())


def test_the_target_net_is_a_copy_with_the_topology_of_its_moment():
    config = dataclasses.replace(CONFIG, method="rigl")
    program, _, states = trained(config, 7)
    start, end = states[0], states[-1]
    same = jax.tree.map(lambda a, b: bool((a == b).all()), start.params, end.target_params)
    assert all(jax.tree.leaves(same))
    copied = program.sync_target(jax.tree.map(jnp.copy, end), np.ones(1, bool))
    for pair in ((end.params, copied.target_params), (end.topology, copied.target_topology)):
        jax.tree.map(np.testing.assert_array_equal, *pair)
    # Not due: nothing moves.
    kept = program.sync_target(jax.tree.map(jnp.copy, end), np.zeros(1, bool))
    jax.tree.map(np.testing.assert_array_equal, end.target_params, kept.target_params)


@pytest.mark.slow
def test_seeds_side_by_side_learn_what_they_learn_alone():
    together = dataclasses.replace(CONFIG, method="rigl", num_seeds=2)
    _, _, both = trained(together, 12)
    for seed in (0, 1):
        alone = dataclasses.replace(together, num_seeds=1, seed=seed)
        _, _, own = trained(alone, 12)
        for name, values in by_name(own[-1].params).items():
            np.testing.assert_allclose(
                by_name(both[-1].params)[name][seed], values[0], rtol=1e-3, atol=1e-5
            )


@pytest.mark.slow
@needs_kernels
@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("num_seeds", [1, 2])
def test_sparse_learns_what_masked_learns(num_seeds):
    """To within float32's rounding, for as many updates as rounding stays small."""
    config = dataclasses.replace(CONFIG, method="mast", sparsity=0.6, num_seeds=num_seeds)
    ends = {}
    for form in ("masked", "sparse"):
        program, _, states = trained(dataclasses.replace(config, compute=form), 24, evolve_every=8)
        ends[form] = [program.to_masked(state) for state in states]
    for one, two in zip(ends["masked"], ends["sparse"], strict=True):
        jax.tree.map(np.testing.assert_array_equal, one.topology, two.topology)
        for tree in ("params", "target_params", "opt_state"):
            jax.tree.map(
                partial(np.testing.assert_allclose, rtol=2e-3, atol=2e-5),
                getattr(one, tree),
                getattr(two, tree),
            )
    start, end = ends["sparse"][0], ends["sparse"][-1]
    assert any(
        (a != b).any()
        for a, b in zip(*map(jax.tree.leaves, (start.topology, end.topology)), strict=True)
    )


@needs_kernels
def test_a_learner_changes_its_form_without_loss():
    program, _, states = trained(dataclasses.replace(CONFIG, method="mast", compute="sparse"), 12)
    sparse = states[-1]
    masked = program.to_masked(sparse)
    again = program.from_masked(masked)
    for name in ("params", "topology", "target_params", "target_topology", "opt_state"):
        jax.tree.map(np.testing.assert_array_equal, getattr(again, name), getattr(sparse, name))
    sizes = {
        form: sum(leaf.size for leaf in jax.tree.leaves((state.params, state.opt_state)))
        for form, state in (("masked", masked), ("sparse", sparse))
    }
    assert sizes["sparse"] < 0.8 * sizes["masked"]


@pytest.mark.parametrize("compute", ["masked", pytest.param("sparse", marks=needs_kernels)])
def test_the_same_seed_gives_the_same_bits(compute):
    config = dataclasses.replace(CONFIG, method="mast", compute=compute)
    _, _, one = trained(config, 12)
    _, _, two = trained(config, 12)
    jax.tree.map(np.testing.assert_array_equal, one[-1].params, two[-1].params)


def test_a_loss_that_is_not_finite_stops_before_it_does_harm():
    program, ring, states = trained(dataclasses.replace(CONFIG, method="dense"), 1)
    learner = jax.tree.map(jnp.copy, states[-1])
    broken = ring.steps._replace(reward=ring.steps.reward.at[:].set(jnp.inf))
    after, metrics = program.learn(
        learner, dataclasses.replace(ring, steps=broken), np.full(1, 5, np.int32), np.int32(0)
    )
    assert metrics.bad_update == 2
    bad = dict(zip(sorted(metrics.sums), metrics.bad_terms[0].tolist(), strict=True))
    assert bad["loss"]
    assert bad["target"]
    assert not bad["q_total"]
    assert metrics.updates == 1
    jax.tree.map(np.testing.assert_array_equal, states[-1].params, after.params)


def test_learning_lowers_the_loss():
    config = dataclasses.replace(
        CONFIG, method="static", target=TargetConfig(kind="one_step", operator="double_q")
    )
    program, ring, states = trained(config, 1)
    learner = jax.tree.map(jnp.copy, states[-1])

    def mean_loss(updates):
        nonlocal learner
        learner, metrics = program.learn(
            learner, ring, np.full(1, updates, np.int32), np.int32(1000)
        )
        return float(metrics.sums["loss"][0] / metrics.updates[0])

    first = mean_loss(20)
    mean_loss(300)
    assert mean_loss(20) < 0.5 * first


@pytest.mark.slow
def test_policy_distance_counts_the_decisions_that_have_changed():
    config = dataclasses.replace(CONFIG, method="rlx2", replay=REVIEWED)
    program, ring, states = trained(config, 20)
    learner = states[-1]
    own = jax.tree.map(lambda x: x[0], (learner, ring))
    _, found = program.review(learner, jax.tree.map(jnp.copy, ring), np.zeros(1, bool))
    # The toy's oldest 8 x 4 episodes are all that it has played.
    weights = bind(own[0].params, own[0].topology)
    changed = decisions = 0
    for episode in range(int(own[1].live)):
        batch = replay.read_batch(own[1], jnp.array([episode]), 6, 3)
        q = np.where(batch.avail_actions, program.algorithm.q_values(weights, batch), -np.inf)
        length = int(batch.length[0])
        changed += (q.argmax(axis=1)[:length] != batch.greedy[:length]).sum()
        decisions += 2 * length
    assert decisions > 100
    assert found["policy_distance"].item() == pytest.approx(changed / decisions)
    assert found["discarded"].item() == 0


REVIEWED = ReplayConfig(capacity=310, batch_size=8, reserve=1.0, threshold=0.0, review_interval=20)


def test_a_review_lets_the_oldest_go_down_to_a_floor():
    config = dataclasses.replace(CONFIG, method="rlx2", replay=REVIEWED)
    program, ring, states = trained(config, 20)
    due, kept, floor = np.ones(1, bool), int(ring.live[0]), 31
    assert kept == 33  # A tenth would be three, and two can be spared.
    while kept > floor:
        ring, found = program.review(states[-1], ring, due)
        assert found["policy_distance"].item() > 0
        leaves = min(kept // 10, kept - floor)
        assert found["discarded"].item() == leaves
        kept -= leaves
        assert ring.live.item() == kept
    ring, found = program.review(states[-1], ring, due)
    assert (found["discarded"].item(), ring.live.item()) == (0, floor)
    assert (ring.added - ring.live).item() > 0


@pytest.mark.parametrize("compute", ["masked", pytest.param("sparse", marks=needs_kernels)])
def test_diagnosis(compute):
    program, ring, states = trained(dataclasses.replace(CONFIG, compute=compute), 10)
    found = {name: x.item() for name, x in program.diagnose(states[-1], ring).items()}
    learner = program.to_masked(states[-1])
    masks = [np.asarray(mask[0]) for mask in jax.tree.leaves(learner.topology)]
    rows = np.concatenate([mask.any(axis=1) for mask in masks])
    assert found["empty_neurons"] == pytest.approx(1 - rows.mean())

    # The newest four episodes, step by step.
    own = jax.tree.map(lambda x: x[0], ring)
    agent_params = jax.tree.map(lambda x: x[0], learner.params["agent"])
    sums = {"fc1": 0.0, "rnn": 0.0}
    for episode in range(int(own.live) - 4, int(own.live)):
        batch = replay.read_batch(own, jnp.array([episode]), 6, 3)
        hidden = agent.initial_hidden(8, 2)
        for t in range(int(batch.length[0]) + 1):
            x = batch.inputs[t].astype(jnp.float32)
            _, hidden = agent.step(agent_params, x, hidden)
            fc1 = agent_params["fc1"]
            features = np.maximum(fc1["w"] @ x + fc1["b"][:, None], 0)
            sums["fc1"] += features.sum(axis=1)
            sums["rnn"] += np.abs(hidden).sum(axis=1)
    for layer, total in sums.items():
        dormant = total <= 0.025 * total.mean()
        assert found[f"dormant_{layer}"] == pytest.approx(dormant.mean())
    assert 0 <= found["policy_distance_newest"] <= 1
