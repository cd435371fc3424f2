"""Runs that are stopped, damaged or out of space, and then resumed: not a bit is lost."""

import json
import re
import shutil
import signal

import numpy as np
import pytest

from commands import (
    CHECKPOINT_EVERY,
    STEPS,
    assert_same_run,
    contents,
    settings,
    steps_saved,
    wait_until,
)
from kernel_cases import needs_kernels
from sparl.cli import main
from sparl.errors import InputError
from sparl.study import inspection
from sparl.train import evaluation
from sparl.train.checkpoint import CheckpointStore
from sparl.train.folder import RunFolder

pytestmark = pytest.mark.slow  # All wait for the reference run.


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, reference, sparl):
    """A run that met Ctrl-C after its second checkpoint; its folder, exit code and last words."""
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    process = sparl.start("train", "--run-dir", folder, *settings())
    wait_until(lambda: len(steps_saved(folder)) == 2, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    return folder, process.returncode, err


def test_truncated_checkpoint_is_named_and_the_one_before_used(tmp_path, reference, sparl):
    folder = unfinished_copy(reference, tmp_path)
    state = state_file(folder, STEPS)
    state.write_bytes(state.read_bytes()[:-1000])

    done = sparl("resume", folder)

    assert done.returncode == 0, done.stderr
    assert f"warning: checkpoint {STEPS}: checkpoints/{state.name} has " in done.stdout
    assert f"resuming at env step {STEPS - CHECKPOINT_EVERY}\n" in done.stdout
    assert_same_run(folder, reference)


@needs_kernels
def test_a_run_goes_on_in_another_form(tmp_path, reference, sparl):
    """As on a machine that has kernels, which the one before had not."""
    folder = unfinished_copy(reference, tmp_path)
    state_file(folder, STEPS).unlink()
    config = json.loads((folder / "config.json").read_text())
    assert config["compute"] == "auto"  # Masked, at this sparsity.
    (folder / "config.json").write_text(json.dumps(config | {"compute": "sparse"}))

    done = sparl("resume", folder)

    assert done.returncode == 0, done.stderr
    assert f"resuming at env step {STEPS - CHECKPOINT_EVERY}\n" in done.stdout
    assert "for sparse compute" in done.stdout
    found, expected = (json.loads((f / "result.json").read_text()) for f in (folder, reference))
    assert found["env_steps"] == STEPS
    assert found["layers"] == expected["layers"]


def test_without_an_intact_checkpoint_all_are_named_and_kept(tmp_path, reference, capsys):
    folder = unfinished_copy(reference, tmp_path)
    states = [state_file(folder, step) for step in (STEPS - CHECKPOINT_EVERY, STEPS)]
    for state in states:
        raw = bytearray(state.read_bytes())
        raw[len(raw) // 2] ^= 1
        state.write_bytes(raw)
    before = contents(folder)

    assert main(["resume", str(folder)]) == 1

    said = capsys.readouterr().err
    for state in states:
        assert f"{state.name} has checksum" in said
    assert contents(folder) == before


def test_ctrl_c_leaves_a_checkpoint_and_a_hint(interrupted):
    folder, code, said = interrupted
    assert code == 130
    stopped = int(re.search(r"stopped at env step (\d+); ", said)[1])
    assert f"continue with `sparl resume {folder}`" in said
    assert CheckpointStore(folder / "checkpoints").restore().step == stopped
    assert 2 * CHECKPOINT_EVERY <= stopped < STEPS
    assert not (folder / "result.json").exists()


def test_full_disk_is_an_error_and_the_run_resumes(tmp_path, interrupted, reference, sparl):
    folder = tmp_path / "run"
    shutil.copytree(interrupted[0], folder)
    before = CheckpointStore(folder / "checkpoints").restore()
    metrics, state = folder / "metrics.jsonl", state_file(folder, before.step)
    # Of the next checkpoint's files the larger may be written first: which one that is depends on
    # how far the run came before Ctrl-C.
    no_room_for = {"metrics": metrics.stat().st_size + 50, "checkpoints/": state.stat().st_size - 1}

    for name, limit in no_room_for.items():
        failed = sparl("resume", folder, largest_file=limit)
        assert failed.returncode == 1
        assert re.search(f"error: .*/{name}.*: File too large", failed.stderr), failed.stderr
        assert "sparl resume" in failed.stderr
        assert "Traceback" not in failed.stderr
        after = CheckpointStore(folder / "checkpoints").restore()
        assert (after.step, after.skipped) == (before.step, [])

    done = sparl("resume", folder)
    assert done.returncode == 0, done.stderr
    assert_same_run(folder, reference)


def test_finished_run_is_only_read(tmp_path, reference, sparl):
    folder = tmp_path / "[red]"  # Not to be taken for a colour.
    shutil.copytree(reference, folder)
    before = contents(folder)
    done = sparl("resume", folder)
    assert done.returncode == 0
    assert f"{folder} is finished already; nothing to resume" in done.stdout
    assert contents(folder) == before


def test_loss_that_is_not_finite_stops_the_run(tmp_path, reference, sparl):
    folder = tmp_path / "run"
    # The first checkpoint is older than the first update, for which there must be 32 episodes.
    flags = settings(optimizer__lr=1e30, checkpoint_every=40, replay__batch_size=32)
    done = sparl("train", "--run-dir", folder, *flags)
    assert done.returncode == 1
    said = re.search(
        r"error: not finite at update (\d+) of seed 0 \(env step (\d+)\): (.*?)\. ", done.stderr
    )
    assert int(said[1]) >= 1
    assert "a smaller --optimizer.clip, of which 0 is none" in done.stderr
    assert set(said[3].split(", ")) & {"loss", "update_norm"}
    assert "Traceback" not in done.stderr
    assert not (folder / "result.json").exists()

    checkpoint = CheckpointStore(folder / "checkpoints").restore()
    assert checkpoint.skipped == []
    assert 0 < checkpoint.step < int(said[2])
    floats = [a for a in checkpoint.state.values() if a.dtype.kind == "f"]
    assert all(np.isfinite(a).all() for a in floats)


def unfinished_copy(reference, tmp_path):
    """The run as if it had been killed before it wrote its result."""
    folder = tmp_path / "run"
    shutil.copytree(reference, folder)
    (folder / "result.json").unlink()
    return folder


def state_file(folder, step):
    (path,) = (folder / "checkpoints").glob(f"state-{step:09d}-*")
    return path


def test_changed_config_is_not_resumed(reference, sparl, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(reference, folder)
    (folder / "result.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    config["optimizer"]["lr"] = 0.001
    (folder / "config.json").write_text(json.dumps(config))
    done = sparl("resume", folder)
    assert done.returncode == 2
    assert "config.json has been changed since the checkpoint" in done.stderr
    with pytest.raises(InputError, match="has been changed since the checkpoint"):
        evaluation.evaluate(folder)
    config["network"]["hidden"] *= 2
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="has masks of another network"):
        inspection.inspect(folder)
    assert not (folder / "masks.png").exists()


def test_one_process_at_a_time_trains_into_a_folder(reference, sparl, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(reference, folder)
    (folder / "result.json").unlink()
    with RunFolder(folder).locked():
        done = sparl("resume", folder)
    assert done.returncode == 1
    assert "another process is training into" in done.stderr
