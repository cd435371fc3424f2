"""Masks over the course of training, one small file for each moment that is kept."""

import re
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from sparl.compute import Tree
from sparl.errors import SparlError
from sparl.files import write_whole
from sparl.topology import by_name

_NAME = re.compile(r"([0-9]{12})\.safetensors")


def save_masks(folder: Path, env_steps: int, topology: Tree) -> None:
    """Write the masks of `topology`, leaves `[S, out, in]`, packed to bits.

    A run without masks writes nothing.

    Raises:
        SparlError: If the file cannot be written.
    """
    # safetensors silently writes wrong bytes for an array that is not contiguous.
    masks = {name: np.asarray(mask, order="C") for name, mask in by_name(topology).items()}
    if not masks:
        return
    packed = {name: np.packbits(mask, axis=-1) for name, mask in masks.items()}
    widths = {name: str(mask.shape[-1]) for name, mask in masks.items()}
    path = folder / f"{env_steps:012d}.safetensors"
    try:
        folder.mkdir(exist_ok=True)
        write_whole(path, save(packed, metadata=widths))
    except OSError as error:
        raise SparlError(
            f"could not write {path}: {error.strerror}; mend that and run `sparl resume`"
        ) from error


def load_masks(folder: Path) -> dict[int, dict[str, np.ndarray]]:
    """Read what `save_masks` wrote.

    Args:
        folder: Of one run, which may still be going on; it need not exist.

    Returns:
        The masks by name, booleans `[S, out, in]` over `S` seeds, for each number of env steps,
        ascending. Every moment holds the same names and shapes.

    Raises:
        SparlError: If a file is damaged, is no file of masks, or cannot be read.
    """
    history: dict[int, dict[str, np.ndarray]] = {}
    for path in _files(folder):
        try:
            env_steps, masks = _read(path)
            _check_alike(masks, next(iter(history.values()), masks))
        except OSError as error:
            raise SparlError(f"could not read {path}: {error}; mend that and try again") from error
        except (SafetensorError, ValueError) as error:
            raise SparlError(
                f"{path} is damaged or not of this run: {error}; "
                "remove that file, the others do without it"
            ) from error
        history[env_steps] = masks
    return history


def _files(folder: Path) -> list[Path]:
    try:
        # All else in there, such as the `.tmp` of a killed process, is not ours to judge.
        return sorted(path for path in folder.iterdir() if path.suffix == ".safetensors")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SparlError(
            f"could not read {folder}: {error.strerror}; mend that and try again"
        ) from error


def _read(path: Path) -> tuple[int, dict[str, np.ndarray]]:
    """The env steps and the masks of one file, or a `ValueError` that says what is wrong."""
    match = _NAME.fullmatch(path.name)
    if not match:
        raise ValueError("its name is not twelve digits")
    with safe_open(path, framework="numpy") as file:
        names, widths = sorted(file.keys()), file.metadata() or {}
        if not names or set(names) != widths.keys():
            raise ValueError(f"it holds {names}, but widths for {sorted(widths)}")
        masks = {}
        for name in names:
            packed = file.get_slice(name)
            _check_packed(name, packed.get_dtype(), packed.get_shape(), widths[name])
            bits = np.unpackbits(file.get_tensor(name), axis=-1).astype(bool)
            masks[name], padding = np.split(bits, [int(widths[name])], axis=-1)
            if padding.any():
                raise ValueError(f"{name} has links beyond its {widths[name]} inputs")
    if len({len(mask) for mask in masks.values()}) > 1:
        raise ValueError("its masks are of different numbers of seeds")
    return int(match[1]), masks


def _check_packed(name: str, dtype: str, shape: list[int], width: str) -> None:
    if dtype != "U8" or len(shape) != 3 or 0 in shape:
        raise ValueError(f"{name} is {dtype} {shape}, expected U8 [seeds, outputs, bytes]")
    inputs = int(width) if re.fullmatch("[0-9]{1,9}", width) else 0
    if not 8 * (shape[-1] - 1) < inputs <= 8 * shape[-1]:
        raise ValueError(f"{name} has {shape[-1]} bytes a row, which cannot be {width!r} inputs")


def _check_alike(masks: dict[str, np.ndarray], first: dict[str, np.ndarray]) -> None:
    shapes, expected = ({k: mask.shape for k, mask in each.items()} for each in (masks, first))
    if shapes != expected:
        odd = sorted({name for name, _ in shapes.items() ^ expected.items()})
        raise ValueError(f"it differs from the first file in {', '.join(odd)}")
