"""What a run came to: the fields of `result.json`."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sparl.errors import InputError, SparlError
from sparl.files import write_whole

# `return` is a word of Python's; the field is called `return_` here and `return` in the file.
_RENAMED = {"return_": "return"}


@dataclass(frozen=True)
class Result:
    """The figures of a finished run; where it had several seeds, their means.

    Attributes:
        env: Environment.
        algorithm: Algorithm.
        method: Method.
        seed: First seed.
        num_seeds: Seeds trained side by side.
        env_steps: Env steps of each seed.
        episodes: Finished training episodes.
        updates: Updates, topology changes included.
        win_rate: Mean of the last 20 evaluations; `None` in continuous control.
        final_win_rate: The last evaluation's, likewise.
        return_: Mean scaled return of the last 20 evaluations; `return` in the file.
        sparsity: `target` and `measured`, the share of weights that are absent.
        parameters: `dense` and `sparse` counts, biases included, target network not.
        size_ratio: Stored parameters against dense.
        flops: `train_ratio` and `test_ratio` against dense, and the counts behind them.
        layers: For each weight its `name`, `shape` `[out, in]`, `links` and `density`.
        per_seed: `seed`, `win_rate`, `final_win_rate`, `return`, `episodes`, `updates` of each.
        seconds: Wall time, compilation and resumed time included.
        compile_seconds: How much of it was compilation.
        env_steps_per_second: Env steps of all seeds over wall time without compilation.
    """

    env: str
    algorithm: str
    method: str
    seed: int
    num_seeds: int
    env_steps: int
    episodes: int | float
    updates: int | float
    win_rate: float | None
    final_win_rate: float | None
    return_: float
    sparsity: dict[str, float]
    parameters: dict[str, int]
    size_ratio: float
    flops: dict[str, float]
    layers: list[dict[str, Any]]
    per_seed: list[dict[str, Any]]
    seconds: float
    compile_seconds: float
    env_steps_per_second: float

    def to_json(self) -> dict[str, Any]:
        """The contents of `result.json`."""
        return {_RENAMED.get(k, k): v for k, v in dataclasses.asdict(self).items()}

    def save(self, path: Path) -> None:
        """Write `result.json`, whole or not at all.

        Raises:
            SparlError: If it cannot be written.
        """
        try:
            write_whole(path, (json.dumps(self.to_json(), indent=2) + "\n").encode())
        except OSError as error:
            raise SparlError(
                f"could not write {path}: {error.strerror}; free some space and run `sparl resume`"
            ) from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: If the file is not a result.
        """
        back = {v: k for k, v in _RENAMED.items()}
        try:
            data: dict[str, Any] = json.loads(path.read_text())
            return cls(**{back.get(name, name): value for name, value in data.items()})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is not a result of sparl: {error}") from error
