"""COMIX in training, in both forms, with every method, and what it refuses."""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest

import control_learners
from learners import assert_agree
from sparl.compute import native
from sparl.errors import InputError
from sparl.methods import METHODS, resolve
from sparl.presets import CONTROL, defaults
from sparl.train import control_program, evaluation, start
from sparl.train.program import build
from team_of_hands import changed, config_of

KEY = jax.random.key(3)
TRAINED = ("dense", "static", "set", "rigl", "ds", "rlx2", "mast")
needs_kernels = pytest.mark.skipif(bool(native.unavailable()), reason="no kernels")


@pytest.mark.parametrize("method", TRAINED)
def test_every_method_trains(method, tmp_path):
    config = config_of(
        method, total_steps=800, eval_every=400, log_every=200, eval_episodes=2, compute="auto"
    )
    result = start.train(config, run_dir=tmp_path / "run")
    assert result.updates == 400
    lines = list(map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()))
    kinds = {line["kind"] for line in lines}
    moves = method in ("set", "rigl", "ds", "rlx2", "mast")
    expected = {"train", "eval", "network"} | ({"topology"} if moves else set())
    expected |= {"rlx2": {"replay"}, "ds": {"prune"}}.get(method, set())
    assert kinds == expected
    train = [line for line in lines if "td_loss" in line]
    assert {"q", "target", "td_error", "td_grad_norm"} <= train[-1].keys()
    assert all(np.isfinite(line["td_loss"]) for line in train)
    for layer in result.layers:
        assert layer["links"] >= layer["shape"][0]


@pytest.mark.slow
def test_hands_find_where_they_are_to_be(tmp_path):
    config = config_of(
        "mast",
        total_steps=2000,
        eval_every=2000,
        eval_episodes=20,
        network={"hidden": 64, "embed": 8, "hypernet": 8},
        control={"random_steps": 400, "tau": 0.01, "cem_samples": 16, "cem_elites": 4},
        topology={"interval": 500},
    )
    result = start.train(config, run_dir=tmp_path / "run")
    # Hands that stay in the middle get 2 of 10.
    assert result.return_ > 9
    assert result.sparsity["measured"] == pytest.approx(0.5, abs=0.01)
    outcome = evaluation.evaluate(tmp_path / "run", episodes=3)
    assert outcome["per_seed"][0]["return"] > 8.5


@needs_kernels
def test_kernels_learn_what_masks_do():
    states = []
    for compute in ("masked", "sparse"):
        config = config_of(
            "mast", compute=compute, topology={"interval": 5}, target={"burn_in": 0.0}
        )
        program = build(resolve(config))
        rollout, ring, learner = program.init(program.seeds)
        for _ in range(5):
            rollout, played = program.collect(learner.params, learner.topology, rollout)
            ring = program.store(ring, played, np.int32(0))
        for _ in range(2):
            learner, metrics = program.learn(learner, ring, np.full(1, 4, np.int32), np.int32(0))
            assert metrics.bad_update.item() == -1
            learner, changed = program.evolve(learner, ring, np.int32(100), np.ones(1, bool))
            assert changed["agent/1/w"].item() > 0
        program.close()
        states.append(program.to_masked(learner))
    assert_agree(*states)


def test_multi_step_targets_begin_and_a_share_of_a_batch_is_new():
    for method, rewards, share in (("mast", 3, 0.375), ("rlx2", 3, 0.1), ("rigl", 1, 0.0)):
        config = resolve(config_of(method, total_steps=1400))
        program = build(config)
        learner = control_program._learner(config, program.algorithm)
        assert (learner.rewards, learner.delay) == (rewards, round(share * 1000))
        rollout, ring, state = program.init(program.seeds)
        for _ in range(50):
            rollout, played = program.collect(state.params, state.topology, rollout)
            ring = program.store(ring, played, np.int32(0))
        program.close()
        all_of_it, window = oldest_drawn(learner, ring, 24)
        assert all_of_it > 400
        assert (window <= 200) == (method == "mast")


def test_a_policy_that_has_not_changed_has_not_moved():
    config = config_of("rlx2")
    config = dataclasses.replace(
        config, control=dataclasses.replace(config.control, random_steps=0)
    )
    program = build(resolve(config))
    rollout, ring, learner = program.init(program.seeds)
    for _ in range(10):
        rollout, played = program.collect(learner.params, learner.topology, rollout)
        ring = program.store(ring, played, np.int32(0))
    program.close()
    _, found = program.review(learner, ring, np.ones(1, bool))
    assert found["policy_distance"].item() < 1e-6


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"env": "gym:Pendulum-v1"}, "one agent, and comix is for teams: pass --algorithm td3"),
        ({"env": "smax:3m"}, "comix is for continuous control: pass --env mamujoco:NAME, or"),
        (
            {"method": "tiny"},
            "'tiny', which --method tiny has, is not for comix, as it has no widths .* of dense, "
            "static, set, rigl, rlx2, mast, ds$",
        ),
        ({"target": {"operator": "double_q"}}, "is not for comix, as its search looks at the"),
        ({"topology": {"distribution": "lambda"}}, "unknown topology distribution 'lambda'"),
        ({"topology": {"agent_densities": "a=0.1"}}, "topology.agent_densities a=0.1 changes noth"),
        ({"control": {"horizon": 1}}, r"control.horizon must lie in \[2, "),
        ({"control": {"cem_samples": 1}}, r"control.cem_samples must lie in \[2, "),
        ({"control": {"cem_rounds": 1, "cem_elites": 5}}, "cem_elites must be 6, its default"),
        ({"control": {"critic_sparsity": 0.5}}, "control.critic_sparsity 0.5 changes nothing, as"),
        ({"control": {"policy_delay": 3}}, "control.policy_delay 3 changes nothing, as algorithm"),
        ({"control": {"cem_elites": 65}}, r"control.cem_elites must lie in \[2, 64\]"),
        ({"control": {"cem_elites": 1}}, r"control.cem_elites must lie in \[2, 64\]"),
        ({"replay": {"window": 3000, "capacity": 2000}}, "replay.window must be at most"),
    ],
)
def test_what_does_not_go_together(settings, match, tmp_path):
    config = changed(config_of("mast", control={}, replay={}), settings)
    with pytest.raises(InputError, match=match):
        start.train(config, run_dir=tmp_path / "run")


def test_one_agent_does_not_move_a_team(tmp_path):
    config = dataclasses.replace(defaults("td3"), env="python:team_of_hands:Hands")
    with pytest.raises(InputError, match="is a team, and td3 is for one: pass --algorithm comix"):
        start.train(config, run_dir=tmp_path / "run")
    config = dataclasses.replace(
        defaults("td3"), control=dataclasses.replace(config.control, horizon=5)
    )
    with pytest.raises(InputError, match=r"control\.horizon 5 changes nothing, as algorithm"):
        resolve(config)


def test_every_method_goes_but_where_it_makes_no_sense():
    refused = set()
    for algorithm in CONTROL:
        for method in METHODS:
            try:
                resolve(defaults(algorithm, method))
            except InputError:
                refused.add((algorithm, method))
    assert refused == {(name, "tiny") for name in CONTROL} | {("td3", "mast"), ("sac", "mast")}


def test_td3_draws_from_two_buffers_as_well():
    config = control_learners.config_of("td3", "dense", "auto")
    replay = dataclasses.replace(config.replay, kind="dual", window=50, window_batch=4)
    config = resolve(dataclasses.replace(config, replay=replay))
    program = build(config)
    ring = control_learners.ring_of(program)
    learner = control_program._learner(config, program.algorithm)
    all_of_it, window = oldest_drawn(learner, ring, 12)
    assert all_of_it > 200
    assert window <= 50


def oldest_drawn(learner, ring, count):
    """How many rows back the oldest is, of the first `count` of a batch and of the others."""
    ring = jax.tree.map(lambda x: x[0], ring)
    draw = functools.partial(learner.draw, ring)
    _, rows = jax.vmap(draw)(jax.random.split(KEY, 20))
    ages = ring.added[0] - rows
    return ages[:, :count].max().item(), ages[:, count:].max().item()
