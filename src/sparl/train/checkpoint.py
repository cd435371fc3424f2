"""Checkpoints on disk: a small state, replaced at every save, and a log, which only grows.

    000000400.json                                    the manifest of step 400
    state-000000400-<digest>.safetensors              its state
    log-<stream>-000000400-000000350-000000390-<digest>.safetensors   rows 350 to 389 of one stream

A manifest lists its data files with size and SHA-256 and is written last: a checkpoint exists
exactly when its manifest does. A checkpoint takes over the log segments of the one that it
replaces, the oldest kept, and adds what has come since. So a save writes few rows, and yet no two
kept checkpoints have a file in common that could spoil both. With step and digest in its name a
file is never overwritten by one of other content.
"""

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from sparl.errors import SparlError
from sparl.train.manifest import (
    DATA_NAME,
    MANIFEST_NAME,
    File,
    Manifest,
    Piece,
    Stream,
    parse_manifest,
    render_manifest,
)

_STREAM = re.compile(r"[a-z0-9_-]+")

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Segment:
    """The rows of one stream of the log at positions `first` (included) to `last` (excluded)."""

    first: int
    last: int
    arrays: Arrays


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What `CheckpointStore.restore` found.

    Attributes:
        step: The step it was saved at.
        state: The arrays of the state, writable.
        info: The `info` of the save as JSON returns it: keys are strings, tuples are lists.
        segments: Per stream, in order, every segment that reaches past its `live_from`. The first
            may begin before it.
        skipped: One sentence for each newer checkpoint that was passed over.
    """

    step: int
    state: Arrays
    info: dict[str, Any]
    segments: dict[str, list[Segment]]
    skipped: list[str]


class CheckpointStore:
    """The `keep` newest checkpoints of one run in a folder, written by one background thread.

    Reading changes nothing on disk. A save removes what no kept checkpoint refers to: evicted
    segments, what a killed process left, and, if `restore` fell back, all that is newer.
    """

    def __init__(self, folder: Path, keep: int = 2):
        if keep < 1:
            raise ValueError(f"keep must be at least 1, got {keep}")
        self._folder = folder
        self._keep = keep
        # What the next save builds on, oldest first; None until `restore` or `save` has looked.
        self._kept: list[Manifest] | None = None
        self._thread = futures.ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: futures.Future[None] | None = None

    def save(
        self,
        step: int,
        state: Arrays,
        info: dict[str, Any],
        segments: dict[str, Segment],
        live_from: dict[str, int],
    ) -> None:
        """Waits for the write before it, starts to write a checkpoint, and returns.

        Args:
            step: Above the last one.
            state: Arrays of booleans, integers or floats; from here on they are the store's.
            info: Anything that JSON can hold.
            segments: For every stream of the log, its rows from where `ends` says to the newest.
                A segment may begin later, up to `live_from`, if the rows between are no longer
                needed.
            live_from: For every stream, the first position still needed. It never decreases.

        Raises:
            SparlError: The write before it failed, and this one was not started; or the folder
                holds checkpoints that were not restored.
            TypeError: An array or `info` cannot be stored.
            ValueError: The step, a stream or a range does not continue the last checkpoint.
        """
        self.wait()
        if self._kept is None and self._steps():
            raise SparlError(
                f"{self._folder} already holds checkpoints: "
                "continue them with `sparl resume`, or choose another folder"
            )
        self._kept = self._kept or []
        if self._kept and step <= self._kept[-1].step:
            raise ValueError(f"step must be above {self._kept[-1].step}, got {step}")
        streams = self._replaced()
        if not streams.keys() <= segments.keys() == live_from.keys():
            raise ValueError(
                f"segments and live_from must both name every stream {sorted(streams)}, "
                f"got {sorted(segments)} and {sorted(live_from)}"
            )
        for name, segment in segments.items():
            _check_continues(name, streams.get(name, Stream(0, 0, [])), segment, live_from[name])
        for arrays in (state, *(segment.arrays for segment in segments.values())):
            for name, array in arrays.items():
                if array.dtype.kind not in "biuf":
                    raise TypeError(f"array {name!r} of dtype {array.dtype} cannot be stored")
        info = json.loads(json.dumps(info))  # A copy, and an error here rather than later.
        self._pending = self._thread.submit(self._write, step, state, info, segments, live_from)

    def wait(self) -> None:
        """Waits for the background write.

        Raises:
            SparlError: It failed. The next save then begins where this one did (see `ends`).
        """
        if self._pending is not None:
            futures.wait([self._pending])  # A Ctrl-C in here leaves the write pending.
            pending, self._pending = self._pending, None
            pending.result()

    def ends(self) -> dict[str, int]:
        """Waits as `wait` does; returns where each stream's next segment begins, if not at 0."""
        self.wait()
        return {name: stream.end for name, stream in self._replaced().items()}

    def restore(self, *, log: bool = True) -> Checkpoint | None:
        """Reads the newest intact checkpoint; the next save continues from it.

        Args:
            log: Whether to read (and so to verify) the log. Without it `segments` is empty, and a
                save that another process has under way is not taken for a damaged one.

        Returns:
            The checkpoint, or `None` if none was ever completed.

        Raises:
            SparlError: All checkpoints are damaged, or the system refused to read a file.
        """
        self.wait()
        problems = []
        steps = self._steps(cut_short=log)
        for index, step in enumerate(steps):
            try:
                manifest = self._read_manifest(step)
                skipped = [f"{problem}; using the one before" for problem in problems]
                checkpoint = self._read_checkpoint(manifest, skipped, log=log)
            except _DamagedError as error:
                problems.append(f"checkpoint {step}: {error}")
                continue
            self._kept = [manifest]
            for older in steps[index + 1 : index + self._keep]:
                with suppress(_DamagedError):
                    manifest = self._read_manifest(older)
                    if log:  # The next save may extend it.
                        self._read_checkpoint(manifest, [], log=True)
                    self._kept.insert(0, manifest)
            return checkpoint
        if problems:
            raise SparlError(
                f"no checkpoint in {self._folder} is intact: {'; '.join(problems)}. Put the named "
                "files back from a copy, or remove the folder and start again with `sparl train`"
            )
        self._kept = []
        return None

    def close(self) -> None:
        """Waits as `wait` does, and ends the background thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()

    def _replaced(self) -> dict[str, Stream]:
        """The log of the checkpoint that the next save replaces."""
        kept = self._kept or []
        return kept[0].streams if len(kept) == self._keep else {}

    # Writing, in the background thread.

    def _write(
        self,
        step: int,
        state: Arrays,
        info: dict[str, Any],
        segments: dict[str, Segment],
        live_from: dict[str, int],
    ) -> None:
        with self._reporting(f"create {self._folder}"):
            self._folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        streams = {}
        for name, segment in segments.items():
            # NumPy's integers are welcome, but not in JSON.
            first, last, live = int(segment.first), int(segment.last), int(live_from[name])
            before = self._replaced().get(name, Stream(0, 0, []))
            pieces = [piece for piece in before.pieces if piece.last > live]
            if last > max(first, live):
                stem = f"log-{name}-{step:09d}-{first:09d}-{last:09d}"
                file = self._put_arrays(stem, segment.arrays)
                pieces.append(Piece(first, last, file))
            streams[name] = Stream(live, last, pieces)
        file = self._put_arrays(f"state-{step:09d}", state)
        manifest = Manifest(int(step), info, file, streams)
        self._put(manifest.name, render_manifest(manifest))
        self._kept = [*(self._kept or []), manifest][-self._keep :]
        self._sweep()

    def _put_arrays(self, stem: str, arrays: Arrays) -> File:
        # safetensors silently writes wrong bytes for an array that is not contiguous.
        data = save({name: np.asarray(array, order="C") for name, array in arrays.items()})
        digest = hashlib.sha256(data).hexdigest()
        name = f"{stem}-{digest[:12]}.safetensors"
        self._put(name, data)
        return File(name, len(data), digest)

    def _put(self, name: str, data: bytes) -> None:
        """Writes a file such that, whatever happens, it is there in full or not at all."""
        path = self._folder / name
        temporary = self._folder / f"{name}.tmp"
        with self._reporting(f"write {path}"):
            try:
                with temporary.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
                folder = os.open(self._folder, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
            except OSError:
                with suppress(OSError):
                    temporary.unlink()
                raise

    def _sweep(self) -> None:
        """Removes every file of ours that no kept checkpoint refers to."""
        kept = self._kept or []
        wanted = {manifest.name for manifest in kept}
        wanted.update(file.name for manifest in kept for file in manifest.files)
        with self._reporting(f"clean up {self._folder}"):
            # Digits sort before letters: a manifest goes before its data.
            for path in sorted(self._folder.iterdir()):
                name = path.name.removesuffix(".tmp")
                ours = MANIFEST_NAME.fullmatch(name) or DATA_NAME.fullmatch(name)
                if ours and path.name not in wanted:
                    path.unlink()

    @contextmanager
    def _reporting(self, action: str) -> Iterator[None]:
        """Turns an error of the operating system into a sentence."""
        try:
            yield
        except OSError as error:
            last = "there is no complete checkpoint yet"
            if self._kept:
                last = f"the last complete checkpoint is {self._kept[-1].name}"
            full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
            remedy = "free some space" if full else "mend that"
            raise SparlError(
                f"could not {action}: {error.strerror}; {last}; {remedy} and run `sparl resume`"
            ) from error

    # Reading.

    def _steps(self, *, cut_short: bool = True) -> list[int]:
        """The steps with a manifest, newest first; with those of a state alone if `cut_short`."""
        names = [path.name for path in self._folder.iterdir()] if self._folder.is_dir() else []
        manifests = {int(match[1]) for name in names if (match := MANIFEST_NAME.fullmatch(name))}
        # A state alone was a save cut short, or has lost its manifest.
        states = {int(m[1]) for name in names if (m := DATA_NAME.fullmatch(name)) and m[1]}
        if not manifests:
            return []
        return sorted(manifests | states if cut_short else manifests, reverse=True)

    def _read_manifest(self, step: int) -> Manifest:
        name = f"{step:09d}.json"
        try:
            manifest = parse_manifest(self._read(name))
            if manifest.step != step:
                raise ValueError(f"its step is {manifest.step}")
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise _DamagedError(f"{self._label(name)} is not a valid manifest: {error}") from error
        return manifest

    def _read_checkpoint(self, manifest: Manifest, skipped: list[str], *, log: bool) -> Checkpoint:
        state = self._read_arrays(manifest.state)
        segments = {
            name: [Segment(p.first, p.last, self._read_arrays(p.file)) for p in stream.pieces]
            for name, stream in (manifest.streams.items() if log else ())
        }
        return Checkpoint(manifest.step, state, manifest.info, segments, skipped)

    def _read_arrays(self, file: File) -> Arrays:
        data, label = self._read(file.name), self._label(file.name)
        if len(data) != file.size:
            raise _DamagedError(f"{label} has {len(data)} bytes, expected {file.size}")
        digest = hashlib.sha256(data).hexdigest()
        if digest != file.sha256:
            raise _DamagedError(
                f"{label} has checksum {digest[:12]}..., expected {file.sha256[:12]}..."
            )
        try:
            return load(data)
        except (KeyError, SafetensorError, ValueError) as error:
            raise _DamagedError(f"{label} does not hold arrays: {error}") from error

    def _read(self, name: str) -> bytes:
        path = self._folder / name
        try:
            if path.is_file():
                return path.read_bytes()
        except OSError as error:
            # Perhaps not the file's fault: the next save after a fall back would delete it.
            raise SparlError(
                f"could not read {path}: {error.strerror}; "
                "mend that, or remove the file to use the checkpoint before"
            ) from error
        raise _DamagedError(f"{self._label(name)} is missing")

    def _label(self, name: str) -> str:
        return f"{self._folder.name}/{name}"


class _DamagedError(Exception):
    """A file of a checkpoint is missing, or is not what was written."""


def _check_continues(name: str, stream: Stream, segment: Segment, live_from: int) -> None:
    if not _STREAM.fullmatch(name):
        raise ValueError(f"a stream's name may hold a-z, 0-9, _ and -, got {name!r}")
    if not stream.live_from <= live_from <= segment.last:
        raise ValueError(
            f"live_from of stream {name!r} must lie in [{stream.live_from}, {segment.last}], "
            f"got {live_from}"
        )
    latest = max(stream.end, live_from)
    if not stream.end <= segment.first <= min(latest, segment.last):
        raise ValueError(
            f"the next segment of stream {name!r} must begin in [{stream.end}, {latest}], "
            f"got {segment.first} to {segment.last}"
        )
