"""What became of a run's masks: layer by layer in numbers, and over training in a picture."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sparl import methods
from sparl.config import Config
from sparl.errors import InputError, SparlError
from sparl.spec import ControlSpec, EnvSpec
from sparl.study import mask_figure
from sparl.topology import WHOLE, weight_shapes
from sparl.train import folder as folders
from sparl.train.masks import load_masks
from sparl.train.program import build


def inspect(
    run_dir: str | Path, *, seed: int | None = None, out: str | Path | None = None
) -> dict[str, Any]:
    """Describe a run's layers and draw its masks over training.

    Args:
        run_dir: The run folder; the run may still be going on.
        seed: Which of the run's seeds; the first by default.
        out: Where the picture goes; `masks.png` in the run folder by default.

    Returns:
        `layers`, for each weight its `name`, `shape` `[out, in]`, `links`, `density`,
        `empty_rows` (outputs without a link) and `empty_columns` (inputs without one); `agents`,
        where each has a network of its own, its `unit`, `links` and `density`; `env_steps`
        of the masks; and `picture`, its path or `None` for a dense network.

    Raises:
        InputError: If the folder is no run, has no such seed, or its configuration is of another
            network.
        SparlError: If a mask file is damaged or the picture cannot be written.
    """
    folder = folders.find(run_dir)
    config = methods.resolve(folder.load_config())
    index = (config.seed if seed is None else seed) - config.seed
    if not 0 <= index < config.num_seeds:
        last = config.seed + config.num_seeds - 1
        raise InputError(f"seed must lie in [{config.seed}, {last}], the run's, got {seed}")
    history = {
        env_steps: {name: mask[index] for name, mask in masks.items()}
        for env_steps, masks in load_masks(folder.topology).items()
    }
    program = build(replace(config, compute="auto"))
    shapes = weight_shapes(jax.eval_shape(program.algorithm.init, jax.random.key(0)))
    if not history and config.topology.kind not in WHOLE:
        raise SparlError(f"{folder.topology} holds no masks yet, or they have been removed")
    last = max(history, default=None)
    masks = history[last] if last is not None else {}
    if any(shapes.get(name) != mask.shape for name, mask in masks.items()):
        raise InputError(
            f"{folder.topology} has masks of another network than {folder.config} describes: it "
            "has been changed since the run was trained; change it back"
        )
    layers = [
        _describe(name, masks.get(name, np.ones(shape, bool))) for name, shape in shapes.items()
    ]
    agents = _agents(config, program.spec, masks)
    picture = None
    if history:
        picture = Path(out) if out is not None else folder.path / "masks.png"
        mask_figure.save(
            history,
            picture,
            title=f"{config.algorithm} / {config.method} on "
            f"{config.env}, sparsity {program.sparsity:.3g}",
            agents=max(len(agents), 1),
        )
    return {
        "env_steps": last,
        "layers": layers,
        "agents": agents,
        "picture": None if picture is None else str(picture),
    }


def _agents(
    config: Config, spec: EnvSpec | ControlSpec, masks: dict[str, np.ndarray]
) -> list[dict[str, Any]]:
    """The links of each agent's own network; nothing where they share one, or there is but one."""
    if not isinstance(spec, EnvSpec) or config.network.agents == "shared" or not masks:
        return []
    own = [mask for name, mask in masks.items() if name.startswith("agent/")]
    blocks = zip(*(np.split(mask, spec.num_agents) for mask in own), strict=True)
    units = spec.agent_types or ("",) * spec.num_agents
    described = []
    for unit, block in zip(units, blocks, strict=True):
        links = sum(int(part.sum()) for part in block)
        size = sum(part.size for part in block)
        described.append({"unit": unit, "links": links, "density": links / size})
    return described


def _describe(name: str, mask: np.ndarray) -> dict[str, Any]:
    return {
        "name": name,
        "shape": list(mask.shape),
        "links": int(mask.sum()),
        "density": float(mask.mean()),
        "empty_rows": int((~mask.any(axis=1)).sum()),
        "empty_columns": int((~mask.any(axis=0)).sum()),
    }
