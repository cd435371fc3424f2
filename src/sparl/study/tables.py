"""Tables for people: what a run, an evaluation, an inspection or an accounting came to."""

from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from sparl.topology import Accounting
from sparl.train.result import Result


def result_table(result: Result, run_dir: Path) -> Group:
    """The end of a run: its figures, and its layers."""
    seeds = (
        f"seed {result.seed}"
        if result.num_seeds == 1
        else f"seeds {result.seed} to {result.seed + result.num_seeds - 1}"
    )
    table = _table(f"{result.algorithm} / {result.method} on {result.env}, {seeds}")
    table.show_header = False
    table.add_column()
    table.add_column(justify="right")
    rows = {}
    if result.win_rate is not None:
        rows["win rate (last evaluations, up to 20)"] = _rate(result, "win_rate")
        rows["final win rate"] = _rate(result, "final_win_rate")
    rows |= {
        "return (last evaluations, up to 20)": f"{result.return_:.2f}",
        "sparsity (measured)": f"{result.sparsity['measured']:.4f}",
        "parameters": f"{result.parameters['sparse']} of {result.parameters['dense']}",
        "size against dense": f"{result.size_ratio:.4f}",
        "training FLOPs against dense": f"{result.flops['train_ratio']:.4f}",
        "inference FLOPs against dense": f"{result.flops['test_ratio']:.4f}",
        "env steps": f"{result.env_steps}",
        "episodes": f"{result.episodes:.0f}",
        "updates": f"{result.updates:.0f}",
        "seconds": f"{result.seconds:.1f}",
        "of which compiling": f"{result.compile_seconds:.1f}",
        "env steps per second, compiled": f"{result.env_steps_per_second:.0f}",
        "run folder": str(run_dir),
    }
    for name, value in rows.items():
        table.add_row(name, Text(value))
    return Group(table, _layers(result.layers))


def evaluation_table(outcome: dict[str, Any]) -> Table:
    """What `sparl.train.evaluation.evaluate` returned."""
    table = _table(f"{outcome['episodes']} episodes at env step {outcome['env_steps']}")
    formats = {"seed": "d", "win_rate": ".3f", "return": ".2f", "episode_length": ".1f"}
    shown = {name: how for name, how in formats.items() if name in outcome["per_seed"][0]}
    for name in shown:
        table.add_column(name.replace("_", " "), justify="right")
    for seed in outcome["per_seed"]:
        table.add_row(*(format(seed[name], how) for name, how in shown.items()))
    return table


def inspection_table(report: dict[str, Any]) -> Group:
    """What `sparl.study.inspection.inspect` returned."""
    picture = report["picture"]
    ending = f"masks drawn in {picture}" if picture else "a dense network has no masks to draw"
    parts = [_layers(report["layers"])]
    if report["agents"]:
        parts.append(_agents(report["agents"]))
    return Group(*parts, Text(ending))


def accounting_table(counted: Accounting) -> Table:
    """Parameters and FLOPs, dense and sparse."""
    table = _table("parameters, and FLOPs per time step")
    for name in ("", "dense", "sparse", "ratio"):
        table.add_column(name, justify="right" if name else "left")
    dense, sparse = counted.parameters["dense"], counted.parameters["sparse"]
    table.add_row("parameters", str(dense), str(sparse), f"{counted.size_ratio:.5f}")
    for name, label in (("train", "FLOPs (train)"), ("test", "FLOPs (test)")):
        flops = counted.flops
        table.add_row(
            label,
            str(flops[f"{name}_dense"]),
            str(flops[f"{name}_sparse"]),
            f"{flops[f'{name}_ratio']:.5f}",
        )
    return table


def info_table(found: dict[str, Any]) -> Group:
    """What multiplies on this machine: the versions, and `sparl.compute.native.info`."""
    table = _table("what multiplies here")
    table.show_header = False
    table.add_column()
    table.add_column()
    others = [name for name in found["instruction_sets"] if name != found["instruction_set"]]
    rows = {
        "sparl": found["sparl"],
        "JAX": f"{found['jax']}, on {found['backend']}",
        "sparse weights": "native kernels" if found["kernels"] else "dense products, times masks",
    }
    if found["kernels"]:
        narrower = f" (also {', '.join(others)})" if others else ""
        rows["instruction set"] = f"{found['instruction_set']}{narrower}"
        rows["threads"] = str(found["threads"])
    for name, value in rows.items():
        table.add_row(name, Text(value))
    return Group(table, Text(found["reason"] or ""))


def _layers(layers: list[dict[str, Any]]) -> Table:
    inspected = "empty_rows" in layers[0]
    table = _table("layers, out x in")
    table.add_column("weight")
    columns = ("shape", "links", "density")
    for name in (*columns, "empty rows", "empty columns") if inspected else columns:
        table.add_column(name, justify="right")
    for layer in layers:
        cells = [
            layer["name"],
            "x".join(map(str, layer["shape"])),
            str(layer["links"]),
            f"{layer['density']:.4f}",
        ]
        if inspected:
            cells += [str(layer["empty_rows"]), str(layer["empty_columns"])]
        table.add_row(*cells)
    return table


def _agents(agents: list[dict[str, Any]]) -> Table:
    table = _table("the agents' networks")
    table.add_column("agent", justify="right")
    table.add_column("unit")
    for name in ("links", "density"):
        table.add_column(name, justify="right")
    for i, each in enumerate(agents):
        table.add_row(str(i), each["unit"], str(each["links"]), f"{each['density']:.4f}")
    return table


def _rate(result: Result, name: str) -> str:
    mean = {"win_rate": result.win_rate, "final_win_rate": result.final_win_rate}[name]
    if result.num_seeds == 1:
        return f"{mean:.3f}"
    values = [seed[name] for seed in result.per_seed]
    return f"{mean:.3f} ({min(values):.3f} to {max(values):.3f})"


def _table(title: str) -> Table:
    return Table(title=Text(title, no_wrap=True), title_justify="left", box=box.SIMPLE_HEAD)
