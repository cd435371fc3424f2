"""The figures of a finished run, from its books and its network."""

import statistics
from typing import Any

import jax
import numpy as np

from sparl.compute import Tree
from sparl.topology import by_name, weight_shapes
from sparl.train.books import Books
from sparl.train.program import Program
from sparl.train.result import Result


def layer_table(program: Program, topology: Tree) -> list[dict[str, Any]]:
    """For each weight its `name`, `shape`, `links` and `density`, of the first seed.

    A method has as many links with one seed as with another, so it is the same for all.

    Args:
        program: The program of the run.
        topology: Masks with a leading axis of seeds.
    """
    params = jax.eval_shape(program.algorithm.init, jax.random.key(0))
    masks = by_name(topology)
    layers = []
    for name, shape in weight_shapes(params).items():
        size = shape[0] * shape[1]
        links = int(np.asarray(masks[name][0]).sum()) if name in masks else size
        layers.append({"name": name, "shape": list(shape), "links": links, "density": links / size})
    return layers


def measured_sparsity(layers: list[dict[str, Any]]) -> float:
    """The share of weights that are absent."""
    size = sum(layer["shape"][0] * layer["shape"][1] for layer in layers)
    return 1 - sum(layer["links"] for layer in layers) / size


def summarise(program: Program, books: Books, topology: Tree) -> Result:
    """The result of a run that has ended.

    Args:
        program: The program of the run.
        books: Its counts.
        topology: Its final masks, with a leading axis of seeds.
    """
    config = program.config
    layers = layer_table(program, topology)
    accounting = program.accounting({layer["name"]: layer["density"] for layer in layers})
    # There are win rates where episodes are won.
    won = "win_rate" in books.evaluations[-1]
    rates, returns = books.score("win_rate") if won else [], books.score("return")
    per_seed = [
        {
            "seed": config.seed + i,
            "win_rate": rates[i] if won else None,
            "final_win_rate": books.evaluations[-1]["win_rate"][i] if won else None,
            "return": returns[i],
            "episodes": books.episodes[i],
            "updates": books.updates[i],
        }
        for i in range(config.num_seeds)
    ]

    def mean(name: str) -> int | float:
        return statistics.mean(seed[name] for seed in per_seed)  # Whole numbers stay whole.

    return Result(
        env=config.env,
        algorithm=config.algorithm,
        method=config.method,
        seed=config.seed,
        num_seeds=config.num_seeds,
        env_steps=books.env_steps,
        episodes=mean("episodes"),
        updates=mean("updates"),
        win_rate=mean("win_rate") if won else None,
        final_win_rate=mean("final_win_rate") if won else None,
        return_=mean("return"),
        sparsity={"target": program.sparsity, "measured": measured_sparsity(layers)},
        parameters=accounting.parameters,
        size_ratio=accounting.size_ratio,
        flops=accounting.flops,
        layers=layers,
        per_seed=per_seed,
        seconds=books.seconds,
        compile_seconds=books.compile_seconds,
        env_steps_per_second=books.rate(),
    )
