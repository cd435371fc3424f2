"""Size and FLOP accounting against MAST's Table 1 and counts worked out by hand."""

import itertools
import json
from dataclasses import asdict, replace
from typing import Any

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from sparl.algorithms import make_control
from sparl.errors import InputError
from sparl.nets import agent, qmix_mixer
from sparl.presets import ACTOR_CRITIC, TEAM, defaults
from sparl.spec import ControlSpec
from sparl.study.paper_table import MAPS, PAPER_ROWS, compare, comparison_table
from sparl.topology import by_name, weight_shapes
from sparl.topology.accounting import (
    Accounting,
    Layer,
    account,
    agent_layers,
    central_mixer_layers,
    qmix_mixer_layers,
    qmix_mixing_flops,
)
from sparl.topology.accounting_control import account_actor_critic

# Printed in the paper, typed a second time: algorithm, map, sparsity, size, train, test.
PRINTED = """
qmix    3m         .95 .066 .051 .050
qmix    2s3z       .95 .062 .051 .050
qmix    3s5z       .90 .109 .101 .100
qmix    2c_vs_64zg .90 .106 .100 .100
ow-qmix 3m         .90 .108 .100 .100
ow-qmix 2s3z       .90 .106 .100 .100
ow-qmix 3s5z       .90 .105 .100 .100
ow-qmix 2c_vs_64zg .90 .104 .100 .100
res     3m         .95 .066 .055 .050
res     2s3z       .90 .111 .104 .100
res     3s5z       .85 .158 .154 .150
res     2c_vs_64zg .85 .155 .151 .150
"""
PRINTED_ROWS = [line.split() for line in PRINTED.strip().splitlines()]

# Computed independently of the code, to five digits: size and train of the same rows.
COMPUTED_ROWS = [
    (0.06605, 0.05105), (0.06186, 0.05087), (0.10885, 0.10072), (0.10569, 0.10039),
    (0.10805, 0.10024), (0.10658, 0.10024), (0.10536, 0.10024), (0.10410, 0.10010),
    (0.06605, 0.05456), (0.11123, 0.10386), (0.15835, 0.15356), (0.15538, 0.15092),
]  # fmt: skip

DENSE_TRAIN_FLOPS = {
    "qmix": {"3m": 804108, "2s3z": 1534364, "3s5z": 2715704, "2c_vs_64zg": 1450184},
    "ow-qmix": {"3m": 2519381, "2s3z": 3952721, "3s5z": 6222434, "2c_vs_64zg": 4417118},
    "res": {"3m": 2647554, "2s3z": 9239138, "3s5z": 29460986, "2c_vs_64zg": 41500634},
}

WIDTHS = (
    *("obs_dim", "state_dim", "num_actions", "num_agents"),
    *("hidden", "embed", "hypernet", "central_embed"),
)

# Erdős-Rényi densities of 3m at sparsity 0.95, by layer.
ERDOS_RENYI_3M = {
    "agent/fc1/w": 0.0794,
    "agent/rnn/w_ih": 0.0420,
    "agent/rnn/w_hh": 0.0420,
    "agent/fc2/w": 0.2553,
    "mixer/hyper_w1/0/w": 0.0479,
    "mixer/hyper_w1/1/w": 0.0342,
    "mixer/hyper_wf/0/w": 0.0479,
    "mixer/hyper_wf/1/w": 0.0615,
    "mixer/hyper_b1/w": 0.0684,
    "mixer/value/0/w": 0.0684,
    "mixer/value/1/w": 1.0,
}


def account_map(algorithm: str, map_name: str, sparsity: float = 0.9, **kwargs: Any) -> Accounting:
    arguments: dict[str, Any] = asdict(MAPS[map_name]) | {"sparsity": sparsity} | kwargs
    return account(algorithm, **arguments)


@pytest.mark.parametrize("row", PRINTED_ROWS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_every_cell_of_the_paper_within_a_thousandth(row):
    algorithm, map_name, *numbers = row
    sparsity, size, train, test = map(float, numbers)
    accounting = account_map(algorithm, map_name, sparsity)
    assert accounting.size_ratio == pytest.approx(size, abs=1e-3)
    assert accounting.flops["train_ratio"] == pytest.approx(train, abs=1e-3)
    assert accounting.flops["test_ratio"] == pytest.approx(test, abs=1e-3)


@pytest.mark.parametrize(("row", "computed"), zip(PRINTED_ROWS, COMPUTED_ROWS, strict=True))
def test_every_cell_to_five_digits(row, computed):
    accounting = account_map(row[0], row[1], float(row[2]))
    size, train = computed
    assert accounting.size_ratio == pytest.approx(size, abs=6e-6)
    assert accounting.flops["train_ratio"] == pytest.approx(train, abs=6e-6)
    assert accounting.flops["test_ratio"] == pytest.approx(1 - float(row[2]), rel=1e-12)


# Weights, biases and forward FLOPs of agent, mixer and unrestricted mixer; the mixer's products.
@pytest.mark.parametrize(
    ("map_name", "agent_totals", "mixer_totals", "central_totals", "mixing"),
    [
        ("3m", (27840, 457, 55415), (17440, 321, 34559), (156928, 1026, 312830), 223),
        ("2s3z", (31424, 459, 62581), (35360, 385, 70335), (194304, 1026, 387582), 351),
        ("3s5z", (35072, 462, 69874), (59936, 481, 119391), (244224, 1026, 487422), 543),
        ("2c_vs_64zg", (54912, 518, 109498), (71840, 289, 143391), (307200, 1026, 613374), 159),
    ],
)
def test_dense_networks(map_name, agent_totals, mixer_totals, central_totals, mixing):
    def totals(layers):
        return tuple(
            sum(column)
            for column in zip(*((x.weights, x.biases, x.flops()) for x in layers), strict=True)
        )

    dims = MAPS[map_name]
    n = dims.num_agents
    assert totals(agent_layers(dims.obs_dim, dims.num_actions, n)) == agent_totals
    assert totals(qmix_mixer_layers(dims.state_dim, n)) == mixer_totals
    assert totals(central_mixer_layers(dims.state_dim, n)) == central_totals
    assert qmix_mixing_flops(n) == mixing


def test_layers_are_those_of_the_networks():
    def init(key):
        return {
            "agent": agent.init(key, inputs=42, hidden=64, actions=9),
            "mixer": qmix_mixer.init(key, state_dim=48, num_agents=3, embed=32, hypernet=64),
        }

    leaves, _ = jax.tree.flatten_with_path(jax.eval_shape(init, jax.random.key(0)))
    weights = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
        for path, leaf in leaves
        if leaf.ndim == 2
    }
    layers = agent_layers(30, 9, 3) + qmix_mixer_layers(48, 3)
    assert weights == {layer.name: (layer.outputs, layer.inputs) for layer in layers}
    biases = sum(leaf.size for _, leaf in leaves if leaf.ndim == 1)
    assert biases == sum(layer.biases for layer in layers)


def test_gru_flops_are_the_papers():
    inputs, hidden, density = 10, 7, 0.25
    w_ih = Layer("w_ih", inputs, 3 * hidden)
    w_hh = Layer("w_hh", hidden, 3 * hidden, accumulates=True)
    expected = density * 3 * hidden * (2 * (hidden + inputs) - 1)
    assert w_ih.flops(density) + w_hh.flops(density) == expected


@pytest.mark.parametrize("map_name", MAPS)
@pytest.mark.parametrize("algorithm", DENSE_TRAIN_FLOPS)
def test_dense_training_flops(algorithm, map_name):
    flops = account_map(algorithm, map_name).flops
    assert flops["train_dense"] == DENSE_TRAIN_FLOPS[algorithm][map_name]


def test_counts_of_qmix_on_3m():
    accounting = account_map("qmix", "3m", sparsity=0.95)
    weights, biases = 27840 + 17440, 457 + 321
    assert accounting.parameters == {
        "dense": weights + biases,
        "sparse": weights * 0.05 + biases,
    }
    assert accounting.flops["test_dense"] == 3 * 55415
    assert accounting.flops["test_sparse"] == round(3 * 55415 * 0.05)
    assert accounting.flops["train_sparse"] == round(4 * (0.05 * (3 * 55415 + 34559) + 223))


def test_vdn_has_no_mixer_layers():
    accounting = account_map("vdn", "3m")
    assert accounting.parameters["dense"] == 27840 + 457
    assert accounting.flops["train_dense"] == 4 * (3 * 55415 + 2)


def test_cw_qmix_costs_what_ow_qmix_costs():
    assert account_map("cw-qmix", "3m") == account_map("ow-qmix", "3m")


def test_widths_are_honoured():
    base = account_map("ow-qmix", "3m").dense
    for width in ("hidden", "embed", "hypernet", "central_embed"):
        assert account_map("ow-qmix", "3m", **{width: 8}).dense.parameters < base.parameters


@pytest.mark.parametrize("algorithm", TEAM)
def test_without_sparsity_every_ratio_is_one(algorithm):
    accounting = account_map(algorithm, "2s3z", sparsity=0.0)
    assert accounting.sparse == accounting.dense
    assert accounting.size_ratio == 1
    assert accounting.flops["train_ratio"] == accounting.flops["test_ratio"] == 1


@given(
    algorithm=st.sampled_from(TEAM),
    steps=st.lists(st.integers(0, 999), min_size=2, max_size=2, unique=True).map(sorted),
)
def test_ratios_fall_as_sparsity_rises(algorithm, steps):
    low, high = (account_map(algorithm, "3m", sparsity=step / 1000) for step in steps)
    assert high.size_ratio < low.size_ratio
    assert high.flops["train_ratio"] < low.flops["train_ratio"]
    assert high.flops["test_ratio"] < low.flops["test_ratio"]


def test_densities_replace_sparsity():
    uniform = account_map("qmix", "3m", sparsity=0.95)
    flat = account_map("qmix", "3m", sparsity=0.5, densities=dict.fromkeys(ERDOS_RENYI_3M, 0.05))
    assert flat.size_ratio == pytest.approx(uniform.size_ratio)
    assert flat.flops == pytest.approx(uniform.flops)


def test_each_layer_counts_at_its_own_density():
    accounting = account_map("qmix", "3m", densities=ERDOS_RENYI_3M | {"agent/rnn/w_hh": 1.0})
    without = account_map("qmix", "3m", densities=ERDOS_RENYI_3M | {"agent/rnn/w_hh": 0.0})
    links = 64 * 192
    assert accounting.sparse.parameters - without.sparse.parameters == pytest.approx(links)
    difference = accounting.sparse.test_flops - without.sparse.test_flops
    assert difference == pytest.approx(3 * 2 * links)


def test_erdos_renyi_changes_no_printed_digit():
    accounting = account_map("qmix", "3m", densities=ERDOS_RENYI_3M)
    assert round(accounting.size_ratio, 3) == 0.066
    assert round(accounting.flops["train_ratio"], 3) == 0.051
    assert round(accounting.flops["test_ratio"], 3) == 0.050


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.2, float("nan")])
def test_sparsity_out_of_range(sparsity):
    with pytest.raises(InputError, match=rf"^sparsity must lie in \[0, 1\), got {sparsity}$"):
        account_map("qmix", "3m", sparsity=sparsity)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("value", [0, -3])
def test_widths_must_be_positive(width, value):
    with pytest.raises(InputError, match=f"^{width} must be at least 1, got {value}$"):
        account_map("qmix", "3m", **{width: value})


def test_unknown_algorithm_names_the_nearest():
    with pytest.raises(InputError, match=r"unknown algorithm 'qmx': did you mean .*'qmix'"):
        account_map("qmx", "3m")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"agent/fc1": 0.5}, "unknown layer 'agent/fc1'"),
        ({"agent/fc1/w": 1.5}, r"density of agent/fc1/w must lie in \[0, 1\], got 1.5"),
        ({"agent/fc1/w": -0.5}, r"density of agent/fc1/w must lie in \[0, 1\], got -0.5"),
    ],
)
def test_wrong_densities(change, message):
    with pytest.raises(InputError, match=message):
        account_map("qmix", "3m", densities=ERDOS_RENYI_3M | change)


def test_missing_density():
    partial = {k: v for k, v in ERDOS_RENYI_3M.items() if k != "agent/fc2/w"}
    with pytest.raises(InputError, match=r"every layer, missing agent/fc2/w$"):
        account_map("qmix", "3m", densities=partial)


def test_to_json_round_trips():
    accounting = account_map("res", "2s3z")
    document = json.loads(json.dumps(accounting.to_json()))
    assert document == {
        "size_ratio": accounting.size_ratio,
        "flops": accounting.flops,
        "parameters": accounting.parameters,
    }


def test_paper_rows_are_the_printed_ones():
    rows = [
        (row.algorithm, row.map_name, row.sparsity, row.size, row.train, row.test)
        for row in PAPER_ROWS
    ]
    assert rows == [(a, m, *map(float, numbers)) for a, m, *numbers in PRINTED_ROWS]


def test_comparison_of_every_row():
    rows = json.loads(json.dumps(compare()))
    assert [(row["algorithm"], row["map"]) for row in rows] == [(r[0], r[1]) for r in PRINTED_ROWS]
    for row, printed, computed in zip(rows, PRINTED_ROWS, COMPUTED_ROWS, strict=True):
        assert [row[column]["printed"] for column in ("size", "train", "test")] == [
            float(number) for number in printed[3:]
        ]
        assert row["size"]["computed"] == pytest.approx(computed[0], abs=6e-6)
        assert row["train"]["computed"] == pytest.approx(computed[1], abs=6e-6)
        for cell in (row["size"], row["train"], row["test"]):
            assert cell["difference"] == cell["computed"] - cell["printed"]


def test_table_shows_printed_beside_computed_in_80_columns():
    console = Console(width=80)
    with console.capture() as capture:
        console.print(comparison_table())
    lines = capture.get().splitlines()
    shown = [line.split() for line in lines if any(name in line for name in MAPS)]
    assert [line[:2] for line in shown] == [[r[1], f"{float(r[2]):.2f}"] for r in PRINTED_ROWS]
    # OW-QMIX on 2s3z, where print and count are furthest apart.
    assert shown[5][2:] == [
        *(".106", ".1066", "+.0006"),
        *(".100", ".1002", "+.0002"),
        *(".100", ".1000", "+.0000"),
    ]


@pytest.mark.parametrize("algorithm", ACTOR_CRITIC)
def test_parameters_of_control_are_those_of_the_networks(algorithm):
    config = replace(defaults(algorithm), algorithm=algorithm)
    params = jax.eval_shape(make_control(ControlSpec(17, 6, 1000), config).init, jax.random.key(0))
    names = list(weight_shapes(params))
    counted = account_actor_critic(
        algorithm, obs_dim=17, action_dim=6, densities=dict.fromkeys(names, 0.5)
    )
    params.pop("temperature", None)  # One number that is no part of a network.
    sizes = {name: leaf.size for name, leaf in by_name(params).items()}
    assert counted.parameters["dense"] == sum(sizes.values())
    weights = sum(sizes[name] for name in names)
    assert counted.parameters["sparse"] == sum(sizes.values()) - weights // 2
    with pytest.raises(InputError, match="missing critic2/2/w"):
        account_actor_critic(
            algorithm, obs_dim=17, action_dim=6, densities=dict.fromkeys(names[:-1], 0.5)
        )


def test_flops_of_control_by_hand():
    widths = {"actor": (3, 4, 4, 2), "critic1": (5, 4, 4, 1), "critic2": (5, 4, 4, 1)}

    def forward(name):
        return sum((2 * i - 1) * o for i, o in itertools.pairwise(widths[name]))

    ones = {f"{name}/{i}/w": 1.0 for name in widths for i in range(3)}
    td3 = account_actor_critic("td3", obs_dim=3, action_dim=2, hidden=4, densities=ones).dense
    # Both critics learn and value a target action; every second time the actor through the first.
    expected = 2 * 4 * forward("critic1") + forward("actor")
    expected += (3 * forward("actor") + 3 * forward("critic1")) / 2
    assert td3.train_flops == expected
    assert td3.test_flops == forward("actor")
    widths["actor"] = (3, 4, 4, 4)
    sac = account_actor_critic("sac", obs_dim=3, action_dim=2, hidden=4, densities=ones).dense
    assert sac.train_flops == 2 * (4 + 3) * forward("critic1") + (1 + 3) * forward("actor")
    # The entropies of two more states.
    three = account_actor_critic(
        "sac", obs_dim=3, action_dim=2, hidden=4, densities=ones, rewards=3
    ).dense
    assert three.train_flops == sac.train_flops + 2 * forward("actor")
