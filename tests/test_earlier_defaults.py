"""Runs that were begun when settings which they do not look at had other defaults."""

import dataclasses
import json

import pytest

import sparl
from sparl import config_file, methods
from sparl.config import TargetConfig
from sparl.errors import InputError
from sparl.methods import resolve, without_unused
from sparl.train import evaluation, loop
from test_rollout import CONFIG

EARLIER = TargetConfig(omega=10.0)


def test_what_is_used_stays_and_what_is_not_is_as_today():
    config = dataclasses.replace(CONFIG, target=EARLIER)
    assert without_unused(config) == config
    # TD3's operator is its own, however it is spelt.
    for algorithm, method in (("qmix", "rigl"), ("res", "mast"), ("td3", "ds"), ("comix", "rlx2")):
        own = dataclasses.replace(sparl.defaults(algorithm, method), target=EARLIER)
        with pytest.raises(InputError, match=r"target.omega 10.0 changes nothing"):
            resolve(own)
        assert resolve(without_unused(own)) == resolve(sparl.defaults(algorithm, method))
    with pytest.raises(InputError, match="unknown method"):
        without_unused(dataclasses.replace(CONFIG, method="mst"))


def test_a_run_goes_on(toy, tmp_path, monkeypatch):
    config = without_unused(dataclasses.replace(CONFIG, method="rigl"))
    config = dataclasses.replace(config, total_steps=1200, checkpoint_every=400, eval_episodes=2)
    path, chunk = tmp_path / "run", loop.Run._chunk

    def stopping(run, state):
        if run.books.env_steps >= 600:
            raise KeyboardInterrupt
        return chunk(run, state)

    with monkeypatch.context() as earlier:
        earlier.setattr(methods, "_require_used", lambda _: None)
        earlier.setattr(loop.Run, "_chunk", stopping)
        with pytest.raises(loop.RunInterruptedError):
            sparl.train(dataclasses.replace(config, target=EARLIER), run_dir=path)
    assert json.loads((path / "config.json").read_text())["target"]["omega"] == 10
    assert evaluation.evaluate(path, episodes=1)["env_steps"] >= 400
    assert sparl.resume(path).env_steps == 1200
    # The last line of training metrics is at the end, though none has been due.
    lines = map(json.loads, (path / "metrics.jsonl").read_text().splitlines())
    assert [line["env_steps"] for line in lines if line["kind"] == "train"] == [1200]


def test_a_config_repeats_its_run_under_another_method(run, tmp_path):
    target = dataclasses.replace(EARLIER, kind="one_step", operator="double_q")
    stored = dataclasses.replace(sparl.defaults("qmix", "rigl"), target=target)
    config_file.save(stored, tmp_path / "config.json")
    for line in ("train --config config.json", "train --config config.json --method set"):
        code, _, err = run(f"{line} --env smax:3s5x")
        assert (code, "unknown SMAX map" in err) == (2, True), err
