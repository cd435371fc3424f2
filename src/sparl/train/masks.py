"""Masks over the course of training, one small file for each moment that is kept."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from sparl.compute import Tree
from sparl.errors import SparlError
from sparl.topology import by_name


def save_masks(folder: Path, env_steps: int, topology: Tree) -> None:
    """Write the masks of `topology`, leaves `[S, out, in]`, packed to bits.

    A run without masks writes nothing.

    Raises:
        SparlError: If the file cannot be written.
    """
    masks = {name: np.asarray(mask) for name, mask in by_name(topology).items()}
    if not masks:
        return
    packed = {name: np.packbits(mask, axis=-1) for name, mask in masks.items()}
    widths = {name: str(mask.shape[-1]) for name, mask in masks.items()}
    path = folder / f"{env_steps:012d}.safetensors"
    temporary = path.with_suffix(".tmp")
    try:
        folder.mkdir(exist_ok=True)
        save_file(packed, temporary, metadata=widths)
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        raise SparlError(
            f"could not write {path}: {error}; free some space and run `sparl resume`"
        ) from error
