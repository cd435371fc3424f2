"""Runs that are killed again and again, and then resumed: not a bit is lost."""

import json
import random
import re
import signal
import time

import pytest

from commands import CHECKPOINT_EVERY, STEPS, assert_same_run, settings, steps_saved, wait_until
from sparl.compute import native

pytestmark = pytest.mark.slow

DENSE = {"method": "dense", "topology__interval": None} | dict.fromkeys(
    ["replay__window", "replay__window_batch"]
)
KILLED = [
    pytest.param({}, 20241, 4, id="mast"),
    pytest.param(DENSE, 20242, 1, id="dense"),
    pytest.param({"num_seeds": 2}, 20243, 1, id="two seeds"),
    pytest.param(
        {"compute": "sparse", "env": "smax:3m"},
        20244,
        1,
        id="sparse on SMAX",
        marks=pytest.mark.skipif(bool(native.unavailable()), reason="no kernels"),
    ),
]


@pytest.mark.parametrize(("changed", "seed", "kills"), KILLED)
def test_killed_run_ends_as_if_never_killed(tmp_path, undisturbed, sparl, changed, seed, kills):
    reference = undisturbed(changed)
    folder, moments = tmp_path / "run", random.Random(seed)
    pace = seconds_per_checkpoint(reference)

    process = sparl.start("train", "--run-dir", folder, *settings(**changed))
    wait_until((folder / "metrics.jsonl").exists, process)
    kill(process, "compiling", moments.uniform(0, 0.5))
    assert steps_saved(folder) == []
    # Killed a little later it would have left records, and one of them torn.
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "env_steps": 200}\n{"kind": "tra')

    for _ in range(kills):
        saved = steps_saved(folder)
        process = sparl.start("resume", folder)
        wait_until(lambda saved=saved: steps_saved(folder)[-1:] > saved[-1:], process)
        at = f"after checkpoint {steps_saved(folder)[-1]}"
        kill(process, at, moments.uniform(0, 1.5 * pace))
        assert not (folder / "result.json").exists()

    done = sparl("resume", folder)
    assert done.returncode == 0, done.stderr
    assert re.search(r"resuming at env step \d+", done.stdout)
    assert_same_run(folder, reference)


def seconds_per_checkpoint(folder):
    """Measured over the run's second half, where it has long been compiled."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    times = {r["env_steps"]: r["seconds"] for r in map(json.loads, lines) if r["kind"] == "train"}
    saves = STEPS / 2 / CHECKPOINT_EVERY
    return (times[STEPS] - times[STEPS // 2]) / saves


def kill(process, where, wait):
    """`kill -9` after `wait` seconds."""
    print(f"kill -9 while {where}, {wait:.3f} s later")
    time.sleep(wait)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
