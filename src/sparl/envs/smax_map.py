"""Maps for SMAX in TOML files: units, counts, stats."""

import inspect
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from sparl.errors import InputError, unknown_name

PARAMETERS = {
    "health": "unit_type_health",
    "attack": "unit_type_attacks",
    "range": "unit_type_attack_ranges",
    "sight": "unit_type_sight_ranges",
    "speed": "unit_type_velocities",
    "radius": "unit_type_radiuses",
    "cooldown": "unit_type_weapon_cooldowns",
}
"""Stats of a unit type, and what SMAX calls their arrays."""
SIZES = {"width": "map_width", "height": "map_height", "max_steps": "max_steps"}


@dataclass(frozen=True)
class SmaxMap:
    """A battle of one army against another.

    Attributes:
        allies: The type of each allied unit.
        enemies: The type of each enemy.
        stats: By unit type its health, attack (damage of a shot), range, sight, radius (lengths;
            the field is 32 wide), speed (per second) and cooldown (seconds between shots).
        beams: By unit type the width and depth of the line that its shots burn across the line of
            fire; `(0, 0)` for those that hit their target alone.
        sizes: `map_width`, `map_height` and `max_steps`, where they are not SMAX's own.
    """

    allies: tuple[str, ...]
    enemies: tuple[str, ...]
    stats: dict[str, dict[str, float]]
    beams: dict[str, tuple[float, float]]
    sizes: dict[str, int]


def shipped() -> dict[str, Traversable]:
    """The maps that come with sparl, by name."""
    folder = resources.files("sparl.envs").joinpath("maps")
    return {file.name.removesuffix(".toml"): file for file in folder.iterdir()}


def load(source: Traversable | Path, defaults: type) -> SmaxMap:
    """Read a map.

    A file has a table `allies` and a table `enemies` of counts by unit type, and if it likes a
    table `units.TYPE` with the stats of a new type, or with those that differ of one of SMAX's
    own, and `width`, `height` and `max_steps`.

    Args:
        source: The file.
        defaults: SMAX's class, which knows the unit types that there are.

    Raises:
        InputError: If it cannot be read, or is no such file: the sentence says where.
    """
    try:
        data = tomllib.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the map {source}: {error.strerror}") from error
    except ValueError as error:  # Not TOML, or not text.
        raise InputError(f"{source} is not TOML: {error}") from error
    _known(source, "", data, ("allies", "enemies", "units", *SIZES))
    stats, beams = _types(source, defaults, _table(source, "units", data.get("units", {})))
    return SmaxMap(
        allies=_army(source, "allies", data, stats),
        enemies=_army(source, "enemies", data, stats),
        stats=stats,
        beams=beams,
        sizes={
            SIZES[name]: int(_number(source, name, data[name], whole=True))
            for name in SIZES
            if name in data
        },
    )


def _types(
    source: Any, defaults: type, units: Mapping[str, Any]
) -> tuple[dict[str, dict[str, float]], dict[str, tuple[float, float]]]:
    own = {name: p.default for name, p in inspect.signature(defaults).parameters.items()}
    stats = {
        name: {stat: float(own[array][i]) for stat, array in PARAMETERS.items()}
        for i, name in enumerate(own["unit_type_names"])
    }
    beams = dict.fromkeys(stats, (0.0, 0.0))
    for name, given in units.items():
        where = f"units.{name}"
        _known(source, where + ".", _table(source, where, given), (*PARAMETERS, "beam"))
        changed = {
            stat: _number(source, f"{where}.{stat}", value)
            for stat, value in given.items()
            if stat != "beam"
        }
        stats[name] = stats.get(name, {}) | changed
        if missing := sorted(PARAMETERS.keys() - stats[name].keys()):
            raise InputError(f"{source}: the new unit type {name!r} needs {', '.join(missing)}")
        beam = given.get("beam", (0.0, 0.0))
        if not isinstance(beam, list | tuple) or len(beam) != 2:
            raise InputError(f"{source}: {where}.beam must be [width, depth], got {beam!r}")
        if "beam" in given:
            beam = tuple(_number(source, f"{where}.beam", length) for length in beam)
        beams[name] = (beam[0], beam[1])
    return stats, beams


def _army(source: Any, side: str, data: Mapping[str, Any], known: Mapping[str, Any]) -> tuple:
    if not data.get(side):
        raise InputError(f"{source} needs a table [{side}] of counts, such as `marine = 3`")
    units = []
    for name, count in _table(source, side, data[side]).items():
        if name not in known:
            raise unknown_name(f"unit type in {source}, {side}", name, known)
        units += [name] * int(_number(source, f"{side}.{name}", count, whole=True))
    return tuple(units)


def _table(source: Any, where: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{source}: {where} must be a table, got {value!r}")
    return value


def _known(source: Any, where: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            raise unknown_name(f"entry in {source}", where + name, [where + name for name in known])


def _number(source: Any, where: str, value: Any, *, whole: bool = False) -> float:
    kinds = (int,) if whole else (int, float)
    if type(value) not in kinds or not 0 < value < 1000:
        kind = "a whole number" if whole else "a number"
        raise InputError(f"{source}: {where} must be {kind} above 0 and below 1000, got {value!r}")
    return value
