"""Checkpoints whose every row is known, and ways to harm them."""

import errno
import itertools
import os

import numpy as np

from sparl.train.checkpoint import CheckpointStore, Segment

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
