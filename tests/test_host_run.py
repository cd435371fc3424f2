"""Whole runs on environments in worker processes, by the `sparl` command."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

import pytest

from commands import EXAMPLES, STEPS, figures, records, settings, steps_saved, wait_until
from sparl.envs import check_workers
from sparl.envs.workers import RayWorker
from sparl.errors import InputError, SparlError
from test_host_rollout import workers_of


def flags(name, **changed):
    return settings(env=f"python:host_toy:{name}", **changed)


@pytest.mark.slow
def test_a_killed_run_leaves_no_workers_and_goes_on(sparl, tmp_path):
    folder = tmp_path / "run"
    process = sparl.start("train", "--run-dir", folder, *flags("Raising"))
    wait_until(lambda: len(steps_saved(folder)) >= 2, process)
    workers = workers_of(process.pid)
    assert workers
    process.send_signal(signal.SIGKILL)
    process.communicate()
    saved = steps_saved(folder)[-1]
    assert saved < STEPS
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)

    done = sparl("resume", folder)
    assert done.returncode == 0, done.stderr
    assert f"resuming at env step {saved}" in done.stdout
    result = json.loads((folder / "result.json").read_text())
    assert result["env_steps"] == STEPS
    train = [record for record in records(folder) if record["kind"] == "train"]
    assert train[-1]["broken_episodes"] > 0
    assert "RuntimeError: the game is lost" in done.stdout
    counted = [record["episodes"] for record in train]
    assert counted == sorted(counted)
    # About four steps each, nothing of them lost but what was running.
    assert STEPS / 6 < result["episodes"] < STEPS / 2


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "number"), [("process", 1), ("ray", 2)])
def test_two_runs_of_one_seed_are_one(sparl, tmp_path, undisturbed, workers, number):
    folder = tmp_path / "run"
    options = flags("HostToy", workers=workers, num_workers=number)
    done = sparl("train", "--run-dir", folder, *options)
    assert done.returncode == 0, done.stderr
    first = undisturbed({"env": "python:host_toy:HostToy"})
    assert figures(folder) == figures(first)
    assert records(folder) == records(first)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://[::1]:1"])
def test_a_ray_cluster_that_is_not_there_is_refused(monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InputError, match=f"RAY_ADDRESS={re.escape(address)}.*unset RAY_ADDRESS"):
        check_workers("ray")


def test_ray_that_cannot_start_is_said_in_a_sentence(monkeypatch):
    def init(**_):
        raise ConnectionError("no nodes")

    ray = types.SimpleNamespace(is_initialized=lambda: False, init=init)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(SparlError, match=r"no Ray at 'auto'.*: no nodes"):
        RayWorker("python:host_toy:HostToy")
    monkeypatch.delenv("RAY_ADDRESS")
    with pytest.raises(SparlError, match=r"no Ray at 'local'.*: no nodes"):
        RayWorker("python:host_toy:HostToy")


@pytest.fixture
def _crashed_cluster(monkeypatch):
    """What a Ray cluster leaves behind whose machine goes down."""
    # `tmp_path` is longer than the name of a socket may be.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        last = Path(folder) / "ray" / "ray_current_cluster"
        last.parent.mkdir()
        last.write_text("127.0.0.1:1")
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("_crashed_cluster")
def test_a_killed_ray_worker_costs_its_episode_alone(sparl, tmp_path):
    folder = tmp_path / "run"
    options = flags("Slow", workers="ray", total_steps=2000)
    process = sparl.start("train", "--run-dir", folder, *options)
    wait_until(lambda: steps_saved(folder), process)
    search = ["pgrep", "-f", "^ray::Worker"]
    found = subprocess.run(search, check=True, stdout=subprocess.PIPE, text=True)
    os.kill(int(found.stdout.split()[0]), signal.SIGKILL)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "Ray lost its actor" in out
    train = [record for record in records(folder) if record["kind"] == "train"]
    assert 1 <= train[-1]["broken_episodes"] <= 2
    assert train[-1]["env_steps"] == 2000


@pytest.fixture
def cluster():
    """`ray_cluster.py`, running, and a function that waits for what it says."""
    script = Path(__file__).with_name("ray_cluster.py")
    pipe = subprocess.PIPE
    with subprocess.Popen((sys.executable, script), stdin=pipe, stdout=pipe, text=True) as process:

        def said(word):
            for line in process.stdout:
                if line.startswith(word):
                    return line.removeprefix(word).strip()
            pytest.fail(f"the cluster ended before it said {word!r}")

        yield process, said
        process.stdin.close()


@pytest.mark.slow
def test_a_lost_ray_node_costs_its_episodes_alone(sparl, tmp_path, monkeypatch, cluster):
    folder, (nodes, said) = tmp_path / "run", cluster
    monkeypatch.setenv("RAY_ADDRESS", said("address"))
    options = flags("Slow", workers="ray", num_workers=2, total_steps=2000)
    process = sparl.start("train", "--run-dir", folder, *options)
    wait_until(lambda: steps_saved(folder), process)
    print("replace", file=nodes.stdin, flush=True)
    said("replaced")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "Ray lost its actor" in out
    train = [record for record in records(folder) if record["kind"] == "train"]
    assert train[-1]["broken_episodes"] >= 1
    assert train[-1]["env_steps"] == 2000


@pytest.mark.slow
def test_a_hopeless_run_says_why(sparl, tmp_path):
    done = sparl("train", "--run-dir", tmp_path / "run", *flags("Hopeless"))
    assert done.returncode == 1
    assert "at last: RuntimeError: there is no game" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_example_learns(sparl, tmp_path):
    folder = tmp_path / "run"
    env = "python:rendezvous:Rendezvous"
    options = ("--total-steps", 16_000, "--sparsity", 0.9, "--eval-every", 2000)
    done = sparl("train", "--env", env, "--run-dir", folder, *options)
    assert done.returncode == 0, done.stderr
    rates = [record["win_rate"] for record in records(folder) if record["kind"] == "eval"]
    assert max(rates[-4:]) > 0.8
    length = [r["episode_length"] for r in records(folder) if r["kind"] == "eval"]
    assert length[-1] < 15
    played = sparl("eval", folder, "--episodes", 16, "--json")
    assert json.loads(played.stdout)["per_seed"][0]["win_rate"] > 0.6


def test_the_example_is_short():
    code = (EXAMPLES / "rendezvous.py").read_text().rpartition('"""')[2]
    assert len([line for line in code.splitlines() if line.strip()]) < 40


def test_the_docs_show_the_example():
    code = (EXAMPLES / "rendezvous.py").read_text().rpartition('"""\n')[2].strip()
    assert code in (EXAMPLES.parent / "docs" / "environments.md").read_text()
