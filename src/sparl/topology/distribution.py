"""How many links each layer gets: densities by layer for one sparsity of the whole."""

import math
from collections.abc import Callable, Mapping

from sparl.errors import InputError

Shapes = Mapping[str, tuple[int, int]]
"""Weight shapes `[out, in]` by layer name."""

Distribution = Callable[[Shapes, float], dict[str, float]]
"""`(shapes of one network, its sparsity)` to a density in (0, 1] for each of its layers."""


def uniform(shapes: Shapes, sparsity: float) -> dict[str, float]:
    """The same density `1 - sparsity` for every layer."""
    return dict.fromkeys(shapes, 1 - sparsity)


def erdos_renyi(shapes: Shapes, sparsity: float) -> dict[str, float]:
    """Densities proportional to `(in + out) / (in out)`.

    Small layers keep more of their links than large ones (Mocanu et al., 2018; Evci et al., ICML
    2020). Layers whose share would exceed all their links are made dense, the one with the largest
    ratio first, and the rest is solved for again.

    Args:
        shapes: The layers that share the budget.
        sparsity: Absent share of all their weights together, in [0, 1).

    Returns:
        A density in (0, 1] for each layer; weighted by size they average to `1 - sparsity`.
    """
    size = {name: rows * cols for name, (rows, cols) in shapes.items()}
    ratio = {name: (rows + cols) / (rows * cols) for name, (rows, cols) in shapes.items()}
    budget = (1 - sparsity) * sum(size.values())
    full: set[str] = set()
    while len(full) < len(shapes):
        free = [name for name in shapes if name not in full]
        links = budget - sum(size[name] for name in full)
        scale = links / sum(ratio[name] * size[name] for name in free)
        largest = max(ratio[name] for name in free)
        if scale * largest <= 1:
            return {name: 1.0 if name in full else scale * ratio[name] for name in shapes}
        full |= {name for name in free if ratio[name] == largest}
    return dict.fromkeys(shapes, 1.0)


DISTRIBUTIONS: dict[str, Distribution] = {"erdos_renyi": erdos_renyi, "uniform": uniform}
"""The distributions by name."""


def by_lambdas(lambdas: str) -> Distribution:
    """Densities `lambda (in + out) / (in out)` of hidden layers, one lambda for each, at most 1.

    The last layer of a network has all links, and the sparsity is what comes of it (Sokar et al.,
    IJCAI 2022, section 4.1).

    Args:
        lambdas: Numbers with commas between them.

    Raises:
        InputError: If these are no numbers above 0 or not one for each hidden layer, or if a layer
            would have fewer links than outputs.
    """
    try:
        factors = [float(each) for each in lambdas.split(",")]
    except ValueError:
        factors = []
    if not factors or not all(0 < each < float("inf") for each in factors):
        raise InputError(
            f"topology.lambdas must be numbers above 0 with commas between them, got {lambdas!r}"
        )

    def densities(shapes: Shapes, sparsity: float) -> dict[str, float]:
        del sparsity
        if len(shapes) != len(factors) + 1:
            raise InputError(
                f"topology.lambdas {lambdas!r} must have a number for each of the "
                f"{len(shapes) - 1} hidden layers"
            )
        found = dict.fromkeys(shapes, 1.0)
        for (name, (rows, columns)), factor in zip(shapes.items(), factors, strict=False):
            if factor * (rows + columns) < rows:
                least = math.ceil(1000 * rows / (rows + columns)) / 1000
                raise InputError(
                    f"topology.lambdas {lambdas!r} leaves {name} fewer links than its {rows} "
                    f"outputs: {least} is the least for it"
                )
            found[name] = min(1.0, factor * (rows + columns) / (rows * columns))
        return found

    return densities
