"""Configurations as JSON, the `config.json` of a run."""

import dataclasses
import json
from pathlib import Path
from typing import Any, get_type_hints

from sparl.config import Config
from sparl.errors import InputError, unknown_name
from sparl.files import write_whole
from sparl.presets import defaults


def save(config: Config, path: Path) -> None:
    """Write a configuration.

    Raises:
        OSError: If it cannot be written.
    """
    write_whole(path, (json.dumps(dataclasses.asdict(config), indent=2) + "\n").encode())


def load(path: str | Path) -> Config:
    """Read a configuration that `save` wrote; fields that are missing take their defaults.

    Raises:
        InputError: If the file is missing, is not JSON, or has an unknown field or a value of the
            wrong type.
    """
    path = Path(path)
    try:
        data = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    return from_json(data, str(path))


def from_json(data: Any, where: str) -> Config:
    """The configuration that JSON of `save` stands for, which was found `where`.

    Raises:
        InputError: If it has an unknown field or a value of the wrong type.
    """
    known = data if isinstance(data, dict) else {}
    names = (known.get("algorithm"), known.get("method"))
    algorithm, method = (name if isinstance(name, str) else None for name in names)
    return _overlaid(defaults(algorithm or Config.algorithm, method), data, where)


def _overlaid(usual: Any, data: Any, where: str) -> Any:
    """What is usual with what the data say."""
    if not isinstance(data, dict):
        raise InputError(f"{where}: expected an object, got {data!r}")
    types = get_type_hints(type(usual))
    values = {}
    for name, value in data.items():
        if name not in types:
            raise unknown_name(f"field in {where}", name, types)
        kind: Any = types[name]
        if dataclasses.is_dataclass(kind):
            values[name] = _overlaid(getattr(usual, name), value, f"{where}: {name}")
        elif type(value) is kind:
            values[name] = value
        elif kind is float and type(value) is int:
            values[name] = float(value)
        else:
            raise InputError(f"{where}: {name} must be {kind.__name__}, got {value!r}")
    return dataclasses.replace(usual, **values)
