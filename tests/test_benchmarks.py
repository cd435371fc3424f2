"""The scripts that fill the results page, on records of their own."""

import importlib
import json
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from sparl import config_file
from sparl.cli import parse
from sparl.config import Config
from sparl.methods import resolve

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def matrix(*arguments, script="matrix.py"):
    command = [sys.executable, BENCHMARKS / script, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env={"COLUMNS": "200"}, check=False
    )


def finished(folder, name, win_rate, returns=(1.0,)):
    """A run folder as training leaves it."""
    own = folder / name
    own.mkdir(parents=True)
    result = {"env_steps": 5, "win_rate": win_rate, "return": returns[-1], "size_ratio": 0.066}
    result |= {"flops": {"train_ratio": 0.051}, "env_steps_per_second": 9.0}
    (own / "result.json").write_text(json.dumps(result))
    line = {"kind": "eval", "env_steps": 5}
    line |= {} if win_rate is None else {"win_rate": win_rate}
    lines = [json.dumps(line | {"return": each}) for each in returns]
    (own / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def test_finished_runs_are_recorded_and_compared_with_dense(tmp_path):
    methods = {"dense": 0.8, "mast": 0.6, "rigl": 0.4, "static": 0.4, "rlx2": 0.2}
    methods |= {"set": 0.1, "tiny": 0.0, "mast-target.omega-10": 0.3}
    for seed in (0, 1):
        for method, rate in methods.items():
            finished(tmp_path / "runs", f"qmix-3m-{method}-{seed}-5", rate + 0.1 * seed)
    where = ("--folder", tmp_path / "runs", "--record", tmp_path / "record.json")
    cell = ("--maps", "3m", "--algorithms", "qmix", "--seeds", 2, "--total-steps", 5)
    done = matrix(*where, *cell)
    assert done.returncode == 0, done.stderr
    for text in ("0.600 0.700", "0.650", "0.071", "76.5", "100.9"):
        assert text in done.stdout
    rows = json.loads(done.stdout.splitlines()[-1])["rows"]
    by_method = {row["method"]: row for row in rows}
    assert by_method["mast"]["win_rates"] == pytest.approx([0.6, 0.7])
    assert by_method["mast"]["percent_of_dense"] == pytest.approx(100 * 0.65 / 0.85)
    assert by_method["mast --target.omega 10"]["paper_percent"] == 100.9
    assert by_method["dense"]["paper_percent"] is None
    others = json.loads((tmp_path / "record.json").read_text())
    assert len(others) == 16
    assert others["qmix-3m-mast-0-5"]["curve"] == [[5, 0.6]]
    # What is recorded needs no folder.
    shown = matrix("--record", tmp_path / "record.json", "--no-train", *cell)
    assert shown.stdout == done.stdout


def test_a_record_may_be_shared(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    script = importlib.import_module("runs")
    records = [script.Record(tmp_path / "record.json") for _ in range(2)]
    names = ["qmix-3m-dense-0-5", "qmix-3m-mast-0-5"]
    for record, name in zip(records, names, strict=True):
        finished(tmp_path, name, 0.5)
        record.add(script.Run(tmp_path / name, ()))
    assert sorted(json.loads((tmp_path / "record.json").read_text())) == names


def test_a_folder_of_other_settings_is_refused(tmp_path):
    cell = ("--maps", "3m", "--algorithms", "qmix", "--seeds", 1, "--total-steps", 5)
    cell += ("--methods", "mast", "--record", tmp_path / "record.json")
    finished(tmp_path, "qmix-3m-mast-0-5", 0.5)
    config = resolve(Config(env="smax:3m", total_steps=5))
    for omega, code in ((100.0, 0), (10.0, 1)):
        (tmp_path / "record.json").unlink(missing_ok=True)
        target = replace(config.target, omega=omega)
        stored = replace(config, target=target)
        config_file.save(stored, tmp_path / "qmix-3m-mast-0-5" / "config.json")
        done = matrix("--folder", tmp_path, *cell)
        assert done.returncode == code, done.stderr
    assert "is a run with other settings than `sparl train --algorithm=qmix" in done.stderr


def test_every_cell_is_a_run_that_sparl_takes(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    script = importlib.import_module("matrix")
    runs = script.cells_of([*script.MATRIX, *script.ABLATION], 1, 5, tmp_path)
    commands = {run.folder.name: run.command() for run in runs}
    assert len(set(map(tuple, commands.values()))) == len(commands)
    configs = {}
    for name, command in commands.items():
        assert command[1:4] == ["-m", "sparl.cli", "train"]
        configs[name] = resolve(parse(command[3:]).settings)
    changed = configs["qmix-2s3z-mast-target.operator-double_q-0-5"]
    assert (changed.method, changed.target.operator, changed.total_steps) == ("mast", "double_q", 5)


def test_every_cell_of_control_is_a_run_that_sparl_takes(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    script = importlib.import_module("control_returns")
    given = {"total_steps": 30_000, "folder": tmp_path, "seeds": 2, "flags": ""}
    methods = ["dense", "static", "ds", "rlx2", script.RLX2_DENSE]
    asked = Namespace(envs=["gym:Hopper-v5"], algorithms=["td3", "sac"], methods=methods, **given)
    team = Namespace(
        envs=["mamujoco:Humanoid-9|8"], algorithms=["comix"], methods=["mast", "rigl"], **given
    )
    cells = [*script.cells_of(asked), *script.cells_of(team)]
    configs = {cell.folder: resolve(parse(cell.command()[3:]).settings) for cell in cells}
    assert len(configs) == 2 * (5 * 2 + 2)
    learned = {
        (own.algorithm, cell.method): (
            own.replay.batch_size,
            own.optimizer.lr,
            own.control.weight_decay,
        )
        for cell, own in zip(cells, configs.values(), strict=True)
    }
    for algorithm in ("td3", "sac"):
        for method in (script.RLX2_DENSE, "rlx2"):
            assert learned[algorithm, method] == (256, 3e-4, 0.0)
        for method in ("dense", "static", "ds"):
            assert learned[algorithm, method] == (100, 1e-3, 2e-4)
    assert script.twin_of("td3", "rlx2 --sparsity 0.98") == script.RLX2_DENSE
    (cell,) = script.cells_of(
        Namespace(
            **vars(team) | {"methods": ["mast"], "seeds": 1, "flags": "--control.random-steps 2000"}
        )
    )
    assert cell.folder.name == "comix-Humanoid-9-8-mast-control.random-steps-2000-0-30000"
    assert resolve(parse(cell.command()[3:]).settings).control.random_steps == 2000
    assert script.twin_of("sac", script.RLX2_DENSE) == script.RLX2_DENSE
    assert script.twin_of("comix", "rigl") == script.twin_of("td3", "ds") == "dense"


def test_every_program_that_is_timed_is_one_that_sparl_takes(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    cases = importlib.import_module("control").cases
    for algorithm in ("td3", "comix"):
        forms = {name: resolve(each) for name, each in cases(algorithm, None).items()}
        for name, config in forms.items():
            dense = forms[f"{name.split()[0]} dense"]
            assert (config.topology.kind == "dense") == (config is dense)
            assert config.replay.batch_size == dense.replay.batch_size


def test_control_is_compared_by_returns_and_by_the_area_under_the_curve(tmp_path):
    for seed in (0, 1):
        for method, returns in {"dense": (2.0, 6.0), "ds": (4.0, 8.0)}.items():
            name = f"sac-Hopper-v5-{method}-{seed}-5"
            finished(tmp_path / "runs", name, None, [value + seed for value in returns])
    cell = ("--envs", "gym:Hopper-v5", "--algorithms", "sac", "--methods", "dense", "ds")
    cell += ("--seeds", 2, "--total-steps", 5, "--record", tmp_path / "record.json")
    done = matrix("--folder", tmp_path / "runs", *cell, script="control_returns.py")
    assert done.returncode == 0, done.stderr
    assert "sac on gym:Hopper-v5" in done.stdout
    (row,) = (line for line in done.stdout.splitlines() if " ds " in line)
    # Areas of 6.5 and 4.5.
    for text in ("8 9", "144.4", "0.066"):
        assert text in row


def test_areas_are_compared_over_the_seeds_that_both_have(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    percent = importlib.import_module("control_returns").percent_of_area
    own, dense = ({i: {"curve": [[5, x]]} for i, x in enumerate(xs)} for xs in ((3, 9), (2,)))
    assert percent(own, dense) == 150
    assert percent(own, {}) is None
    assert percent(own, {0: {"curve": [[5, -2.0]]}}) is None


def test_nothing_finished_is_said(tmp_path):
    done = matrix("--record", tmp_path / "record.json", "--no-train")
    assert done.returncode == 2
    assert "has no finished run yet" in done.stderr
