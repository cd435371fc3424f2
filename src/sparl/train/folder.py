"""The run folder: where everything that a run leaves behind has its place."""

import dataclasses
import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sparl import config_file
from sparl.config import Config
from sparl.envs import map_file
from sparl.errors import InputError, SparlError
from sparl.files import write_whole
from sparl.methods import without_unused
from sparl.train.checkpoint import Checkpoint

FREE = ("compute", "workers", "num_workers", "env_timeout")
"""What a run may change when it is resumed: each machine computes as it can."""


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The configuration that repeats the run."""
        return self.path / "config.json"

    @property
    def map(self) -> Path:
        """A copy of the map that was trained on, where that is a file of one's own."""
        return self.path / "map.toml"

    @property
    def metrics(self) -> Path:
        """One JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The newest checkpoints."""
        return self.path / "checkpoints"

    @property
    def topology(self) -> Path:
        """The masks at the start and at every checkpoint, one small file each."""
        return self.path / "topology"

    @property
    def result(self) -> Path:
        """What came out; there once the run is finished."""
        return self.path / "result.json"

    def check_unchanged(self, config: Config, checkpoint: Checkpoint) -> None:
        """Check that a checkpoint was written under a configuration, but for what is `FREE`.

        Raises:
            InputError: If it was not.
        """
        saved = config_file.from_json(checkpoint.info["config"], "the checkpoint")
        free = {name: getattr(config, name) for name in FREE}
        if dataclasses.asdict(without_unused(saved)) | free != dataclasses.asdict(config):
            raise InputError(
                f"{self.config} has been changed since the checkpoint was written: change it back, "
                "or train into another folder with `sparl train --config`"
            )

    def load_config(self) -> Config:
        """The configuration of the run, whose map must be what it was.

        What the run does not look at has today's defaults, whatever they were when it began.

        Raises:
            InputError: If it is not a configuration, or the map's file has gone or changed.
        """
        config = without_unused(config_file.load(self.config))
        source = map_file(config.env)
        if source is not None and self.map.is_file():
            now = source.read_bytes() if source.is_file() else None
            if now != self.map.read_bytes():
                what = "is not there" if now is None else "has changed since"
                raise InputError(
                    f"this run was trained on {source}, which {what}: put back {self.map}, the "
                    "run's copy of it (a relative path counts from the current folder)"
                )
        return config

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training into the folder; the lock ends with the process.

        Raises:
            SparlError: If another process does so already.
        """
        with (self.path / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise SparlError(f"another process is training into {self.path}") from error
            yield


def default_path(config: Config) -> Path:
    """Where a run goes that was given no folder: its settings are the name."""
    map_name = config.env.replace(":", "-")
    seeds = f"s{config.seed}" + (f"x{config.num_seeds}" if config.num_seeds > 1 else "")
    parts = [map_name, config.algorithm, config.method]
    if config.sparsity:
        parts.append(f"{config.sparsity:g}")
    if config.topology.from_:
        parts.append("ticket")
    return Path("runs") / "-".join([*parts, seeds])


def create(path: Path, config: Config, *, overwrite: bool) -> RunFolder:
    """Make a new run folder with its `config.json`, and a copy of its map if that is a file.

    Raises:
        InputError: If the folder holds a run and `overwrite` is not set, holds something else,
            which is never deleted, or cannot be where it was asked for.
        SparlError: If another process is training into the folder, or it cannot be written for
            another reason, such as a full disk.
    """
    folder = RunFolder(path)
    source = map_file(config.env)
    map_data = None if source is None else source.read_bytes()
    if path.is_symlink() or (path.exists() and not _is_empty(path)):
        if not _is_run(folder):
            raise InputError(f"{path} exists and is not a run: choose another --run-dir")
        if not overwrite:
            raise InputError(
                f"{path} already holds a run: continue it with `sparl resume {path}`, replace it "
                "with --overwrite, or choose another --run-dir"
            )
    try:
        if overwrite and path.exists():
            with folder.locked():  # Or another process would go on training into what is gone.
                shutil.rmtree(path)
        path.mkdir(parents=True, exist_ok=True)
        config_file.save(config, folder.config)
        if map_data is not None:
            write_whole(folder.map, map_data)
    except OSError as error:
        elsewhere = isinstance(error, NotADirectoryError | FileExistsError | PermissionError)
        kind = InputError if elsewhere else SparlError
        raise kind(f"cannot create the run folder {path}: {error.strerror}") from error
    return folder


def find(path: str | Path) -> RunFolder:
    """The run folder at `path`.

    Raises:
        InputError: If there is none.
    """
    folder = RunFolder(Path(path))
    if not folder.config.is_file():
        if not folder.path.exists():
            raise InputError(
                f"{path} is not a run folder: it does not exist. "
                f"`sparl train --run-dir {path}` makes one"
            )
        inside = sorted(str(config.parent) for config in folder.path.glob("*/config.json"))
        hint = f"; did you mean {' or '.join(inside[:3])}?" if inside else ""
        raise InputError(f"{path} is not a run folder: it has no config.json{hint}")
    return folder


def _is_empty(path: Path) -> bool:
    """Whether nothing would be lost: at most what is left of a `config.json` cut short."""
    return path.is_dir() and all(inner.name == "config.json.tmp" for inner in path.iterdir())


def _is_run(folder: RunFolder) -> bool:
    """Whether the folder is one of ours: its `config.json` has all of our fields and no other."""
    if folder.path.is_symlink() or not folder.config.is_file():
        return False
    try:
        config_file.load(folder.config)
        fields = json.loads(folder.config.read_text()).keys()
    except (InputError, OSError, ValueError):
        return False
    return fields == {field.name for field in dataclasses.fields(Config)}
