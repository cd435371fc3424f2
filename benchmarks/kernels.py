"""What the sparse kernels save, product by product, against XLA's dense ones.

    python benchmarks/kernels.py
    python benchmarks/kernels.py --repeats 30 --json kernels.json

Dense and sparse take turns in one process, so their ratio holds although the machine's speed
drifts. Each reading is one compiled loop that runs the product several times, as a learner's
program does, so that neither the call from Python nor memory touched for the first time counts.
Dense weights multiply as they are, without a mask, which is the faster of the two ways that the
kernels replace. GF/s count two operations per column and weight that is there; `peak` is the most
that XLA's dense product of 2048 x 2048 makes on this machine.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from report import arguments, report

from sparl import compute
from sparl.compute import native
from sparl.nets import agent
from sparl.nets.layers import init_linear
from sparl.topology import link_count_tree, random_topology

INPUTS, HIDDEN, ACTIONS = 226, 64, 13
"""The agent of smax:3s5z."""


@dataclass(frozen=True)
class Case:
    """One product in both forms."""

    part: str
    size: str
    sparsity: float
    flops: float  # Of the sparse form.
    run: Callable[..., Any]  # (weights, *arrays) to arrays, differentiated or not
    dense: Any  # Parameters and topology.
    sparse: Any
    arrays: tuple[jax.Array, ...]


def both_forms(init: Callable[[jax.Array], Any], sparsity: float) -> tuple[Any, Any, int]:
    """Parameters and topology, dense and sparse, and the number of links."""
    params = {"net": init(jax.random.key(0))}
    masks = random_topology(jax.random.key(1), params, sparsity, "uniform")
    counts = link_count_tree(params, sparsity, "uniform")
    dense = compute.bind(params, masks)
    sparse = compute.to_sparse(dense, masks, counts)
    return (dense, compute.dense(dense)), sparse, sum(jax.tree.leaves(counts))


def normal(*shape: int, dtype: type = np.float32) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=shape).astype(dtype))


def layer(outputs: int, inputs: int, columns: int, sparsity: float) -> Case:
    """Forward, input gradient and weight gradient of one layer."""
    dense, sparse, links = both_forms(lambda key: init_linear(key, inputs, outputs), sparsity)

    def run(params: Any, topology: Any, x: jax.Array, dy: jax.Array) -> tuple:
        def call(params: Any, x: jax.Array) -> jax.Array:
            return compute.linear(compute.bind(params, topology)["net"], x)

        y, pull_back = jax.vjp(call, params, x)
        return y, pull_back(dy)

    arrays = (normal(inputs, columns), normal(outputs, columns))
    part, size = "layer, forward and both gradients", f"{outputs} x {inputs}, {columns} columns"
    return Case(part, size, sparsity, 6 * links * columns, run, dense, sparse, arrays)


def forward(width: int, columns: int, sparsity: float) -> Case:
    """The forward pass of one square layer alone."""
    dense, sparse, links = both_forms(lambda key: init_linear(key, width, width), sparsity)

    def run(params: Any, topology: Any, x: jax.Array) -> jax.Array:
        return compute.linear(compute.bind(params, topology)["net"], x)

    part, size = "layer, forward alone", f"{width} x {width}, {columns} columns"
    arrays = (normal(width, columns),)
    return Case(part, size, sparsity, 2 * links * columns, run, dense, sparse, arrays)


def agent_net(steps: int, columns: int, sparsity: float) -> Case:
    """Value and gradient of the agent over whole episodes, from float16 inputs as in training."""
    dense, sparse, links = both_forms(
        lambda key: agent.init(key, INPUTS, HIDDEN, ACTIONS), sparsity
    )
    length = jnp.full(columns, steps, jnp.int32)

    def run(params: Any, topology: Any, x: jax.Array, dy: jax.Array) -> tuple:
        def call(params: Any) -> jax.Array:
            return agent.unroll(compute.bind(params, topology)["net"], x, length)

        y, pull_back = jax.vjp(call, params)
        return y, pull_back(dy)

    arrays = (normal(steps, INPUTS, columns, dtype=np.float16), normal(steps, ACTIONS, columns))
    part, size = "agent net, value and gradient", f"{steps} steps, {columns} columns"
    return Case(part, size, sparsity, 6 * links * columns * steps, run, dense, sparse, arrays)


def acting(columns: int, sparsity: float) -> Case:
    """One step of the agent."""
    dense, sparse, links = both_forms(
        lambda key: agent.init(key, INPUTS, HIDDEN, ACTIONS), sparsity
    )

    def run(params: Any, topology: Any, x: jax.Array, h: jax.Array) -> tuple:
        return agent.step(compute.bind(params, topology)["net"], x, h)

    arrays = (normal(INPUTS, columns), normal(HIDDEN, columns))
    return Case(
        "acting, one step", f"{columns} columns", sparsity, 2 * links * columns, run, dense, sparse,
        arrays,
    )  # fmt: skip


def cases() -> list[Case]:
    found = [
        layer(width, width, columns, sparsity)
        for width, columns in ((256, 256), (256, 1024), (512, 1024), (1024, 1024))
        for sparsity in (0.9, 0.95)
    ]
    found += [agent_net(60, 256, sparsity) for sparsity in (0.9, 0.95, 0.8)]
    found += [acting(64, sparsity) for sparsity in (0.9, 0.95, 0.8)]
    # Where sparse compute gains least.
    shapes = ((32, 32), (64, 64), (128, 128), (256, 256), (1024, 1024), (32, 256), (256, 32))
    found += [layer(*shape, columns, 0.8) for shape in shapes for columns in (64, 256, 1024)]
    # Few columns, of which vectors are not full.
    found += [layer(256, 256, columns, 0.8) for columns in (1, 8, 16, 32)]
    found += [forward(256, columns, 0.8) for columns in (1, 8, 16, 32, 256)]
    found += [acting(columns, 0.8) for columns in (1, 8, 16, 32)]
    return found


def looped(run: Callable[..., Any]) -> Callable[..., Any]:
    """`run` as one program that runs it `times` times and returns what came last."""

    @jax.jit
    def program(times: jax.Array, *arguments: Any) -> Any:
        def once(i: jax.Array, last: Any) -> Any:
            del last
            # Tied to the counter, so that XLA does not move the work out of the loop.
            tied, _ = jax.lax.optimization_barrier((arguments, i))
            return run(*tied)

        results = jax.eval_shape(run, *arguments)
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), results)
        return jax.lax.fori_loop(0, times, once, nothing)

    return program


def take_turns(programs: dict[str, Callable[[int], Any]], repeats: int) -> dict[str, list[float]]:
    """Microseconds of one run, reading by reading, of programs that take how often to run."""
    times = {}
    for name, program in programs.items():
        jax.block_until_ready(program(1))
        begun = time.perf_counter()
        jax.block_until_ready(program(1))
        # Enough that a reading takes ten milliseconds or more, and that the loop's own cost, which
        # is results in memory touched for the first time, is a small share of it.
        times[name] = max(10, round(1e-2 / (time.perf_counter() - begun)))
    readings: dict[str, list[float]] = {name: [] for name in programs}
    for repeat in range(repeats + 1):
        for name, program in programs.items():
            begun = time.perf_counter()
            jax.block_until_ready(program(times[name]))
            if repeat:  # The first is a warm-up.
                readings[name].append((time.perf_counter() - begun) / times[name] * 1e6)
    return readings


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """Median microseconds of each form, and the median ratio of neighbours in time."""
    program = looped(case.run)
    readings = take_turns(
        {
            "dense": lambda times: program(times, *case.dense, *case.arrays),
            "sparse": lambda times: program(times, *case.sparse, *case.arrays),
        },
        repeats,
    )
    dense, sparse = (statistics.median(readings[name]) for name in ("dense", "sparse"))
    ratios = [d / s for d, s in zip(readings["dense"], readings["sparse"], strict=True)]
    return {
        "part": case.part,
        "size": case.size,
        "sparsity": case.sparsity,
        "dense_us": dense,
        "sparse_us": sparse,
        "dense/sparse": statistics.median(ratios),
        "sparse_gflops_per_second": case.flops / sparse / 1e3,
        "dense_gflops_per_second": case.flops / (1 - case.sparsity) / dense / 1e3,
    }


def peak(repeats: int) -> float:
    """GF/s of XLA's dense product of two large matrices, at its best."""
    x = normal(2048, 2048)
    program = looped(jnp.matmul)
    return 2 * 2048**3 / min(take_turns({"": lambda n: program(n, x, x)}, repeats)[""]) / 1e3


def main() -> None:
    parser = arguments(__doc__, repeats=15)
    args = parser.parse_args()
    if why := native.unavailable():
        parser.error(why)
    most = peak(args.repeats)
    rows = [measure(case, args.repeats) for case in cases()]
    table = [
        {
            "part": row["part"],
            "size": row["size"],
            "sparsity": f"{row['sparsity']:.2f}",
            "dense us": f"{row['dense_us']:.0f}",
            "sparse us": f"{row['sparse_us']:.0f}",
            "dense / sparse": f"{row['dense/sparse']:.1f}",
            "sparse GF/s": f"{row['sparse_gflops_per_second']:.0f}",
            "dense GF/s": f"{row['dense_gflops_per_second']:.0f}",
            "sparse / peak": f"{row['sparse_gflops_per_second'] / most:.2f}",
        }
        for row in rows
    ]
    title = f"medians; XLA's dense product makes {most:.0f} GF/s at most"
    report(title, table, {"peak_gflops_per_second": most, "rows": rows}, args.json)


if __name__ == "__main__":
    main()
