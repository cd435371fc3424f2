"""How many links each layer gets: densities by layer for one sparsity of the whole."""

from collections.abc import Mapping

Shapes = Mapping[str, tuple[int, int]]
"""Weight shapes `[out, in]` by layer name."""


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


DISTRIBUTIONS = {"erdos_renyi": erdos_renyi, "uniform": uniform}
"""The distributions by name."""
