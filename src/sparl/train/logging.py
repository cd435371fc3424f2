"""Where metrics go: `metrics.jsonl` always, other places by the same small protocol."""

import json
import os
from pathlib import Path
from typing import Any, Protocol

from sparl.errors import InputError, SparlError

Record = dict[str, Any]
"""One measurement: `kind`, `env_steps`, `seconds`, `seed` and values (docs/algorithms.md)."""


class Logger(Protocol):
    """Takes records as they come. TensorBoard is one; Weights & Biases or MLflow can be others."""

    def log(self, record: Record) -> None:
        """Take one record."""
        ...

    def close(self) -> None:
        """Finish writing."""
        ...


class JsonlLogger:
    """Appends each record as one line of JSON.

    Args:
        path: The file.
        keep: Bytes of an existing file to keep; what lies behind was logged after the checkpoint
            that the run continues from, and will be logged again.
    """

    def __init__(self, path: Path, keep: int = 0):
        self._path = path
        try:
            self._file = path.open("ab", buffering=0)
            if self._file.tell() < keep:
                raise SparlError(
                    f"{path} is shorter than when the checkpoint was written: lines are missing; "
                    "put the file back from a copy to resume"
                )
            self._file.truncate(keep)
        except OSError as error:
            raise self._failed(error) from error

    def log(self, record: Record) -> None:
        """Append one line.

        Raises:
            SparlError: If it cannot be written.
        """
        line = json.dumps(record).encode() + b"\n"
        try:
            # A full disk may take the beginning of a line and refuse the rest.
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            raise self._failed(error) from error

    def position(self) -> int:
        """Bytes in the file, all of them safely on disk."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failed(error) from error
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _failed(self, error: OSError) -> SparlError:
        return SparlError(
            f"could not write {self._path}: {error.strerror}; mend that and run `sparl resume`"
        )


class TensorBoardLogger:
    """Writes every number of a record as a scalar `kind/name`, seeds as separate runs.

    Args:
        folder: Where the event files go.

    Raises:
        InputError: If the extra is not installed.
    """

    def __init__(self, folder: Path):
        try:
            from tensorboardX import SummaryWriter  # noqa: PLC0415  (an extra)
        except ImportError as error:
            raise InputError(
                "--tensorboard needs an extra: pip install '.[tensorboard]' in a checkout of sparl"
            ) from error
        self._new = SummaryWriter
        self._folder = folder
        self._writers: dict[int, Any] = {}

    def log(self, record: Record) -> None:
        """Write the numbers of one record."""
        seed = record["seed"]
        if seed not in self._writers:
            # What was written behind the checkpoint that the run continues from comes again.
            self._writers[seed] = self._new(
                str(self._folder / f"seed_{seed}"), purge_step=record["env_steps"]
            )
        for name, value in record.items():
            if isinstance(value, int | float) and name not in ("env_steps", "seed"):
                self._writers[seed].add_scalar(
                    f"{record['kind']}/{name}", value, record["env_steps"]
                )

    def close(self) -> None:
        """Close the event files."""
        for writer in self._writers.values():
            writer.close()
