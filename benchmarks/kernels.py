"""What the sparse kernels save, product by product, against XLA's dense ones.

    python benchmarks/kernels.py
    python benchmarks/kernels.py --repeats 30 --json kernels.json

Dense and sparse take turns in one process, so their ratio holds although the machine's speed
drifts. Dense weights multiply as they are, without a mask, which is the faster of the two ways that
the kernels replace. GF/s count what a sparse product has to do: two operations per link and column.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from sparl import compute
from sparl.compute import native
from sparl.nets import agent
from sparl.nets.layers import init_linear
from sparl.topology import link_count_tree, random_topology

Pair = tuple[Callable[[], Any], Callable[[], Any]]


@dataclass(frozen=True)
class Case:
    """One product in both forms."""

    part: str
    size: str
    sparsity: float
    flops: float  # Of the sparse form.
    dense: Callable[[], Any]
    sparse: Callable[[], Any]


def both(init: Callable[[jax.Array], Any], sparsity: float) -> tuple[Any, Any, int]:
    """Bound weights, dense and sparse, and the number of links."""
    params = {"net": init(jax.random.key(0))}
    masks = random_topology(jax.random.key(1), params, sparsity, "uniform")
    dense = compute.bind(params, masks)
    counts = link_count_tree(params, sparsity, "uniform")
    values, topology = compute.to_sparse(dense, masks, counts)
    links = sum(count for count in jax.tree.leaves(counts))
    return dense["net"], (values["net"], topology["net"]), links


def normal(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=shape).astype(np.float32))


def layer(width: int, columns: int, sparsity: float) -> Case:
    """Forward, input gradient and weight gradient of one square layer."""
    dense, (values, topology), links = both(lambda key: init_linear(key, width, width), sparsity)
    x, dy = normal(width, columns), normal(width, columns)

    @jax.jit
    def run(params: Any, topology: Any, x: jax.Array) -> tuple:
        def call(params: Any, x: jax.Array) -> jax.Array:
            return compute.linear(compute.bind(params, topology), x)

        y, pull_back = jax.vjp(call, params, x)
        return y, pull_back(dy)

    everywhere = compute.dense(dense)
    return Case(
        "layer, forward and both gradients",
        f"{width} x {width}, {columns} columns",
        sparsity,
        6 * links * columns,
        lambda: run(dense, everywhere, x),
        lambda: run(values, topology, x),
    )


def agent_net(steps: int, columns: int, sparsity: float) -> Case:
    """Value and gradient of 3s5z's agent over whole episodes."""
    inputs, hidden, actions = 226, 64, 13
    dense, (values, topology), links = both(
        lambda key: agent.init(key, inputs, hidden, actions), sparsity
    )
    x, dy = normal(steps, inputs, columns), normal(steps, actions, columns)
    length = jnp.full(columns, steps, jnp.int32)

    @jax.jit
    def run(params: Any, topology: Any, x: jax.Array) -> tuple:
        def call(params: Any) -> jax.Array:
            return agent.unroll(compute.bind(params, topology), x, length)

        y, pull_back = jax.vjp(call, params)
        return y, pull_back(dy)

    everywhere = compute.dense(dense)
    return Case(
        "agent net, value and gradient",
        f"{steps} steps, {columns} columns",
        sparsity,
        6 * links * columns * steps,
        lambda: run(dense, everywhere, x),
        lambda: run(values, topology, x),
    )


def acting(columns: int, sparsity: float) -> Case:
    """One step of 3s5z's agent."""
    inputs, hidden, actions = 226, 64, 13
    dense, (values, topology), links = both(
        lambda key: agent.init(key, inputs, hidden, actions), sparsity
    )
    x, h = normal(inputs, columns), normal(hidden, columns)
    run = jax.jit(lambda params, topology: agent.step(compute.bind(params, topology), x, h))
    everywhere = compute.dense(dense)
    return Case(
        "acting, one step",
        f"{columns} columns",
        sparsity,
        2 * links * columns,
        lambda: run(dense, everywhere),
        lambda: run(values, topology),
    )


def cases() -> list[Case]:
    found = [
        layer(width, columns, sparsity)
        for width, columns in ((256, 256), (256, 1024), (512, 1024), (1024, 1024))
        for sparsity in (0.9, 0.95)
    ]
    found += [agent_net(60, 256, sparsity) for sparsity in (0.9, 0.95)]
    found += [acting(64, sparsity) for sparsity in (0.9, 0.95)]
    # Where sparse compute gains least.
    found += [layer(width, 256, 0.8) for width in (32, 64, 128)]
    return found


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """Median microseconds of each form, and the median ratio of neighbours in time."""
    forms = {"dense": case.dense, "sparse": case.sparse}
    calls = {}
    for name, fn in forms.items():
        jax.block_until_ready(fn())
        begun = time.perf_counter()
        jax.block_until_ready(fn())
        # Enough calls that a reading takes a millisecond or more.
        calls[name] = max(1, int(2e-3 / (time.perf_counter() - begun)))
    times: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(repeats):
        for name, fn in forms.items():
            begun = time.perf_counter()
            for _ in range(calls[name]):
                result = fn()
            jax.block_until_ready(result)
            times[name].append((time.perf_counter() - begun) / calls[name] * 1e6)
    dense, sparse = (statistics.median(times[name]) for name in forms)
    ratios = [d / s for d, s in zip(times["dense"], times["sparse"], strict=True)]
    return {
        "part": case.part,
        "size": case.size,
        "sparsity": case.sparsity,
        "dense_us": dense,
        "sparse_us": sparse,
        "dense/sparse": statistics.median(ratios),
        "useful_gflops_per_second": case.flops / sparse / 1e3,
        "dense_gflops_per_second": case.flops / (1 - case.sparsity) / dense / 1e3,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    args = parser.parse_args()
    if why := native.unavailable():
        parser.error(why)

    table = Table(title="medians; ratio dense / sparse")
    for name in ("part", "size", "sparsity", "dense us", "sparse us", "ratio", "useful GF/s"):
        table.add_column(name, justify="left" if name in ("part", "size") else "right")
    rows = []
    for case in cases():
        row = measure(case, args.repeats)
        rows.append(row)
        table.add_row(
            row["part"],
            row["size"],
            f"{row['sparsity']:.2f}",
            f"{row['dense_us']:.0f}",
            f"{row['sparse_us']:.0f}",
            f"{row['dense/sparse']:.1f}",
            f"{row['useful_gflops_per_second']:.0f} (dense {row['dense_gflops_per_second']:.0f})",
        )
    Console().print(table)
    report = {
        "jax": jax.__version__,
        "machine": platform.machine(),
        **native.info(),
        "rows": rows,
    }
    print(json.dumps(report))
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
