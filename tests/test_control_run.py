"""Continuous control from the command to the result: it learns, it is written down, it goes on."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sparl.compute import native
from sparl.config import defaults
from sparl.errors import InputError
from sparl.methods import resolve
from sparl.replay import transitions
from sparl.train import evaluation, loop, snapshot
from sparl.train.checkpoint import CheckpointStore
from sparl.train.program import build
from test_transitions import Lanes

pytestmark = pytest.mark.filterwarnings("ignore:compiler attribute:Warning")


def pendulum(algorithm, method, **settings):
    config = defaults(algorithm, method)
    topology = {"lambdas": "7,16"} if config.topology.distribution == "lambda" else {}
    if method != "dense":
        topology["interval"] = 500
    sparse = config.sparsity == 0.9
    return dataclasses.replace(
        config,
        env="gym:Pendulum-v1",
        chunk=20,
        eval_every=1000,
        log_every=1000,
        network=dataclasses.replace(config.network, hidden=64),
        replay=dataclasses.replace(config.replay, capacity=20_000, batch_size=100),
        optimizer=dataclasses.replace(config.optimizer, lr=1e-3),
        topology=dataclasses.replace(config.topology, **topology),
        control=dataclasses.replace(
            config.control, random_steps=1000, critic_sparsity=0.5 if sparse else 0.0
        ),
        sparsity=0.5,
        **settings,
    )


def metrics(run_dir):
    return list(map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines()))


@pytest.mark.parametrize(
    ("algorithm", "method", "compute", "steps"),
    [
        ("td3", "ds", "auto", 8000),
        pytest.param(
            "sac", "rlx2", "sparse", 6000,
            marks=pytest.mark.skipif(bool(native.unavailable()), reason="no kernels"),
        ),
    ],
)  # fmt: skip
def test_the_pendulum_is_swung_up(algorithm, method, compute, steps, tmp_path):
    config = pendulum(algorithm, method, total_steps=steps, compute=compute)
    result = loop.train(config, run_dir=tmp_path / "run")
    lines = metrics(tmp_path / "run")
    returns = [line["return"] for line in lines if line["kind"] == "eval"]
    # A policy that does nothing is at -1200 or below, a perfect one at about -150.
    assert returns[0] < -700
    assert max(returns[-2:]) > -450
    assert result.updates == steps - 1000
    assert result.win_rate is None
    assert result.sparsity["measured"] == pytest.approx(0.47, abs=0.05)
    assert 0.4 < result.size_ratio < 0.6
    kinds = {line["kind"] for line in lines}
    assert kinds == {"train", "eval", "network", "topology"}
    train = next(line for line in lines if "critic_loss" in line)
    assert {"q", "target", "td_error", "actor_loss", "critic_grad_norm"} <= train.keys()
    outcome = evaluation.evaluate(tmp_path / "run", episodes=3)
    assert outcome["per_seed"][0].keys() == {"seed", "return", "episode_length"}
    assert outcome["per_seed"][0]["episode_length"] == 200


def test_steps_go_into_the_log_once_and_come_back(tmp_path):
    config = resolve(pendulum("td3", "dense", num_envs=2, total_steps=1000))
    config = dataclasses.replace(config, replay=dataclasses.replace(config.replay, capacity=60))
    program = build(config)
    lanes, store = Lanes(2, 0), CheckpointStore(tmp_path)
    state = program.init(program.seeds)

    def rows():
        played, count = lanes.play(4)
        # Pendulum observes three numbers.
        wide = jnp.pad(played.obs, ((0, 0), (0, 0), (0, 1)))
        return jax.tree.map(lambda x: x[None], played._replace(obs=wide)), count[None]

    insert = jax.vmap(transitions.insert)
    for step in range(1, 13):
        state = state._replace(ring=insert(state.ring, *rows()))
        if step in (3, 4, 9, 12):
            segments, live_from = snapshot.new_rows(state.ring, store.ends())
            store.save(step, snapshot.state_arrays(state), {}, segments, live_from)
    store.wait()
    found = snapshot.restore(program.template, CheckpointStore(tmp_path).restore()).ring
    length = state.ring.rows.reward.shape[-1]
    for lane in range(2):
        end, live = (int(x[0, lane]) for x in (state.ring.added, state.ring.live))
        # What was seen now was seen last, as episodes begin anew.
        assert found.added[0, lane] == end + 1
        assert found.live[0, lane] == min(live + 1, length - 1)
        assert found.rows.final[0, lane, end % length]
        assert found.rows.obs[0, lane, end % length, 0] == lanes.now[lane]
        places = np.arange(end - live, end) % length
        for name, leaf in state.ring.rows._asdict().items():
            own = getattr(found.rows, name)
            np.testing.assert_array_equal(own[0, lane, places], leaf[0, lane, places])


def test_a_run_goes_on(tmp_path, monkeypatch):
    config = pendulum("td3", "ds", total_steps=2400)
    config = dataclasses.replace(config, checkpoint_every=600)
    whole = loop._Run._chunk

    def stopping(run, state):
        if run.books.env_steps == 1400:
            raise KeyboardInterrupt
        return whole(run, state)

    monkeypatch.setattr(loop._Run, "_chunk", stopping)
    with pytest.raises(loop.RunInterruptedError, match=r"continues from .* env step 1200"):
        loop.train(config, run_dir=tmp_path / "run")
    monkeypatch.setattr(loop._Run, "_chunk", whole)
    result = loop.resume(tmp_path / "run")
    assert (result.env_steps, result.updates) == (2400, 1400)
    steps = [line["env_steps"] for line in metrics(tmp_path / "run")]
    assert steps == sorted(steps)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"method": "mast"}, "is not for td3, .* choose a --method of dense, static"),
        ({"sparsity": 0.9}, "sparsity 0.9 changes nothing, as densities follow from topology.lamb"),
        ({"num_seeds": 2}, "num_seeds 2 changes nothing"),
        ({"env": "smax:3m"}, "td3 is for continuous control: pass --env gym:NAME"),
    ],
)
def test_what_does_not_go_together(settings, match, tmp_path):
    config = dataclasses.replace(defaults("td3"), **settings)
    with pytest.raises(InputError, match=match):
        loop.train(config, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_team_does_not_swing_a_pendulum(tmp_path):
    config = dataclasses.replace(defaults("qmix"), env="gym:Pendulum-v1")
    with pytest.raises(InputError, match="qmix is for teams with discrete actions: pass"):
        loop.train(config, run_dir=tmp_path / "run")


@pytest.mark.parametrize("lambdas", ["7", "7,64,3", "7,x", "7,-1", ""])
def test_lambdas_that_will_not_do(lambdas, tmp_path):
    config = defaults("td3")
    config = dataclasses.replace(
        config,
        env="gym:Pendulum-v1",
        topology=dataclasses.replace(config.topology, lambdas=lambdas),
    )
    with pytest.raises(InputError, match=r"topology\.lambdas"):
        loop.train(config, run_dir=tmp_path / "run")
