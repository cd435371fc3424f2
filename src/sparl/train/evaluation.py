"""Play a trained run's agents greedily."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sparl import methods
from sparl.errors import InputError, SparlError
from sparl.train import folder as folders
from sparl.train import snapshot
from sparl.train.checkpoint import CheckpointStore
from sparl.train.program import build

_OFFSET = 1 << 30
"""Numbers of evaluations from here on are never used while training."""


def evaluate(run_dir: str | Path, *, episodes: int | None = None, seed: int = 0) -> dict[str, Any]:
    """Play greedy episodes with the newest checkpoint of a run.

    Args:
        run_dir: The run folder; the run may still be going on.
        episodes: Episodes for each of the run's seeds. Default: as many as in ten of
            its evaluations.
        seed: Selects the episodes; none of them was seen in training or in its evaluations.

    Returns:
        `env`, `env_steps` of the checkpoint, `episodes`, and `per_seed`: for each seed of the run
        its `seed`, `win_rate`, `return` and `episode_length`, means over the episodes. `warnings`
        has a sentence for each newer checkpoint that is damaged, and for each episode that was
        lost to an environment that broke and played again.

    Raises:
        InputError: If the folder is no run, its configuration has been changed since it was
            trained, or `episodes` is not positive.
        SparlError: If there is no intact checkpoint.
    """
    if episodes is not None and episodes < 1:
        raise InputError(f"episodes must be at least 1, got {episodes}")
    if not 0 <= seed < _OFFSET:
        raise InputError(f"seed must lie in [0, {_OFFSET}), got {seed}")
    folder = folders.find(run_dir)
    config = methods.resolve(folder.load_config())
    episodes = episodes or 10 * config.eval_episodes
    program = build(replace(config, eval_episodes=episodes, compute="auto"))
    checkpoint = CheckpointStore(folder.checkpoints).restore(log=False)
    if checkpoint is None:
        raise SparlError(f"{run_dir} has no checkpoint yet; `sparl resume {run_dir}` trains on")
    folder.check_unchanged(replace(program.config, eval_episodes=config.eval_episodes), checkpoint)
    program = program.at(max(checkpoint.info["books"]["updates"]))
    learner = program.from_masked(snapshot.restore_learner(program.template, checkpoint))
    number = np.int32(_OFFSET + seed)
    try:
        values = program.evaluate(learner.params, learner.topology, program.seeds, number)
        notes = program.notes()
    finally:
        program.close()
    by_seed = {name: np.asarray(value).tolist() for name, value in values.items()}
    return {
        "env": config.env,
        "env_steps": checkpoint.info["books"]["env_steps"],
        "episodes": episodes,
        "warnings": [*checkpoint.skipped, *notes],
        "per_seed": [
            {"seed": config.seed + i, **{name: value[i] for name, value in by_seed.items()}}
            for i in range(config.num_seeds)
        ],
    }
