"""A crash, a kill or a full disk loses at most what came after the last checkpoint."""

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from checkpoint_cases import check, flip, full_disk, only, restore, save, save_all
from sparl.errors import SparlError
from sparl.train.checkpoint import CheckpointStore


class CrashError(BaseException):
    """Stands for the end of the process: nothing catches it."""


@pytest.mark.parametrize("scenario", ["next step", "after a fall back"])
def test_a_crash_at_any_system_call_loses_nothing(tmp_path, monkeypatch, scenario):
    save_all(tmp_path / "base", 4)
    if scenario == "after a fall back":
        flip(only(tmp_path / "base", "state-000000004-*"))
    complete = 3 if scenario == "after a fall back" else 4
    calls, fsync = -1, os.fsync

    def crashing(function):
        def call(*args, **kwargs):
            nonlocal calls
            calls -= 1
            if calls < 0:
                if function is fsync:
                    with contextlib.suppress(OSError):  # A folder cannot be cut.
                        os.ftruncate(args[0], 0)  # What was not synced may be lost.
                raise CrashError
            return function(*args, **kwargs)

        return call

    for survived in itertools.count():
        folder = tmp_path / f"crash-{survived}"
        shutil.copytree(tmp_path / "base", folder)
        store = CheckpointStore(folder)
        assert store.restore().step == complete
        save_step = complete + 1
        calls = survived
        with monkeypatch.context() as patch:
            for name in ("fsync", "open", "replace", "unlink"):
                patch.setattr(os, name, crashing(getattr(os, name)))
            save(store, save_step, tag=1.0)
            try:
                store.wait()
                crashed = False
            except CrashError:
                crashed = True
        store.close()
        again = CheckpointStore(folder)
        found = again.restore()
        check(found)
        assert found.step in {complete, save_step}
        save(again, found.step + 1)
        again.close()
        check(restore(folder))
        if not crashed:
            break
    assert found.step == save_step
    assert survived > 5  # Or the test has lost its grip on the calls.


KILLS = """
    import os, random, signal, sys, time, traceback
    from pathlib import Path
    from checkpoint_cases import check, restore, save
    from sparl.train.checkpoint import CheckpointStore

    folder, random = Path(sys.argv[1]), random.Random(0)
    complete = 0
    for _ in range(15):
        read, write = os.pipe()
        child = os.fork()
        if not child:
            try:
                store = CheckpointStore(folder)
                found = store.restore()
                step = found.step if found else 0
                while True:
                    step += 1
                    save(store, step)
                    store.wait()
                    os.write(write, step.to_bytes(8, "big"))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        os.close(write)
        time.sleep(random.uniform(0.0, 0.15))
        os.kill(child, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        reports = os.read(read, 1 << 16)
        os.close(read)
        complete = int.from_bytes(reports[-8:], "big") if reports else complete
        found = restore(folder)
        if complete:
            check(found)
            assert complete <= found.step <= complete + 1, (complete, found.step)
            complete = found.step
    print(complete)
"""


def run(script, *args):
    """Runs a script in a process of its own that can import the tests' modules."""
    paths = [str(Path(__file__).parent), *sys.path]
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, args)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_kill_9_while_saving(folder):
    result = run(KILLS, folder)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 5


def test_a_file_that_cannot_be_written_in_full(folder):
    script = """
        import resource, sys
        from pathlib import Path
        import numpy as np
        from sparl import SparlError
        from sparl.train.checkpoint import CheckpointStore

        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        store = CheckpointStore(Path(sys.argv[1]))
        for step, size in enumerate([10, 10_000]):
            store.save(step, {"x": np.zeros(size, np.float32)}, {}, {}, {})
        try:
            store.close()
        except SparlError as error:
            print(error)
    """
    result = run(script, folder)
    assert result.returncode == 0, result.stderr
    assert f"could not write {folder}/state-000000001-" in result.stdout
    assert "File too large; the last complete checkpoint is 000000000.json" in result.stdout
    assert list(folder.glob("*.tmp")) == []
    assert restore(folder).state["x"].shape == (10,)


@pytest.mark.parametrize("surface", [CheckpointStore.wait, lambda store: save(store, 3)])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk(store, folder, monkeypatch, call, surface):
    save(store, 1)
    store.wait()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, full_disk)
        save(store, 2)
        with pytest.raises(SparlError) as error:
            surface(store)
    assert str(error.value).startswith(f"could not write {folder}/log-seed-0-")
    assert str(error.value).endswith(
        ": No space left on device; the last complete checkpoint is 000000001.json; "
        "free some space and run `sparl resume`"
    )
    assert list(folder.glob("*.tmp")) == []
    check(restore(folder))
    # The store takes the same rows again.
    assert store.ends() == {}
    save(store, 2)
    store.wait()
    found = restore(folder)
    check(found)
    assert found.step == 2


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    store = CheckpointStore(tmp_path / "file" / "checkpoints")
    save(store, 1)
    with pytest.raises(SparlError, match=r"could not create .*there is no complete checkpoint yet"):
        store.close()
