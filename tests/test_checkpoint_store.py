"""`sparl.train.checkpoint`: what was saved comes back whole, or is passed over by name."""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

from sparl.errors import SparlError
from sparl.train.checkpoint import CheckpointStore, Segment
from sparl.train.manifest import render_body

SPAN = 3  # Rows that each save adds to each stream.
LIVE = 8  # Rows that stay needed.
STREAMS = ("seed-0", "seed-1")


def rows(stream, first, last):
    """The rows of a stream, recognisable by position."""
    positions = np.arange(first, last)
    return {
        "reward": (positions + 1000 * STREAMS.index(stream)).astype(np.float32),
        "obs": np.stack([positions, -positions], axis=1).astype(np.float16),
    }


def save(store, step, tag=0.0):
    """Saves step `n`; its log ends at row `SPAN * n`, from wherever the store's log ends."""
    ends, last = store.ends(), SPAN * step
    store.save(
        step,
        {"weights": np.full((4, 5), step, np.float32), "tag": np.array(tag)},
        {"step": step},
        {s: Segment(ends.get(s, 0), last, rows(s, ends.get(s, 0), last)) for s in STREAMS},
        dict.fromkeys(STREAMS, max(0, last - LIVE)),
    )


def save_all(folder, steps, keep=2):
    store = CheckpointStore(folder, keep)
    for step in range(1, steps + 1):
        save(store, step)
    store.close()


def restore(folder):
    return CheckpointStore(folder).restore()


def check(checkpoint):
    """Checks that state, info and every live row of a checkpoint are those of its step."""
    step = checkpoint.step
    np.testing.assert_array_equal(checkpoint.state["weights"], np.full((4, 5), step, np.float32))
    assert checkpoint.info == {"step": step}
    assert set(checkpoint.segments) == set(STREAMS)
    for name, segments in checkpoint.segments.items():
        assert segments[0].first <= max(0, SPAN * step - LIVE) < segments[0].last
        assert segments[-1].last == SPAN * step
        for before, after in itertools.pairwise(segments):
            assert before.last == after.first
        for segment in segments:
            expected = rows(name, segment.first, segment.last)
            assert segment.arrays.keys() == expected.keys()
            for key, array in expected.items():
                assert segment.arrays[key].dtype == array.dtype
                np.testing.assert_array_equal(segment.arrays[key], array)


def only(folder, pattern):
    """The one file that a pattern matches."""
    (path,) = folder.glob(pattern)
    return path


def flip(path, at=0.6):
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 1
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def delete(path):
    path.unlink()


def full_disk(*args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints"


@pytest.fixture
def store(folder):
    store = CheckpointStore(folder)
    yield store
    store.close()


def test_round_trip_of_every_kind_of_array(store, folder):
    rng = np.random.default_rng(0)
    grid = rng.normal(size=(6, 4)).astype(np.float32)
    arrays = {
        "transposed": grid.T,
        "strided": grid[::2, ::-1],
        "broadcast": np.broadcast_to(np.float32(2.5), (3, 2)),
        "big-endian": np.arange(4, dtype=">i4"),
        "scalar": np.array(7, np.uint32),
        "flag": np.array(True),
        "flags": np.array([True, False]),
        "empty": np.zeros((0, 3), np.float16),
        "µ/b": np.zeros(()),
    }
    kinds = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]
    arrays |= {kind: rng.integers(0, 100, (2, 3)).astype(kind) for kind in kinds}
    info = {"name": "µ", "large": float("inf"), "nested": {"list": [1, 0.1, None, True]}, "": {}}
    segment = Segment(np.int64(0), np.int64(6), arrays)
    store.save(np.int64(40), arrays, info, {"a": segment}, {"a": np.int64(0)})
    store.wait()
    found = restore(folder)
    assert found is not None
    assert (found.step, found.info, found.skipped) == (40, info, [])
    (piece,) = found.segments["a"]
    assert (piece.first, piece.last) == (0, 6)
    for result in (found.state, piece.arrays):
        assert result.keys() == arrays.keys()
        for name, array in arrays.items():
            assert (result[name].shape, result[name].dtype.name) == (array.shape, array.dtype.name)
            np.testing.assert_array_equal(result[name], array)
            assert result[name].flags.writeable


def test_without_log_and_state(store, folder):
    store.save(0, {}, {}, {}, {})
    store.wait()
    found = restore(folder)
    assert found is not None
    assert (found.state, found.segments) == ({}, {})


def test_nothing_there(store, folder):
    assert store.restore() is None
    assert store.ends() == {}
    assert not folder.exists()


def test_log_grows_and_old_segments_go(folder):
    save_all(folder, 6)
    assert sorted(path.name for path in folder.glob("*.json")) == [
        "000000005.json",
        "000000006.json",
    ]
    assert len(list(folder.glob("state-*"))) == 2
    # Step, first row and end: checkpoint 5 grew from 3 and needs rows from 15 - 8 = 7 on,
    # checkpoint 6 from 4 and needs those from 10 on.
    parts = [
        [int(part) for part in path.name.split("-")[3:6]]
        for path in sorted(folder.glob("log-seed-0-*"))
    ]
    assert parts == [[3, 3, 9], [4, 6, 12], [5, 9, 15], [6, 12, 18]]
    assert len(list(folder.iterdir())) == 2 + 2 + 2 * 4
    found = restore(folder)
    check(found)
    assert found.step == 6
    assert [segment.first for segment in found.segments["seed-0"]] == [6, 12]


def test_unchanged_segments_are_not_written_again(folder):
    save_all(folder, 2)
    written = {path: path.stat().st_mtime_ns for path in folder.glob("log-*")}
    store = CheckpointStore(folder)
    store.restore()
    save(store, 3)
    store.close()
    assert len(written) == 4
    assert written.items() <= {p: p.stat().st_mtime_ns for p in folder.glob("log-*")}.items()


def test_an_empty_segment_writes_no_file(store, folder):
    ends = dict.fromkeys(STREAMS, SPAN)
    save(store, 1)
    save(store, 2)
    assert store.ends() == ends
    nothing = {name: Segment(SPAN, SPAN, rows(name, SPAN, SPAN)) for name in STREAMS}
    store.save(3, {}, {}, nothing, dict.fromkeys(STREAMS, 0))  # As if no episode had ended.
    store.wait()
    assert list(folder.glob("log-*-000000003-*-*-*")) == []
    assert [s.last for s in restore(folder).segments["seed-0"]] == [SPAN]


def test_a_wholly_dead_log_keeps_its_end(store, folder):
    segment = Segment(0, 5, {"x": np.arange(5)})
    store.save(1, {}, {}, {"a": segment}, {"a": 5})
    store.save(2, {}, {}, {"a": segment}, {"a": 5})
    assert store.ends() == {"a": 5}
    assert list(folder.glob("log-*")) == []
    again = CheckpointStore(folder)
    assert again.restore().segments == {"a": []}
    assert again.ends() == {"a": 5}


def test_rows_that_are_no_longer_needed_may_be_left_out(store, folder):
    store.save(1, {}, {}, {"a": Segment(0, 5, {"x": np.arange(5)})}, {"a": 0})
    store.save(2, {}, {}, {"a": Segment(0, 5, {"x": np.arange(5)})}, {"a": 0})
    store.save(3, {}, {}, {"a": Segment(20, 25, {"x": np.arange(5)})}, {"a": 20})
    store.wait()
    (segment,) = restore(folder).segments["a"]
    assert (segment.first, segment.last) == (20, 25)


def test_save_returns_before_the_write_and_the_next_one_waits(store, folder, monkeypatch):
    go, fsync = threading.Event(), os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (go.wait(10), fsync(file)))
    save(store, 1)
    assert list(folder.glob("*.json")) == []
    threading.Timer(0.05, go.set).start()
    save(store, 2)
    assert (folder / "000000001.json").exists()


def test_an_interrupted_wait_leaves_the_write_under_way(store, folder, monkeypatch):
    go, fsync = threading.Event(), os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (go.wait(10), fsync(file)))

    def interrupt(*args):
        raise KeyboardInterrupt

    handler = signal.signal(signal.SIGALRM, interrupt)
    try:
        save(store, 1)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            store.wait()
    finally:
        signal.signal(signal.SIGALRM, handler)
        go.set()
    store.wait()
    check(restore(folder))


@pytest.mark.parametrize("harm", [flip, truncate, delete])
@pytest.mark.parametrize(
    "pattern",
    ["state-000000006-*", "log-seed-1-*-000000018-*", "log-seed-0-000000004-*", "*6.json"],
)
def test_damage_is_named_and_the_checkpoint_before_used(folder, pattern, harm):
    save_all(folder, 6)
    path = only(folder, pattern)
    harm(path)
    store = CheckpointStore(folder)
    found = store.restore()
    check(found)
    assert found.step == 5
    (sentence,) = found.skipped
    assert sentence.startswith(f"checkpoint 6: checkpoints/{path.name} ")
    assert sentence.endswith("; using the one before")
    # Saving goes on from there, over the same steps.
    for step in (6, 7):
        save(store, step)
        store.wait()
        again = restore(folder)
        check(again)
        assert (again.step, again.skipped) == (step, [])
    store.close()


def test_every_byte_of_a_manifest_counts(folder):
    save_all(folder, 2)
    path = folder / "000000002.json"
    data = path.read_bytes()
    for position in range(0, len(data), 7):
        path.write_bytes(data[:position] + bytes([data[position] ^ 32]) + data[position + 1 :])
        assert restore(folder).step == 1
    path.write_bytes(data)
    assert restore(folder).step == 2


def test_continuing_after_a_fall_back_removes_what_is_newer(folder):
    save_all(folder, 6, keep=4)
    flip(only(folder, "state-000000006-*"))
    flip(only(folder, "log-seed-0-*-000000015-*"))  # The end of checkpoint 5.
    before = sorted(folder.iterdir())
    store = CheckpointStore(folder, keep=4)
    found = store.restore()
    assert found.step == 4
    assert [sentence[:13] for sentence in found.skipped] == ["checkpoint 6:", "checkpoint 5:"]
    assert sorted(folder.iterdir()) == before
    assert store.ends() == {}  # Fewer than four are kept, so the next replaces none.
    save(store, 7)
    store.close()
    assert sorted(path.name for path in folder.glob("*.json")) == [
        f"00000000{step}.json" for step in (3, 4, 7)
    ]
    check(restore(folder))
    assert list(folder.glob("log-*-000000015-*")) == []


def test_no_file_serves_two_checkpoints(folder):
    for steps in range(1, 7):
        shutil.rmtree(folder, ignore_errors=True)
        save_all(folder, steps, keep=3)
        manifests = [json.loads(path.read_bytes())["body"] for path in folder.glob("*.json")]
        assert len(manifests) == min(steps, 3)
        files = [manifest["state"]["name"] for manifest in manifests]
        for manifest in manifests:
            for stream in manifest["streams"].values():
                files += [piece["file"]["name"] for piece in stream["pieces"]]
        assert len(files) == len(set(files)) == len(list(folder.glob("*.safetensors")))


def test_nothing_is_built_on_a_damaged_older_checkpoint(folder):
    save_all(folder, 6)
    flip(only(folder, "log-seed-0-000000005-*"))
    store = CheckpointStore(folder)
    assert store.restore().step == 6
    save(store, 7)
    save(store, 8)
    store.close()
    for step in (8, 7):
        found = restore(folder)
        check(found)
        assert found.step == step
        flip(only(folder, f"state-{step:09d}-*"))


def test_when_all_are_damaged_all_are_named(folder):
    save_all(folder, 6)
    damaged = [only(folder, f"log-seed-0-{step:09d}-*") for step in (5, 6)]
    for path in damaged:
        flip(path)
    store = CheckpointStore(folder)
    with pytest.raises(SparlError, match=r"no checkpoint in .* is intact") as error:
        store.restore()
    assert all(path.name in str(error.value) for path in damaged)
    assert "remove the folder and start again with `sparl train`" in str(error.value)
    with pytest.raises(SparlError, match="already holds checkpoints"):
        save(store, 7)


def test_leftovers_go_and_other_files_stay(folder, monkeypatch):
    save_all(folder, 2)
    digest = 12 * "0"
    leftovers = [
        f"state-000000003-{digest}.safetensors",
        f"state-000000003-{digest}.safetensors.tmp",
        f"log-seed-0-000000006-000000009-{digest}.safetensors",
        "000000003.json.tmp",
    ]
    for name in [*leftovers, "notes.json", "state-of-mind.safetensors"]:
        (folder / name).write_bytes(b"...")
    store = CheckpointStore(folder)
    found = store.restore()
    assert found.step == 2
    (sentence,) = found.skipped
    assert "checkpoints/000000003.json is missing" in sentence
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        save(store, 3)
        with pytest.raises(SparlError, match="No space left"):
            store.wait()
    # Their space is free before any is asked for.
    remaining = {path.name for path in folder.iterdir()}
    assert remaining.isdisjoint(leftovers)
    assert {"notes.json", "state-of-mind.safetensors"} <= remaining
    save(store, 3)
    store.close()
    found = restore(folder)
    check(found)
    assert (found.step, found.skipped) == (3, [])


def test_a_folder_with_checkpoints_is_not_written_over(folder):
    save_all(folder, 2)
    with pytest.raises(SparlError, match="already holds checkpoints: continue them"):
        save(CheckpointStore(folder), 3)
    check(restore(folder))


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
    from test_checkpoint_store import CheckpointStore, check, restore, save

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
    """Runs a script in a process of its own that can import this file."""
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
        from test_checkpoint_store import CheckpointStore, SparlError

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


def test_a_file_that_may_not_be_read_is_not_taken_for_damaged(folder, monkeypatch):
    save_all(folder, 2)

    def refuse(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(SparlError, match=r"could not read .*000000002.json: Permission denied"):
        restore(folder)


def rewrite(folder, change):
    """Changes the newest manifest and makes its checksum right again, as an attacker would."""
    path = folder / "000000002.json"
    body = json.loads(path.read_bytes())["body"]
    change(body)
    path.write_bytes(render_body(body))
    return CheckpointStore(folder).restore()


@pytest.mark.parametrize("place", ["../secret.safetensors", "/{root}/secret.safetensors"])
@pytest.mark.parametrize("kind", ["state", "segment"])
def test_a_manifest_cannot_lead_out_of_the_folder(folder, place, kind):
    save_all(folder, 2)
    secret = folder.parent / "secret.safetensors"
    secret.write_bytes(only(folder, "state-000000002-*").read_bytes())
    data = secret.read_bytes()
    file = {
        "name": place.format(root=folder.parent),
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }

    def change(body):
        if kind == "state":
            body["state"] = file
        else:
            body["streams"]["seed-0"]["pieces"][0]["file"] = file

    found = rewrite(folder, change)
    assert found.step == 1
    assert "is not the name of a data file" in found.skipped[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body.update(step=True),
        lambda body: body.update(step=-2),
        lambda body: body.update(step=1),
        lambda body: body.update(info=[]),
        lambda body: body.update(streams=[]),
        lambda body: body.pop("streams"),
        lambda body: body["state"].update(name=3),
        lambda body: body["state"].update(name=None),
        lambda body: body["state"].update(size="12"),
        lambda body: body["state"].update(sha256=None),
        lambda body: body["state"].update(extra=1),
        lambda body: body["streams"].update(seed=None),
        lambda body: body["streams"]["seed-0"].update(pieces=3),
        lambda body: body["streams"]["seed-0"].update(end="9"),
        lambda body: body["streams"]["seed-0"]["pieces"][0].update(first=0.5),
    ],
)
def test_a_manifest_of_wrong_types_is_passed_over(folder, change):
    save_all(folder, 2)
    found = rewrite(folder, change)
    check(found)
    assert found.step == 1
    assert len(found.skipped) == 1


@pytest.mark.parametrize("raw", [b"", b"[]", b"7", b"\xff", b"[" * 100_000, b'{"body": {}}'])
def test_a_manifest_that_is_something_else_is_passed_over(folder, raw):
    save_all(folder, 2)
    (folder / "000000002.json").write_bytes(raw)
    found = restore(folder)
    assert found.step == 1
    assert "checkpoints/000000002.json is not a valid manifest" in found.skipped[0]


def test_data_that_is_no_safetensors_is_passed_over(folder):
    save_all(folder, 2)
    path = only(folder, "state-000000002-*")
    path.write_bytes(b"not arrays")
    digest = hashlib.sha256(b"not arrays").hexdigest()
    found = rewrite(folder, lambda body: body["state"].update(size=10, sha256=digest))
    assert found.step == 1
    assert f"{path.name} does not hold arrays" in found.skipped[0]


def one(first, last, live_from, name="a"):
    return {name: Segment(first, last, {"x": np.zeros(last - first)})}, {name: live_from}


@pytest.mark.parametrize(
    ("step", "segments", "message"),
    [
        (6, one(10, 12, 2), "step must be above 6, got 6"),
        (7, one(11, 12, 2), r"must begin in \[10, 10\], got 11 to 12"),
        (7, one(9, 12, 2), r"must begin in \[10, 10\], got 9 to 12"),
        (7, one(14, 16, 13), r"must begin in \[10, 13\], got 14 to 16"),
        (7, one(10, 12, 1), r"live_from of stream 'a' must lie in \[2, 12\], got 1"),
        (7, one(10, 12, 13), r"live_from of stream 'a' must lie in \[2, 12\], got 13"),
        (7, one(10, 12, 2, "b"), "must both name every stream"),
        (7, ({}, {}), "must both name every stream"),
        (7, (one(10, 12, 2)[0], {}), "must both name every stream"),
    ],
)
def test_what_does_not_continue_is_refused(store, folder, step, segments, message):
    store.save(5, {}, {}, *one(0, 10, 2))
    store.save(6, {}, {}, *one(0, 11, 2))
    with pytest.raises(ValueError, match=message):
        store.save(step, {}, {}, *segments)
    store.save(7, {}, {}, *one(10, 12, 4))
    store.wait()
    assert restore(folder).step == 7


def test_what_cannot_be_stored_is_refused(store):
    with pytest.raises(TypeError, match="'x' of dtype object cannot be stored"):
        store.save(1, {"x": np.array([{}])}, {}, {}, {})
    with pytest.raises(TypeError, match="not JSON serializable"):
        store.save(1, {}, {"path": Path()}, {}, {})
    with pytest.raises(ValueError, match=r"may hold a-z, 0-9, _ and -, got '\.\./a'"):
        store.save(1, {}, {}, *one(0, 1, 0, "../a"))
    with pytest.raises(ValueError, match="keep must be at least 1, got 0"):
        CheckpointStore(Path("x"), keep=0)
    assert store.restore() is None
