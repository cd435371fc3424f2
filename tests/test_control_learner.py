"""Actors and critics in training: steps, targets, links that move, in both forms."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from learners import assert_agree
from sparl import compute
from sparl.algorithms import CRITICS
from sparl.compute import native
from sparl.config import defaults
from sparl.methods import resolve
from sparl.replay import transitions
from sparl.replay.transitions import Row
from sparl.topology import by_name
from sparl.train import optimizers
from sparl.train.control_learner import _fast
from sparl.train.program import build

needs_kernels = pytest.mark.skipif(bool(native.unavailable()), reason="no kernels")
FORMS = ["masked", pytest.param("sparse", marks=needs_kernels)]


def config_of(algorithm, method, form="masked", interval=4, tau=0.005, **settings):
    config = defaults(algorithm, method)
    fixed = method in ("dense", "static")
    topology = {} if fixed else {"interval": interval, "fraction": 0.3}
    if config.topology.distribution == "lambda":
        topology["lambdas"] = "1.2,4"
    return resolve(
        dataclasses.replace(
            config,
            env="gym:Pendulum-v1",
            compute=form,
            topology=dataclasses.replace(config.topology, **topology),
            network=dataclasses.replace(config.network, hidden=16),
            replay=dataclasses.replace(config.replay, capacity=400, batch_size=16),
            control=dataclasses.replace(
                config.control,
                tau=tau,
                critic_sparsity=0.6 if config.sparsity == 0.9 else 0.0,
                **({"least": 300} if method == "rlx2" else {}),
            ),
            **({"sparsity": 0.7} if config.sparsity == 0.9 else {}),
            **settings,
        )
    )


@functools.cache
def program_of(*args, **kwargs):
    return build(config_of(*args, **kwargs))


def ring_of(program):
    """Three hundred steps of nonsense, in episodes of ten."""
    rng = np.random.default_rng(0)
    steps = np.arange(300)
    rows = Row(
        obs=rng.normal(size=(1, 1, 300, 3)).astype(np.float32),
        action=rng.uniform(-1, 1, size=(1, 1, 300, 1)).astype(np.float32),
        greedy=rng.uniform(-1, 1, size=(1, 1, 300, 1)).astype(np.float32),
        reward=rng.normal(size=(1, 1, 300)).astype(np.float32),
        terminated=(steps % 20 == 8)[None, None],
        final=(steps % 10 == 9)[None, None],
    )
    ring = program.init(program.seeds).ring
    rows = rows._replace(greedy=rows.greedy[..., : ring.rows.greedy.shape[-1]])
    insert = jax.vmap(transitions.insert)
    return insert(ring, jax.tree.map(jnp.asarray, rows), jnp.full((1, 1), 299, jnp.int32))


def learn(program, learner, updates, ring=None):
    ring = ring or ring_of(program)
    return program.learn(learner, ring, np.full(1, updates, np.int32), np.int32(0))


def evolve(program, learner):
    return program.evolve(learner, ring_of(program), np.int32(1000), np.ones(1, bool))


def plain(program, learner):
    """In the masked form, as arrays of NumPy."""
    learner = program.to_masked(learner)
    return jax.tree.map(np.array, learner._replace(key=jax.random.key_data(learner.key)))


def links(program, learner):
    return {k: np.asarray(v) for k, v in by_name(program.to_masked(learner).topology).items()}


CELLS = [("td3", "ds"), ("td3", "rlx2"), ("sac", "set"), ("sac", "ds")]


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


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_links_that_are_fixed_stay_and_alone_have_weights(algorithm, form):
    program = program_of(algorithm, "static", form)
    begun = program.init(program.seeds).learner
    before = plain(program, begun)
    learner, metrics = learn(program, begun, 8)
    assert metrics.bad_update.item() == -1
    after = plain(program, learner)
    assert program.cadence.evolve is None
    assert program.cadence.prune is None
    masks = by_name(before.topology)
    assert set(masks) == {f"{net}/{i}/w" for net in ("actor", *CRITICS) for i in range(3)}
    for name, mask in masks.items():
        assert mask.any()
        assert mask.all() == name.endswith("/2/w")  # Hidden layers alone lack links.
        np.testing.assert_array_equal(by_name(after.topology)[name], mask)
        old, new = by_name(before.params)[name], by_name(after.params)[name]
        assert (new != old)[mask].any()
        assert not new[~mask].any()
        if name in by_name(after.target_params):
            assert not by_name(after.target_params)[name][~mask].any()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("algorithm", "method"), CELLS)
def test_links_move_and_keep_their_number(algorithm, method, form):
    program = program_of(algorithm, method, form)
    learner, _ = learn(program, program.init(program.seeds).learner, 3)
    before = program.to_masked(learner)
    learner, changed = evolve(program, learner)
    after = program.to_masked(learner)
    masks, now = by_name(before.topology), by_name(after.topology)
    # With RLx2's rule TD3's actor waits for as many updates of its own.
    waits = (algorithm, method) == ("td3", "rlx2")
    for name, mask in masks.items():
        assert now[name].sum() == mask.sum()
        moved = float((now[name] & ~mask).sum() / mask.sum())
        assert changed[name].item() == pytest.approx(moved)
        stays = mask.all() or (waits and name.startswith("actor"))
        assert (moved > 0) != stays
        new = np.asarray(now[name] & ~mask)
        assert (by_name(after.params)[name][new] == 0).all()
    own = by_name(after.target_topology)  # Those of DS; others are on the online networks' links.
    assert bool(own) == (method == "ds")
    for name, values in by_name(after.target_params).items():
        if name in now:
            held = np.asarray(own.get(name, now[name]))
            assert held.sum() == now[name].sum()
            assert (values[~held] == 0).all()
    if waits:
        learner, _ = learn(program, learner, 3)
        again, _ = evolve(program, learner)
        assert (by_name(program.to_masked(again).topology)["actor/1/w"] != now["actor/1/w"]).any()


def test_ever_fewer_links_move_but_for_ds():
    """On a cosine over the updates, which begin with the 25,000th of 1M env steps."""
    for method, shares in (("ds", (0.3, 0.3, 0.3)), ("rigl", (0.3, 0.15, 0.0))):
        program = program_of("td3", method)
        for env_steps, share in zip((25_000, 512_500, 1_000_000), shares, strict=True):
            begun = program.init(program.seeds).learner
            due = np.ones(1, bool)
            _, changed = program.evolve(begun, ring_of(program), np.int32(env_steps), due)
            assert changed["fraction"].item() == pytest.approx(share, abs=1e-6)


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


def test_ds_takes_its_step_and_then_moves_links_and_rigl_moves_links_instead():
    for method, steps in (("ds", True), ("rigl", False)):
        program = program_of("td3", method)
        learner, _ = learn(program, program.init(program.seeds).learner, 3)
        before = jax.tree.map(jnp.copy, program.to_masked(learner))
        after = program.to_masked(evolve(program, learner)[0])
        biases = [state.params["critic1"]["0"]["b"] for state in (before, after)]
        assert (biases[0] != biases[1]).any() == steps


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("interval", "every"), [(4, 2), (40, 4)])
def test_targets_of_ds_follow_and_their_weakest_are_trimmed(interval, every, form):
    """With a look at each step as DS-TD3's code has it: all follow, the smallest become zero."""
    tau = 0.5  # So that new links grow beyond the weakest that a target has.
    program = program_of("td3", "ds", form, interval=interval, tau=tau)
    learner = program.init(program.seeds).learner
    targets = by_name(jax.tree.map(np.array, program.to_masked(learner).target_params))
    held = by_name(plain(program, learner).target_topology)
    apart = taken = 0
    for update in range(1, interval + 10):
        evolves = update % interval == 0
        learner = evolve(program, learner)[0] if evolves else learn(program, learner, 1)[0]
        now = plain(program, learner)
        online, masks = by_name(now.params), by_name(now.topology)
        for name in targets if update % 2 == 0 else ():
            target = targets[name] + np.float32(tau) * (online[name] - targets[name])
            if name in masks and update % every:
                target[~held[name]] = 0
            elif name in masks:
                sizes = np.abs(target).ravel()
                spare = np.count_nonzero(sizes) - masks[name].sum()
                weakest = np.argsort(np.where(sizes > 0, sizes, np.inf))[: max(spare, 0)]
                target.reshape(-1)[weakest] = 0
            targets[name] = target
        for name, found in by_name(now.target_params).items():
            np.testing.assert_allclose(found, targets[name], atol=1e-7, err_msg=name)
        before, held = held, by_name(now.target_topology)
        for name, mask in held.items():
            apart += (mask != masks[name]).sum()
            taken += (mask & ~before[name]).sum()
            if update % every:
                np.testing.assert_array_equal(mask, before[name])
    assert apart > 0
    assert taken > 0


def test_the_last_change_of_ds_drops_links_of_each_sign_for_good():
    program = program_of("td3", "ds", "masked", total_steps=25_100)
    assert program.cadence.prune == 96  # 95 of 100 updates, and then the end of an interval.
    learner, _ = learn(program, program.init(program.seeds).learner, 3)
    before = plain(program, learner)
    pruned, gone = program.prune(program.to_masked(learner))
    pruned = plain(program, pruned)
    masks, now, weights = map(by_name, (before.topology, pruned.topology, before.params))
    fewer = by_name(program.at(96).counts)
    for name, mask in masks.items():
        left = np.asarray(now[name])
        assert not (left & ~mask).any()
        assert left.sum() == fewer[name]
        if mask.all():
            assert left.all()
            continue
        assert left.sum() == mask.sum() - int(0.3 * mask.sum())
        assert gone[name].item() == pytest.approx(1 - left.sum() / mask.sum())
        for sign in (1, -1):
            side = np.where(mask & (sign * weights[name] > 0), sign * weights[name], 0)
            kept, dropped = side[left & (side > 0)], side[~left & (side > 0)]
            assert abs(len(dropped) - 0.3 * (side > 0).sum()) < 2
            assert dropped.max() < kept.min()
    own = by_name(pruned.target_topology)
    for name, values in by_name(pruned.target_params).items():
        if name in own:
            assert own[name].sum() == fewer[name]
            assert (values[~own[name]] == 0).all()
    moments = by_name(pruned.opt_state)
    for name, left in now.items():
        found = [x for key, x in moments.items() if key.endswith(name)]
        assert len(found) == 2
        assert all((x[~left] == 0).all() for x in found)
    assert program.at(95) is program
    # Not at the last update, and not after it.
    for steps in (25_010, 25_020):
        assert program_of("td3", "ds", "masked", total_steps=steps).cadence.prune is None
    densities = {name: fewer[name] / masks[name].size for name in masks}
    accounts = program.accounting(), program.at(96).accounting(densities)
    assert accounts[0].flops["train_sparse"] == accounts[1].flops["train_sparse"]
    assert accounts[0].flops["test_sparse"] > accounts[1].flops["test_sparse"]


@needs_kernels
def test_kernels_learn_on_after_links_were_dropped():
    states = []
    for form in ("masked", "sparse"):
        program = program_of("td3", "ds", form, total_steps=25_100)
        learner, _ = learn(program, program.init(program.seeds).learner, 3)
        learner, _ = program.prune(program.to_masked(learner))
        after = program.at(96)
        assert after.cadence.evolve is None
        learner, _ = learn(after, after.from_masked(learner), 3, ring_of(program))
        states.append(after.to_masked(learner))
    assert_agree(*states)


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


def test_densities_are_those_of_ds_td3():
    program = build(resolve(dataclasses.replace(defaults("td3", "ds"), env="gym:HalfCheetah-v5")))
    layers = {k: v.mean() for k, v in links(program, program.init(program.seeds).learner).items()}
    expected = {"actor/0/w": 0.439, "critic1/0/w": 0.332, "actor/1/w": 0.5, "critic2/1/w": 0.5}
    for name, density in expected.items():
        assert layers[name] == pytest.approx(density, abs=1e-3)
    assert not {"actor/2/w", "critic1/2/w"} & {k for k, mean in layers.items() if mean < 1}


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
    # There are no more than `least`.
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
    assert discarded(control={"least": 200}, replay=less) == 29
    assert discarded(control={"least": 200}, replay=more) == 0


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
