"""Sizes and FLOPs printed in Table 1 of MAST (Hu et al., NeurIPS 2024), beside our own count."""

import itertools
from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import Any

from rich import box
from rich.table import Table

from sparl.topology.accounting import account


@dataclass(frozen=True)
class MapDims:
    """Dimensions of a SMAC map (Samvelyan et al., 2019), as `account` takes them."""

    num_agents: int
    obs_dim: int
    state_dim: int
    num_actions: int


@dataclass(frozen=True)
class PaperRow:
    """One row of the table: a setting, and its printed ratios to the dense learner."""

    algorithm: str
    map_name: str
    sparsity: float
    size: float
    train: float
    test: float


MAPS = {
    "3m": MapDims(num_agents=3, obs_dim=30, state_dim=48, num_actions=9),
    "2s3z": MapDims(num_agents=5, obs_dim=80, state_dim=120, num_actions=11),
    "3s5z": MapDims(num_agents=8, obs_dim=128, state_dim=216, num_actions=14),
    "2c_vs_64zg": MapDims(num_agents=2, obs_dim=332, state_dim=342, num_actions=70),
}

# The paper's WQMIX is OW-QMIX (its Algorithm 3).
PAPER_ROWS = (
    PaperRow("qmix", "3m", 0.95, size=0.066, train=0.051, test=0.050),
    PaperRow("qmix", "2s3z", 0.95, size=0.062, train=0.051, test=0.050),
    PaperRow("qmix", "3s5z", 0.90, size=0.109, train=0.101, test=0.100),
    PaperRow("qmix", "2c_vs_64zg", 0.90, size=0.106, train=0.100, test=0.100),
    PaperRow("ow-qmix", "3m", 0.90, size=0.108, train=0.100, test=0.100),
    PaperRow("ow-qmix", "2s3z", 0.90, size=0.106, train=0.100, test=0.100),
    PaperRow("ow-qmix", "3s5z", 0.90, size=0.105, train=0.100, test=0.100),
    PaperRow("ow-qmix", "2c_vs_64zg", 0.90, size=0.104, train=0.100, test=0.100),
    PaperRow("res", "3m", 0.95, size=0.066, train=0.055, test=0.050),
    PaperRow("res", "2s3z", 0.90, size=0.111, train=0.104, test=0.100),
    PaperRow("res", "3s5z", 0.85, size=0.158, train=0.154, test=0.150),
    PaperRow("res", "2c_vs_64zg", 0.85, size=0.155, train=0.151, test=0.150),
)

_COLUMNS = ("size", "train", "test")


def compare() -> list[dict[str, Any]]:
    """Counts every row of the paper's table again.

    Returns:
        Per row `algorithm`, `map`, `sparsity`, and under each of `size`, `train` and `test` the
        `printed` and the `computed` ratio and their `difference` (computed - printed).
    """
    return [_compare_row(row) for row in PAPER_ROWS]


def comparison_table() -> Table:
    """The result of `compare` as a table that fits a terminal of 80 columns."""
    table = Table(
        title="MAST, Table 1: size and FLOPs relative to the dense learner",
        caption="printed, computed, difference",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("map", no_wrap=True)
    for heading in ("sparsity", "Total Size", "FLOPs (Train)", "FLOPs (Test)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for algorithm, rows in itertools.groupby(compare(), key=itemgetter("algorithm")):
        table.add_row(f"[bold]{algorithm}")
        for row in rows:
            cells = (_format_cell(**row[column]) for column in _COLUMNS)
            table.add_row(f"  {row['map']}", f"{row['sparsity']:.2f}", *cells)
    return table


def _format_cell(printed: float, computed: float, difference: float) -> str:
    return f"{printed:.3f} {computed:.4f} {difference:+z.4f}".replace("0.", ".")


def _compare_row(row: PaperRow) -> dict[str, Any]:
    accounting = account(row.algorithm, **asdict(MAPS[row.map_name]), sparsity=row.sparsity)
    printed = (row.size, row.train, row.test)
    computed = (
        accounting.size_ratio,
        accounting.flops["train_ratio"],
        accounting.flops["test_ratio"],
    )
    return {
        "algorithm": row.algorithm,
        "map": row.map_name,
        "sparsity": row.sparsity,
        **{
            column: {"printed": p, "computed": c, "difference": c - p}
            for column, p, c in zip(_COLUMNS, printed, computed, strict=True)
        },
    }
