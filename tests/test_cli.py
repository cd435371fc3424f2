"""The `sparl` command: what it prints."""

import json
import shutil
import subprocess
import sys
from importlib.metadata import version

import pytest

from commands import DIMS, SETTINGS, STEPS, assert_same_run, contents


@pytest.mark.parametrize("flags", ["--paper", "--paper --json"])
def test_closed_pipe_is_no_failure(flags, sparl):
    process = sparl.start("flops", *flags.split())
    process.stdout.close()
    process.stdout = None
    assert process.communicate()[1] == ""
    assert process.returncode == 0


def test_a_module_is_the_command_too():
    command = [sys.executable, "-m", "sparl.cli", "--version"]
    assert subprocess.check_output(command, text=True) == f"sparl {version('sparl')}\n"


def test_version(run):
    assert run("--version") == (0, f"sparl {version('sparl')}\n", "")


@pytest.mark.parametrize("line", ["", "--help", "-h"])
def test_help_lists_the_commands(line, run):
    code, out, _ = run(line)
    assert code == 0
    assert all(f"\n  {name}" in out for name in ("train", "resume", "eval", "inspect", "flops"))


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("train", ["--env", "--sparsity", "--overwrite", "--topology.interval", "--optimizer.lr"]),
        ("resume", ["--tensorboard"]),
        ("eval", ["--episodes", "--json"]),
        ("inspect", ["--out", "--json"]),
        ("flops", ["--paper", "--obs-dim", "--json"]),
    ],
)
def test_help_of_a_command_lists_its_flags(command, flags, run):
    code, out, _ = run(f"{command} --help")
    assert code == 0
    assert all(flag in out for flag in flags)


def test_info_says_what_multiplies(run):
    code, out, _ = run("info --json")
    assert code == 0
    found = json.loads(out)
    assert found["sparl"] == version("sparl")
    assert found["kernels"] == (found["reason"] is None)
    code, out, _ = run("info")
    assert code == 0
    assert ("native kernels" if found["kernels"] else found["reason"]) in out


def test_flops_of_the_papers_3m(run):
    """MAST, Table 1: QMIX on 3m at 95 %."""
    code, out, _ = run(f"flops --algorithm qmix {DIMS} --sparsity 0.95 --json")
    assert code == 0
    counted = json.loads(out)
    assert counted["size_ratio"] == pytest.approx(0.06605, abs=5e-6)
    assert counted["flops"]["train_ratio"] == pytest.approx(0.05105, abs=5e-6)
    assert counted["flops"]["test_ratio"] == pytest.approx(0.05, abs=5e-6)
    code, out, _ = run(f"flops {DIMS}")
    assert code == 0
    assert all(ratio in out for ratio in ("0.06605", "0.05105", "0.05000"))


def test_flops_of_vdn_need_no_state(run):
    dims = "--obs-dim 30 --num-actions 9 --num-agents 3"
    code, out, _ = run(f"flops --algorithm vdn {dims} --json")
    assert code == 0
    assert json.loads(out)["flops"]["test_ratio"] == pytest.approx(0.05)
    code, _, err = run(f"flops --algorithm qmix {dims}")
    assert code == 2
    assert "pass --state-dim" in err


def test_flops_of_the_paper(run):
    code, out, _ = run("flops --paper")
    assert code == 0
    assert all(name in out for name in ("3m", "2s3z", "3s5z", "64zg"))
    code, out, _ = run("flops --paper --json")
    assert code == 0
    assert json.loads(out)


@pytest.mark.slow
def test_result_has_all_figures(reference):
    result = json.loads((reference / "result.json").read_text())
    told = {"algorithm": "qmix", "method": "mast", "seed": 0, "env_steps": STEPS}
    assert (told | {"env": SETTINGS["env"]}).items() <= result.items()
    assert result["episodes"] > result["updates"] > 0
    assert 0 <= result["win_rate"] <= 1
    assert 0 <= result["final_win_rate"] <= 1
    assert isinstance(result["return"], float)
    assert result["sparsity"]["target"] == 0.5
    assert result["sparsity"]["measured"] == pytest.approx(0.5, abs=0.005)
    assert 0.5 < result["parameters"]["sparse"] / result["parameters"]["dense"] < 0.6
    assert 0.5 < result["size_ratio"] < 0.6
    assert result["flops"]["train_ratio"] == pytest.approx(0.5, abs=0.01)
    assert result["flops"]["test_ratio"] == pytest.approx(0.5, abs=0.01)
    assert result["seconds"] > 0
    assert result["env_steps_per_second"] > STEPS / result["seconds"]


@pytest.mark.slow
def test_config_repeats_its_run_over_another(tmp_path, reference, sparl):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_bytes((reference / "config.json").read_bytes())
    for left in ("checkpoints", "topology"):
        shutil.copytree(reference / left, folder / left)
    (folder / "result.json").write_text("stale")
    flags = ("--config", reference / "config.json", "--run-dir", folder, "--overwrite")

    done = sparl("train", *flags)

    assert done.returncode == 0, done.stderr
    assert (folder / "config.json").read_bytes() == (reference / "config.json").read_bytes()
    assert_same_run(folder, reference)
    for words in (
        f"qmix / mast on {SETTINGS['env']}, seed 0",
        f"{STEPS}/{STEPS} env steps",
        "agent/fc1/w",
    ):
        assert words in done.stdout


def test_flags_and_method_take_precedence_over_the_config(run, tmp_path):
    (tmp_path / "config.json").write_text(
        '{"method": "mast", "sparsity": 0.5, "compute": "masked"}'
    )
    code, _, err = run("train --config config.json --sparsity 1.5")
    assert (code, "got 1.5" in err) == (2, True)
    # As if --compute had not been written down for another method.
    code, _, err = run("train --config config.json --method dense --env smax:3s5x")
    assert (code, "unknown SMAX map" in err) == (2, True)


@pytest.mark.slow
def test_eval_plays_the_newest_checkpoint(reference, sparl):
    before = contents(reference)
    done = sparl("eval", reference, "--episodes", 4, "--json")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    (seed,) = outcome.pop("per_seed")
    assert outcome == {"env": SETTINGS["env"], "env_steps": STEPS, "episodes": 4, "warnings": []}
    assert seed.keys() == {"seed", "win_rate", "return", "episode_length"}
    assert seed["win_rate"] in (0, 0.25, 0.5, 0.75, 1)
    assert seed["episode_length"] > 1
    again = sparl("eval", reference, "--seed", 1)
    assert again.returncode == 0, again.stderr
    assert "playing" not in again.stderr  # That is for terminals.
    # Ten times as many as in one of its evaluations.
    assert f"40 episodes at env step {STEPS}" in " ".join(again.stdout.split())
    assert contents(reference) == before


@pytest.mark.slow
def test_inspect_shows_layers_and_draws_masks(run, reference, tmp_path):
    picture = tmp_path / "masks.png"
    code, out, err = run("inspect --json --out", picture, reference)
    assert code == 0, err
    report = json.loads(out)
    assert (report["env_steps"], report["picture"]) == (STEPS, str(picture))
    layers = json.loads((reference / "result.json").read_text())["layers"]
    seen = [{name: layer[name] for name in layers[0]} for layer in report["layers"]]
    assert seen == layers
    assert picture.read_bytes().startswith(b"\x89PNG")
    code, out, _ = run("inspect --out", picture, reference)
    assert code == 0
    assert "agent/fc1/w" in out
    assert picture.name in out
    assert run("inspect --seed 1", reference)[0] == 2
