"""The tiny method's widths: the largest whose parameters fit those of the sparse network."""

import dataclasses

import jax
import pytest

from sparl import targets
from sparl.algorithms import fit, make
from sparl.algorithms.tiny import _parameters
from sparl.config import Config, TargetConfig
from sparl.errors import InputError
from sparl.spec import EnvSpec

# SMAC's dimensions, and what the widths of MAST's maps come to.
MAPS = {
    "3m": EnvSpec(num_agents=3, num_actions=9, obs_dim=30, state_dim=48, episode_limit=60),
    "2s3z": EnvSpec(num_agents=5, num_actions=11, obs_dim=80, state_dim=120, episode_limit=120),
    "3s5z": EnvSpec(num_agents=8, num_actions=14, obs_dim=128, state_dim=216, episode_limit=150),
    "2c_vs_64zg": EnvSpec(
        num_agents=2, num_actions=70, obs_dim=332, state_dim=342, episode_limit=400
    ),
}
TARGET = targets.compose(TargetConfig("one_step", "double_q"), gamma=0.99, total_steps=1)


def config_of(sparsity, algorithm="qmix"):
    return Config(algorithm=algorithm, sparsity=sparsity)


@pytest.mark.parametrize(
    ("name", "sparsity", "widths"),
    [
        ("3m", 0.95, (13, 3, 6)),
        ("2s3z", 0.95, (11, 2, 4)),
        ("3s5z", 0.9, (15, 4, 8)),
        ("3m", 0.9, (18, 5, 10)),
        ("2s3z", 0.9, (16, 4, 8)),
        ("3s5z", 0.85, (19, 6, 12)),
        ("2c_vs_64zg", 0.9, (10, 3, 6)),
        ("2c_vs_64zg", 0.85, (15, 5, 10)),
    ],
)
def test_widths_of_the_papers_maps(name, sparsity, widths):
    network = fit(MAPS[name], config_of(sparsity), TARGET)
    assert (network.hidden, network.embed, network.hypernet) == widths


@pytest.mark.parametrize(
    ("name", "width"), [("3m", 68), ("2s3z", 56), ("3s5z", 47), ("2c_vs_64zg", 41)]
)
def test_width_of_the_central_mixer(name, width):
    assert fit(MAPS[name], config_of(0.9, "ow-qmix"), TARGET).central_embed == width


def test_one_wider_would_not_fit():
    config = config_of(0.95)
    network = fit(MAPS["3m"], config, TARGET)

    def size(network):
        algorithm = make(MAPS["3m"], dataclasses.replace(config, network=network), TARGET)
        return _parameters(jax.eval_shape(algorithm.init, jax.random.key(0)))

    assert size(network)["agent"] <= 1849 < size(dataclasses.replace(network, hidden=14))["agent"]


def test_too_small_a_budget_is_refused():
    spec = dataclasses.replace(MAPS["3m"], obs_dim=30_000)
    network = dataclasses.replace(Config().network, hidden=8)
    with pytest.raises(InputError, match="too few for a dense one of width 1"):
        fit(spec, dataclasses.replace(config_of(0.9), network=network), TARGET)
