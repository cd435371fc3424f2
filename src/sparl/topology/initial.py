"""The topology that training starts from: random links, as many per layer as its density says."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from sparl.compute import Topology, Tree, bind, choose, dense, to_sparse
from sparl.errors import InputError, unknown_name
from sparl.topology.budgets import Budgets
from sparl.topology.distribution import DISTRIBUTIONS, Distribution, Shapes
from sparl.topology.names import by_name, name_of
from sparl.topology.top import top_mask


def init(
    key: jax.Array,
    params: Tree,
    *,
    sparsity: float,
    distribution: str = "erdos_renyi",
    compute: str = "auto",
) -> tuple[Tree, Topology]:
    """Take links away from a network's parameters, at random, until it is as sparse as wanted.

    Weights are the arrays `[out, in]` of two dimensions; all else (biases) stays as it is.

    Args:
        key: Random key.
        params: Nested dicts of arrays.
        sparsity: Absent share of all weights, in [0, 1).
        distribution: How the links are shared among layers, a key of `DISTRIBUTIONS`.
        compute: The form of the weights, see `sparl.compute.FORMS`; by default the fastest here.

    Returns:
        The parameters, each weight the values of its links alone, `[L]`, or zero where it has none,
        and the topology that `sparl.compute.bind` joins them with.

    Raises:
        InputError: If there are no weights, if a layer would keep fewer links than it has outputs,
            if the sparsity, the distribution or the form is none, or if the machine does not have
            the form, or the form not the type of the weights.
    """
    if isinstance(sparsity, str) or not 0 <= sparsity < 1:
        raise InputError(f"sparsity must be a number in [0, 1), got {sparsity!r}")
    if distribution not in DISTRIBUTIONS:
        raise unknown_name("distribution", distribution, DISTRIBUTIONS)
    form = choose(compute, sparsity)
    if form == "dense":
        return params, dense(params)
    whole = {"params": params}  # Whose layers share one budget.
    shapes = weight_shapes(whole)
    if not shapes or not all(rows and columns for rows, columns in shapes.values()):
        raise InputError(
            "there is no weight to take links from: no array has two dimensions, or one is empty"
        )
    if form == "sparse":
        _require_float32(params)
    masks = random_topology(key, whole, sparsity, distribution)
    params = bind(whole, masks)
    if form == "sparse":
        params, masks = to_sparse(params, masks, link_count_tree(whole, sparsity, distribution))
    return params["params"], masks["params"]


def link_counts(
    shapes: Shapes,
    sparsity: float,
    distribution: str | Distribution = "erdos_renyi",
    budgets: Budgets | None = None,
) -> dict[str, int]:
    """Links of each layer: `n - int((1 - density) n)` of `n`, as RLx2 rounds.

    Networks, told apart by the first part of a layer's name, each meet the sparsity by themselves.

    Args:
        shapes: Weight shapes by name, e.g. `{"agent/fc1/w": (64, 90)}`.
        sparsity: Absent share of each network's weights, in [0, 1).
        distribution: A key of `DISTRIBUTIONS`, or such a function.
        budgets: Of networks that stack several agents', by which each meets its own sparsity.

    Raises:
        InputError: If a layer would keep fewer links than it has outputs.
    """
    return {
        name: sum(counts)
        for name, counts in _block_counts(shapes, sparsity, distribution, budgets or {}).items()
    }


def link_count_tree(
    params: Tree,
    sparsity: float,
    distribution: str | Distribution = "erdos_renyi",
    budgets: Budgets | None = None,
) -> Tree:
    """`link_counts` as a tree of the shape of `params`, `None` for what stays dense.

    Raises:
        InputError: If a layer would keep fewer links than it has outputs.
    """
    counts = link_counts(weight_shapes(params), sparsity, distribution, budgets)
    return jax.tree_util.tree_map_with_path(lambda path, _: counts.get(name_of(path)), params)


def random_topology(
    key: jax.Array,
    params: Tree,
    sparsity: float,
    distribution: str | Distribution = "erdos_renyi",
    budgets: Budgets | None = None,
) -> Tree:
    """Masks for every weight of `params`, uniformly random with `link_counts` links.

    Weights are the arrays of two dimensions; everything else (biases) stays dense.

    Args:
        key: Random key.
        params: Nested dicts of arrays.
        sparsity: Absent share of each network's weights, in [0, 1).
        distribution: A key of `DISTRIBUTIONS`, or such a function.
        budgets: Of networks that stack several agents', by which each meets its own sparsity.

    Returns:
        The tree of `params` with a boolean mask `[out, in]` for each weight and `None` elsewhere.

    Raises:
        InputError: If a layer would keep fewer links than it has outputs.
    """
    shapes = weight_shapes(params)
    counts = _block_counts(shapes, sparsity, distribution, budgets or {})
    keys = dict(zip(shapes, jax.random.split(key, len(shapes)), strict=True))

    def mask(path: tuple, values: jax.Array) -> jax.Array | None:
        name = name_of(path)
        if name not in shapes:
            return None
        draws = jax.random.uniform(keys[name], values.shape)
        blocks = jnp.split(draws, len(counts[name]))
        return jnp.concatenate(list(map(top_mask, blocks, counts[name])))

    return jax.tree_util.tree_map_with_path(mask, params)


def weight_shapes(params: Tree) -> dict[str, tuple[int, int]]:
    """The shapes `[out, in]` of all weights, by name."""
    return {name: value.shape for name, value in by_name(params).items() if value.ndim == 2}


def _require_float32(params: Tree) -> None:
    for name, value in by_name(params).items():
        if value.ndim == 2 and value.dtype != "float32":
            raise InputError(
                f"the kernels multiply float32, and {name} is {value.dtype}: convert it, or pass "
                "compute='masked'"
            )


def _block_counts(
    shapes: Shapes, sparsity: float, distribution: str | Distribution, budgets: Budgets
) -> dict[str, tuple[int, ...]]:
    """Links of each layer, told apart by agent where its network stacks several."""
    networks: dict[str, dict[str, tuple[int, int]]] = {}
    for name, (rows, columns) in shapes.items():
        network = name.split("/")[0]
        stacked = len(budgets.get(network, (sparsity,)))
        networks.setdefault(network, {})[name] = (rows // stacked, columns)

    def enough(sparsity: float) -> bool:
        counted = ((own, _counts(own, sparsity, distribution)) for own in networks.values())
        return all(_starved(*each) is None for each in counted)

    counts = {}
    for network, own in networks.items():
        blocks = []
        for each in budgets.get(network, (sparsity,)):
            blocks.append(_counts(own, each, distribution))
            if (name := _starved(own, blocks[-1])) is not None:
                raise InputError(
                    f"sparsity {each:.4g} (density {1 - each:.4g}) leaves {name} "
                    f"{blocks[-1][name]} links for {own[name][0]} outputs, fewer than one each; "
                    f"the highest that keeps one per output everywhere is "
                    f"{_highest_sparsity(enough)}"
                )
        counts |= {name: tuple(block[name] for block in blocks) for name in own}
    return counts


def _counts(shapes: Shapes, sparsity: float, distribution: str | Distribution) -> dict[str, int]:
    """Links of each layer of one network."""
    counts = {}
    densities = DISTRIBUTIONS[distribution] if isinstance(distribution, str) else distribution
    for name, density in densities(shapes, sparsity).items():
        size = shapes[name][0] * shapes[name][1]
        counts[name] = size - int((1 - density) * size)
    return counts


def _starved(shapes: Shapes, counts: dict[str, int]) -> str | None:
    """The first layer with fewer links than outputs."""
    return next((name for name in shapes if counts[name] < shapes[name][0]), None)


def _highest_sparsity(fits: Callable[[float], bool], digits: int = 3) -> float:
    steps = range(10**digits - 1, -1, -1)
    return next((s / 10**digits for s in steps if fits(s / 10**digits)), 0.0)
