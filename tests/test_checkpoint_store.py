"""`sparl.train.checkpoint`: what was saved comes back whole."""

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from checkpoint_cases import SPAN, STREAMS, check, full_disk, restore, rows, save, save_all
from sparl.errors import SparlError
from sparl.train.checkpoint import CheckpointStore, Segment


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
