"""The manifest of a checkpoint: which files make it up, and how each can be verified."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Any

MANIFEST_NAME = re.compile(r"([0-9]{9,})\.json")
DATA_NAME = re.compile(r"(?:state-([0-9]{9,})|log-[a-z0-9_-]+)-[0-9a-f]{12}\.safetensors")


@dataclass(frozen=True)
class File:
    """A data file as it was written."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Piece:
    """A segment on disk."""

    first: int
    last: int
    file: File


@dataclass(frozen=True)
class Stream:
    """One stream of the log: `pieces` hold all that is needed of `live_from` to `end`."""

    live_from: int
    end: int
    pieces: list[Piece]


@dataclass(frozen=True)
class Manifest:
    """Everything a checkpoint consists of."""

    step: int
    info: dict[str, Any]
    state: File
    streams: dict[str, Stream]

    @property
    def name(self) -> str:
        """The manifest's file name."""
        return f"{self.step:09d}.json"

    @property
    def files(self) -> list[File]:
        """The data files that it refers to."""
        return [self.state, *(p.file for stream in self.streams.values() for p in stream.pieces)]


def render_manifest(manifest: Manifest) -> bytes:
    """The bytes of a manifest, its own checksum among them."""
    return render_body(asdict(manifest))


def parse_manifest(raw: bytes) -> Manifest:
    """Checks every value that a manifest, which anyone may have written, is later used for."""
    body = json.loads(raw)["body"]
    # Byte for byte, so that no change goes unseen, not even one of the checksum.
    if render_body(body) != raw:
        raise ValueError("its checksum is not that of its contents")
    streams = {}
    counts = [body["step"]]
    for name, stream in body["streams"].items():
        pieces = [Piece(p["first"], p["last"], File(**p["file"])) for p in stream["pieces"]]
        streams[name] = Stream(stream["live_from"], stream["end"], pieces)
        counts += [stream["live_from"], stream["end"]]
        counts += [position for piece in pieces for position in (piece.first, piece.last)]
    manifest = Manifest(body["step"], body["info"], File(**body["state"]), streams)
    for file in manifest.files:
        # A plain name: what is opened lies in the folder.
        if not DATA_NAME.fullmatch(file.name):
            raise ValueError(f"{file.name!r} is not the name of a data file")
        if not (type(file.size) is int and isinstance(file.sha256, str)):
            raise ValueError(f"{file.name} has no size or no checksum")
    if not (isinstance(manifest.info, dict) and all(type(n) is int and n >= 0 for n in counts)):
        raise ValueError("a value is not of its type")
    return manifest


def render_body(body: dict[str, Any]) -> bytes:
    """The bytes of a manifest with contents `body`, which is to be JSON-able."""
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return json.dumps({"body": body, "sha256": digest}, sort_keys=True, indent=1).encode()
