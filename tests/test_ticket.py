"""Runs that begin with the links of another run."""

import dataclasses
import shutil

import numpy as np
import pytest

import control_learners
import sparl
from sparl.config import TopologyConfig
from sparl.errors import InputError
from sparl.train.masks import load_masks
from test_rollout import CONFIG

BASE = dataclasses.replace(
    CONFIG, total_steps=1200, eval_every=600, eval_episodes=2, checkpoint_every=600
)


def of_method(method, **changes):
    config = dataclasses.replace(BASE, method=method, **changes)
    if method != "mast":
        replay = dataclasses.replace(config.replay, window=100, window_batch=8)
        config = dataclasses.replace(config, replay=replay)
    return config


def with_links_of(path, method="static", **changes):
    return of_method(method, topology=TopologyConfig(from_=str(path)), **changes)


@pytest.mark.slow
def test_a_run_trains_on_the_links_that_another_found(toy, tmp_path):
    sparl.train(of_method("rigl", num_seeds=2), run_dir=tmp_path / "found")
    found = load_masks(tmp_path / "found" / "topology")
    last = found[max(found)]
    assert any((last[name] != mask).any() for name, mask in found[0].items())

    config = with_links_of(tmp_path / "found", num_seeds=2, seed=7)
    sparl.train(config, run_dir=tmp_path / "ticket")
    kept = load_masks(tmp_path / "ticket" / "topology")
    for masks in kept.values():
        for name, mask in masks.items():
            np.testing.assert_array_equal(mask, last[name])

    # Of one seed for every seed; and a topology that moves on from there.
    sparl.train(of_method("static"), run_dir=tmp_path / "one")
    one = load_masks(tmp_path / "one" / "topology")[0]
    sparl.train(with_links_of(tmp_path / "one", "rigl", num_seeds=2), run_dir=tmp_path / "onwards")
    onwards = load_masks(tmp_path / "onwards" / "topology")
    for name, mask in onwards[0].items():
        np.testing.assert_array_equal(mask, np.repeat(one[name], 2, axis=0))
    assert any((onwards[max(onwards)][name] != mask).any() for name, mask in onwards[0].items())


def test_an_actor_and_its_critics_train_on_links_that_another_run_found(tmp_path):
    def trained(method, run_dir, **topology):
        topology |= {"distribution": "erdos_renyi", "lambdas": TopologyConfig().lambdas}
        config = control_learners.config_of("td3", method)
        config = dataclasses.replace(
            config,
            total_steps=400,
            eval_every=400,
            sparsity=0.7,
            topology=dataclasses.replace(config.topology, **topology),
            control=dataclasses.replace(config.control, random_steps=200, critic_sparsity=0.6),
        )
        sparl.train(config, run_dir=run_dir)
        return load_masks(run_dir / "topology")

    found = trained("set", tmp_path / "found")
    last = found[max(found)]
    assert {name.split("/")[0] for name in last} == {"actor", "critic1", "critic2"}
    assert any((last[name] != mask).any() for name, mask in found[0].items())
    kept = trained("static", tmp_path / "ticket", from_=str(tmp_path / "found"))
    for masks in kept.values():
        assert masks.keys() == last.keys()
        for name, mask in masks.items():
            np.testing.assert_array_equal(mask, last[name])


def test_it_goes_on_without_the_run_that_the_links_came_from(toy, tmp_path):
    sparl.train(of_method("static"), run_dir=tmp_path / "one")
    config = with_links_of(tmp_path / "one", seed=3)
    whole = sparl.train(config, run_dir=tmp_path / "ticket")
    # As a kill before the first checkpoint leaves it.
    folder = tmp_path / "ticket"
    for name in ("checkpoints", "result.json", "metrics.jsonl"):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(tmp_path / "one")
    again = sparl.resume(folder)
    assert (again.win_rate, again.return_) == (whole.win_rate, whole.return_)


def test_links_that_do_not_fit_are_refused_before_anything_is_written(toy, tmp_path):
    sparl.train(of_method("static", num_seeds=2), run_dir=tmp_path / "two")
    sparl.train(of_method("dense"), run_dir=tmp_path / "dense")
    wider = dataclasses.replace(CONFIG.network, hidden=9)
    cases = [
        (with_links_of(tmp_path / "none"), "it does not exist"),
        (with_links_of(tmp_path / "dense"), "has no masks to begin with"),
        (with_links_of(tmp_path / "two", num_seeds=3), "has 2 seeds and this run 3"),
        (with_links_of(tmp_path / "two", sparsity=0.3), "pass that run's --sparsity"),
        (with_links_of(tmp_path / "two", network=wider), "differs in agent/fc1/w"),
        (with_links_of(tmp_path / "two", "dense"), "leave --topology.from at its default"),
    ]
    for config, words in cases:
        with pytest.raises(InputError, match=words):
            sparl.train(config, run_dir=tmp_path / "new")
        assert not (tmp_path / "new").exists()
