"""Actors and critics in training: steps, targets that follow, what is kept and what leaves."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from control_learners import (
    CELLS,
    config_of,
    evolve,
    learn,
    needs_kernels,
    program_of,
    ring_of,
)
from learners import assert_agree
from sparl import compute
from sparl.methods import resolve
from sparl.replay import transitions
from sparl.train import optimizers
from sparl.train.control_learner import _fast
from sparl.train.program import build


@pytest.mark.slow
@needs_kernels
@pytest.mark.parametrize(("algorithm", "method"), CELLS)
def test_kernels_learn_what_masks_do(algorithm, method):
    states = []
    for form in ("masked", "sparse"):
        program = program_of(algorithm, method, form)
        learner = program.init(program.seeds).learner
        # 3 updates, a change of the topology, 3 updates, another one, 2 updates.
        for updates in (3, 3, 2):
            learner, metrics = learn(program, learner, updates)
            assert metrics.bad_update.item() == -1
            if updates == 3:
                learner, _ = evolve(program, learner)
        states.append(program.to_masked(learner))
    assert states[0].updates.item() == 10
    assert_agree(*states)


def test_no_more_is_kept_than_is_needed():
    program = program_of("td3", "ds", total_steps=25_100)
    kept = jax.eval_shape(program.init, program.seeds).ring.rows
    assert kept.reward.shape == (1, 1, 401)  # The replay's capacity, and what is seen now.
    assert kept.greedy.shape[-1] == 0
    assert jax.eval_shape(program_of("td3", "rlx2").init, program.seeds).ring.rows.greedy.shape[-1]
    large = config_of("td3", "ds", total_steps=25_100)
    large = dataclasses.replace(large, replay=dataclasses.replace(large.replay, capacity=1_000_000))
    program = build(resolve(large))
    rows = jax.eval_shape(program.init, program.seeds).ring.rows.reward.shape[-1]
    assert rows == 2 * (25_100 + 10) + 1


def test_targets_follow_every_second_update_of_td3():
    program = program_of("td3", "dense", "auto")
    learner = program.init(program.seeds).learner
    first = jax.tree.map(jnp.copy, learner)
    learner, _ = learn(program, learner, 1)
    one = jax.tree.map(jnp.copy, learner)
    jax.tree.map(np.testing.assert_array_equal, one.target_params, first.target_params)
    jax.tree.map(np.testing.assert_array_equal, one.params["actor"], first.params["actor"])
    learner, _ = learn(program, learner, 1)
    expected = jax.tree.map(lambda t, p: t + 0.005 * (p - t), one.target_params, learner.params)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5), learner.target_params, expected
    )
    assert (learner.params["actor"]["0"]["w"] != first.params["actor"]["0"]["w"]).any()


def test_everything_of_sac_moves_at_every_update():
    program = program_of("sac", "dense", "auto")
    learner = program.init(program.seeds).learner
    for _ in range(2):
        before = jax.tree.map(jnp.copy, learner)
        learner, _ = learn(program, learner, 1)
        for part in before.params:
            assert_moved(before.params[part], learner.params[part])
        followed = {name: learner.params[name] for name in learner.target_params}
        expected = jax.tree.map(lambda t, p: t + 0.005 * (p - t), before.target_params, followed)
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-5),
            learner.target_params,
            expected,
        )


def assert_moved(before, after):
    moved = jax.tree.map(lambda a, b: (a != b).any(), before, after)
    assert all(jax.tree.leaves(moved))


def test_a_step_is_that_of_adam_with_decay_on_the_drawn_batch():
    program = program_of("td3", "dense", "auto")
    learner = program.init(program.seeds).learner
    start = jax.tree.map(lambda x: x[0], jax.tree.map(jnp.copy, learner))
    ring = jax.tree.map(lambda x: x[0], ring_of(program))
    draw_key, key, _ = map(_fast, jax.random.split(start.key, 4)[1:])
    batch = transitions.read(ring, *transitions.draw(ring, draw_key, 16), 1)

    def loss(critics):
        weights = compute.bind(start.params | critics, compute.dense(start.params))
        return program.algorithm.critic_loss(weights, start.target_params, batch, key)[0]

    critics = {name: start.params[name] for name in ("critic1", "critic2")}
    gradients = jax.grad(loss)(critics)
    decayed = jax.tree.map(lambda g, p: g + 2e-4 * p, gradients, critics)
    adam = optax.adam(1e-3)
    steps, _ = adam.update(decayed, adam.init(critics))
    after, _ = learn(program, learner, 1)
    for name, critic in critics.items():
        expected = optax.apply_updates(critic, steps[name])
        found = jax.tree.map(lambda x: x[0], after.params[name])
        jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), found, expected)


def test_weights_decay_and_the_temperature_does_not():
    program = program_of("sac", "dense", "auto")
    params = program.init(program.seeds).learner.params
    params = jax.tree.map(lambda x: jnp.full_like(x[0], 0.5), params)
    decaying = optimizers.adam(program.config)
    for networks in (("critic1",), ("actor", "temperature")):
        own = {name: params[name] for name in networks}
        still = jax.tree.map(jnp.zeros_like, own)
        steps, _ = decaying.update(still, decaying.init(own), own)
        for name, tree in steps.items():
            expected = name != "temperature"
            assert all((leaf != 0).all() == expected for leaf in jax.tree.leaves(tree))


def test_the_oldest_steps_leave_when_the_policy_has_moved_on():
    program = program_of("td3", "rlx2")
    learner = program.init(program.seeds).learner
    ring = ring_of(program)
    after, found = program.review(learner, jax.tree.map(jnp.copy, ring), np.ones(1, bool))
    rows = jax.tree.map(lambda x: np.asarray(x[0, 0, :128]), ring.rows)
    best = program.algorithm.act(
        jax.tree.map(lambda x: x[0], compute.bind(learner.params, learner.topology)), rows.obs.T
    )
    squared = (np.asarray(best).T - rows.greedy) ** 2
    assert found["policy_distance"].item() == pytest.approx(
        squared[~rows.final].mean() / 2, rel=1e-5
    )
    # There are no more than `min_replay`.
    assert found["discarded"].item() == 0
    assert after.live.item() == found["steps_kept"].item() == 299

    def discarded(**settings):
        config = config_of("td3", "rlx2")
        for group, own in settings.items():
            own = dataclasses.replace(getattr(config, group), **own)  # noqa: PLW2901
            config = dataclasses.replace(config, **{group: own})
        other = build(resolve(config))
        after, found = other.review(learner, jax.tree.map(jnp.copy, ring), np.ones(1, bool))
        assert after.live.item() == 299 - found["discarded"].item()
        return found["discarded"].item()

    distance = found["policy_distance"].item()
    less, more = ({"threshold": distance + change} for change in (-0.01, 0.01))
    assert discarded(control={"min_replay": 200}, replay=less) == 29
    assert discarded(control={"min_replay": 200}, replay=more) == 0


def test_a_loss_that_is_not_finite_stops_at_once():
    program = program_of("td3", "dense", "auto")
    learner, _ = learn(program, program.init(program.seeds).learner, 2)
    ring = ring_of(program)
    broken = ring.rows._replace(reward=jnp.full_like(ring.rows.reward, jnp.inf))
    ring = dataclasses.replace(ring, rows=broken)
    _, metrics = program.learn(learner, ring, np.full(1, 5, np.int32), np.int32(0))
    assert (metrics.bad_update.item(), metrics.updates.item()) == (3, 1)
    bad = dict(zip(sorted(metrics.sums), metrics.bad_terms[0].tolist(), strict=True))
    assert bad["critic_loss"]
    assert bad["target"]
    assert not bad["q"]


def test_returns_have_three_rewards_after_a_tenth_of_training():
    config = config_of("td3", "rlx2", total_steps=25_000 + 25_010)
    # A tenth of all updates are 2501.
    for updates, rewards in ((2499, 1), (2500, 3)):
        program = build(config)
        learner = program.init(program.seeds).learner
        learner = learner._replace(updates=jnp.full(1, updates, jnp.int32))
        start = jax.tree.map(lambda x: x[0], jax.tree.map(jnp.copy, learner))
        ring = jax.tree.map(lambda x: x[0], ring_of(program))
        draw_key, key, _ = map(_fast, jax.random.split(start.key, 4)[1:])
        batch = transitions.read(ring, *transitions.draw(ring, draw_key, 16), 3)
        weights, targets = (
            compute.bind(tree, {name: start.topology[name] for name in tree})
            for tree in (start.params, start.target_params)
        )
        batch = transitions.at_most(batch, jnp.int32(rewards))
        expected, _ = program.algorithm.critic_loss(weights, targets, batch, key)
        _, metrics = learn(program, learner, 1)
        assert metrics.sums["critic_loss"].item() == pytest.approx(expected.item(), rel=1e-5)
