"""Links to begin with that another run has found, the ticket that it drew."""

from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from sparl.compute import Topology
from sparl.errors import InputError
from sparl.topology import by_name, weight_shapes
from sparl.topology.names import name_of
from sparl.train import folder as folders
from sparl.train.masks import load_masks
from sparl.train.program import Program


@dataclass(frozen=True)
class Ticket:
    """Masks to begin with.

    Attributes:
        masks: By name, booleans `[S, out, in]`, one for each seed of the run that takes them.
    """

    masks: dict[str, np.ndarray]

    def topology(self, program: Program) -> Topology:
        """The masks as a tree of the shape of the parameters, `None` for what has none."""
        params = jax.eval_shape(program.algorithm.init, jax.random.key(0))
        return jax.tree_util.tree_map_with_path(
            lambda path, _: self.masks.get(name_of(path)), params
        )


def draw(run_dir: str | Path, program: Program) -> Ticket:
    """The newest masks of a run, for the run of `program` to begin with.

    A run of one seed gives its masks to every seed; one of several gives each seed its own.

    Raises:
        InputError: If the folder is no run or has no masks, or its network, its link counts or its
            seeds are not those of the program.
        SparlError: If a mask file is damaged.
    """
    folder = folders.find(run_dir)
    history = load_masks(folder.topology)
    if not history:
        raise InputError(f"{run_dir} has no masks to begin with: it is dense, or has not begun")
    masks = history[max(history)]
    params = jax.eval_shape(program.algorithm.init, jax.random.key(0))
    counts = by_name(program.counts)
    expected = {name: weight_shapes(params)[name] for name in counts}
    found = {name: mask.shape[1:] for name, mask in masks.items()}
    if odd := sorted({name for name, _ in expected.items() ^ found.items()}):
        raise InputError(
            f"the network of {run_dir} is another one, it differs in {', '.join(odd)}: begin with "
            "links of a run of the same environment, algorithm and widths"
        )
    for name, mask in masks.items():
        if (mask.sum(axis=(1, 2)) != counts[name]).any():
            raise InputError(
                f"{name} has {mask[0].sum()} links in {run_dir}, and this run asks for "
                f"{counts[name]}: pass that run's --sparsity and --topology.distribution (a run of "
                "method ds has fewer at its end than at its start, but with --control.finish 1)"
            )
    seeds, own = len(next(iter(masks.values()))), program.config.num_seeds
    if seeds not in (1, own):
        raise InputError(
            f"{run_dir} has {seeds} seeds and this run {own}: begin with links of a run of one "
            "seed, or of as many"
        )
    return Ticket({name: np.repeat(mask, own // seeds, axis=0) for name, mask in masks.items()})


def kept(folder: folders.RunFolder) -> Ticket:
    """The masks that a run began with, from its own folder."""
    return Ticket(load_masks(folder.topology)[0])
