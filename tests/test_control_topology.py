"""Links of actors and critics in training: fixed, moving, dropped for good, and their targets'."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from control_learners import (
    CELLS,
    FORMS,
    evolve,
    learn,
    links,
    needs_kernels,
    plain,
    program_of,
    ring_of,
)
from learners import assert_agree
from sparl.algorithms import CRITICS
from sparl.methods import resolve
from sparl.presets import defaults
from sparl.topology import by_name
from sparl.train.program import build


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


@pytest.mark.parametrize(
    ("algorithm", "method", "form"),
    [
        *(
            (*cell, "masked")
            for cell in itertools.product(("td3", "sac"), ("set", "rigl", "ds", "rlx2"))
        ),
        *(pytest.param(*cell, "sparse", marks=needs_kernels) for cell in CELLS),
    ],
)
def test_links_move_and_keep_their_number(algorithm, method, form):
    program = program_of(algorithm, method, form)
    learner, _ = learn(program, program.init(program.seeds).learner, 3)
    before = program.to_masked(learner)
    learner, changed = evolve(program, learner)
    after = program.to_masked(learner)
    masks, now = by_name(before.topology), by_name(after.topology)
    # With RLx2's settings TD3's actor waits for as many updates of its own.
    waits = algorithm == "td3" and method != "ds"
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


@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_densities_are_those_of_rlx2(algorithm):
    """Over all layers of a network, the last one too; the narrow ones have the larger share."""
    config = dataclasses.replace(defaults(algorithm, "rlx2"), env="gym:HalfCheetah-v5")
    program = build(resolve(config))
    layers = links(program, program.init(program.seeds).learner)
    for net, density in {"actor": 0.1, "critic1": 0.15, "critic2": 0.15}.items():
        first, second, last = (layers[f"{net}/{i}/w"] for i in range(3))
        every = np.concatenate([first.ravel(), second.ravel(), last.ravel()])
        assert every.mean() == pytest.approx(density, abs=1e-3)
        assert second.mean() < density < first.mean() < last.mean()
        # Erdős-Rényi: links in proportion to the widths on both sides.
        assert first.sum() / second.sum() == pytest.approx(sum(first.shape) / 512, rel=0.01)
        capped = (algorithm, net) != ("sac", "actor")
        assert last.all() == capped


def test_densities_are_those_of_ds_td3():
    program = build(resolve(dataclasses.replace(defaults("td3", "ds"), env="gym:HalfCheetah-v5")))
    layers = {k: v.mean() for k, v in links(program, program.init(program.seeds).learner).items()}
    expected = {"actor/0/w": 0.439, "critic1/0/w": 0.332, "actor/1/w": 0.5, "critic2/1/w": 0.5}
    for name, density in expected.items():
        assert layers[name] == pytest.approx(density, abs=1e-3)
    assert not {"actor/2/w", "critic1/2/w"} & {k for k, mean in layers.items() if mean < 1}
