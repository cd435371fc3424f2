"""Continuous control from the command to the result: it learns, it is written down, it goes on."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sparl import cli, config_file
from sparl.compute import native
from sparl.config import ControlConfig, NetworkConfig, TargetConfig
from sparl.errors import InputError
from sparl.methods import resolve
from sparl.presets import defaults
from sparl.replay import transitions
from sparl.topology import by_lambdas
from sparl.train import evaluation, loop, snapshot, start
from sparl.train.checkpoint import CheckpointStore
from sparl.train.masks import load_masks
from sparl.train.program import build
from test_transitions import Lanes


def pendulum(algorithm, method, **settings):
    config = defaults(algorithm, method)
    topology = {"lambdas": "7,16"} if config.topology.distribution == "lambda" else {}
    if method != "dense":
        topology["interval"] = 500
    ds = {"finish": 0.8} if method == "ds" else {}
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
            config.control,
            random_steps=1000,
            critic_sparsity=0.5 if sparse else 0.0,
            **({"min_replay": 5000} if method == "rlx2" else {}),
            **ds,
        ),
        sparsity=0.5,
        **settings,
    )


needs_kernels = pytest.mark.skipif(bool(native.unavailable()), reason="no kernels")


def metrics(run_dir):
    return list(map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "method", "compute", "steps"),
    [
        ("td3", "ds", "auto", 8000),
        pytest.param("sac", "rlx2", "sparse", 6000, marks=needs_kernels),
    ],
)
def test_the_pendulum_is_swung_up(algorithm, method, compute, steps, tmp_path, capsys):
    config = pendulum(algorithm, method, total_steps=steps, compute=compute)
    result = start.train(config, run_dir=tmp_path / "run")
    lines = metrics(tmp_path / "run")
    returns = [line["return"] for line in lines if line["kind"] == "eval"]
    # A policy that does nothing is at -1200 or below, a perfect one at about -150.
    assert returns[0] < -700
    assert max(returns[-2:]) > -450
    assert result.updates == steps - 1000
    assert result.win_rate is None
    assert result.sparsity["measured"] == pytest.approx(0.47, abs=0.05)
    assert 0.4 < result.size_ratio < 0.6
    # DS drops links after 80 % of all updates, at the end of their interval.
    last = {"prune"} if method == "ds" else set()
    kinds = {line["kind"] for line in lines}
    assert kinds == {"train", "eval", "network", "topology"} | last
    assert [line["env_steps"] for line in lines if line["kind"] == "prune"] == [7000] * len(last)
    train = next(line for line in lines if "critic_loss" in line)
    assert {"q", "target", "td_error", "actor_loss", "critic_grad_norm"} <= train.keys()
    outcome = evaluation.evaluate(tmp_path / "run", episodes=3)
    assert outcome["per_seed"][0].keys() == {"seed", "return", "episode_length"}
    assert outcome["per_seed"][0]["episode_length"] == 200
    capsys.readouterr()
    picture = tmp_path / "masks.png"
    assert cli.main(["inspect", str(tmp_path / "run"), "--json", "--out", str(picture)]) == 0
    report = json.loads(capsys.readouterr().out)
    seen = [{name: layer[name] for name in result.layers[0]} for layer in report["layers"]]
    assert seen == result.layers
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_steps_go_into_the_log_once_and_come_back(tmp_path):
    config = pendulum("td3", "dense", num_envs=2, total_steps=2000, workers="process")
    config = dataclasses.replace(config, replay=dataclasses.replace(config.replay, capacity=60))
    config = dataclasses.replace(
        config, chunk=4, replay=dataclasses.replace(config.replay, batch_size=16)
    )
    program = build(resolve(config))
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


def plain(state):
    """A learner as arrays."""
    return jax.tree.map(
        lambda x: np.array(
            jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        ),
        state.learner,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "num_envs", "forms"),
    [
        ("local", 1, ("auto",) * 3),
        pytest.param("process", 2, ("sparse", "masked", "sparse"), marks=needs_kernels),
    ],
)
def test_a_run_goes_on(workers, num_envs, forms, tmp_path, monkeypatch):
    """In the form of compute that it began in, or in the other one."""
    config = pendulum(
        "td3", "ds", total_steps=2400, workers=workers, num_envs=num_envs, compute=forms[0]
    )
    # Links are dropped for good after update 1000, at env step 2000.
    control = dataclasses.replace(config.control, finish=0.6)
    config = dataclasses.replace(config, checkpoint_every=600, control=control)
    chunk, save = loop.Run._chunk, loop.Run._save
    saved, resumed = [], []

    def stopping(run, state):
        if run.books.env_steps == 1400:
            raise KeyboardInterrupt
        return chunk(run, state)

    def saving(run, state):
        save(run, state)
        saved.append((plain(run._portable(state)), jax.tree.map(np.array, state.ring)))

    monkeypatch.setattr(loop.Run, "_chunk", stopping)
    monkeypatch.setattr(loop.Run, "_save", saving)
    with pytest.raises(loop.RunInterruptedError, match=r"continues from .* env step 1200"):
        start.train(config, run_dir=tmp_path / "run")

    def resume(form):
        file = tmp_path / "run" / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"compute": form}))
        return start.resume(tmp_path / "run")

    def looking(run, state):
        if not resumed:
            portable = run._portable(state)
            resumed.append((plain(portable), jax.tree.map(np.array, state.ring)))
        if run.books.env_steps == 2200 != run.saved:
            run._stop(state)
        return chunk(run, state)

    monkeypatch.setattr(loop.Run, "_chunk", looking)
    monkeypatch.setattr(loop.Run, "_save", save)
    with pytest.raises(loop.RunInterruptedError, match=r"stopped at env step 2200"):
        # After the last change of the topology, at the end of the second interval.
        resume(forms[1])
    checkpoints = CheckpointStore(tmp_path / "run" / "checkpoints")
    masks = [x for name, x in checkpoints.restore().state.items() if "learner/topology" in name]
    assert evaluation.evaluate(tmp_path / "run", episodes=1)["env_steps"] == 2200
    result = resume(forms[2])
    assert (result.env_steps, result.updates) == (2400, 1400)
    links = sum(layer["links"] for layer in result.layers)
    assert links == sum(mask.sum() for mask in masks)
    first = load_masks(tmp_path / "run" / "topology")[0]
    assert links < sum(mask.sum() for mask in first.values())
    (prune,) = (line for line in metrics(tmp_path / "run") if line["kind"] == "prune")
    assert (prune["env_steps"], prune["update"]) == (2000, 1000)
    assert prune["dropped"]["actor/1/w"] == pytest.approx(0.05, abs=0.01)
    (learner, ring), (own_learner, own_ring) = resumed[0], saved[-1]
    jax.tree.map(np.testing.assert_array_equal, learner, own_learner)
    for lane in range(num_envs):
        end = own_ring.added[0, lane]
        assert end > 1200 / num_envs
        for found, expected in zip(ring.rows, own_ring.rows, strict=True):
            np.testing.assert_array_equal(found[0, lane, :end], expected[0, lane, :end])
    steps = [line["env_steps"] for line in metrics(tmp_path / "run")]
    assert steps == sorted(steps)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"method": "mast"}, "which --method mast has, is not for td3, as .* of dense, static"),
        ({"target": TargetConfig(kind="td_lambda")}, "target.kind 'td_lambda' is not for td3, as"),
        ({"sparsity": 1.5}, r"sparsity must lie in \[0, 1\), got 1.5"),
        ({"sparsity": 0.9}, "sparsity 0.9 changes nothing, as densities follow from topology.lamb"),
        (
            {"total_steps": 20_000},
            r"total_steps must be above control.random_steps \(25000\), after",
        ),
        ({"algorithm": "ppo"}, "unknown algorithm 'ppo'"),
        ({"env_timeout": 5.0}, "env_timeout 5.0 changes nothing, as workers is 'local'"),
        ({"chunk": 600_000}, "replay.capacity must be above the 1200000 rows that a chunk may"),
        ({"num_seeds": 2}, "num_seeds 2 changes nothing"),
        ({"control": ControlConfig(finish=-1.0)}, r"control.finish must lie in \[0, 1\], got -1.0"),
        ({"control": ControlConfig(finish=math.nan)}, r"control.finish must lie in \[0, 1\]"),
        ({"env": "smax:3m"}, "td3 is for continuous control: pass --env gym:NAME, or"),
    ],
)
def test_what_does_not_go_together(settings, match, tmp_path):
    config = dataclasses.replace(defaults("td3"), **settings)
    with pytest.raises(InputError, match=match):
        start.train(config, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_rlx2_cannot_go_by():
    config = defaults("td3", "rlx2")

    def refused(match, **groups):
        changed = {
            name: dataclasses.replace(getattr(config, name), **own) for name, own in groups.items()
        }
        with pytest.raises(InputError, match=match):
            resolve(dataclasses.replace(config, **changed))

    refused("control.min_replay must be below replay.capacity", replay={"capacity": 50_000})
    refused("topology.interval must be at least 2", topology={"interval": 1})
    refused("sparsity 0.9 changes nothing", topology={"distribution": "lambda"})


def test_a_short_file_is_filled_up_with_the_algorithms_own(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"algorithm": "td3", "method": "rlx2", "network": {"hidden": 64}}')
    config = config_file.load(path)
    usual = defaults("td3", "rlx2")
    assert config == dataclasses.replace(usual, network=NetworkConfig(hidden=64))
    for algorithm in ("comix", "qmix"):
        config_file.save(defaults(algorithm), path)
        assert cli.main(["train", "--config", str(path), "--algorithm", "td3"]) == 2


def test_a_team_does_not_swing_a_pendulum(tmp_path):
    config = dataclasses.replace(defaults("qmix"), env="gym:Pendulum-v1")
    with pytest.raises(
        InputError, match="qmix is for teams with discrete ones: pass --algorithm td3"
    ):
        start.train(config, run_dir=tmp_path / "run")


@pytest.mark.parametrize(("columns", "least"), [(3, "0.989"), (14, "0.949"), (17, "0.938")])
def test_the_least_lambda_that_is_named_is_enough(columns, least):
    shapes = {"actor/0/w": (256, columns), "actor/1/w": (6, 256)}
    with pytest.raises(InputError, match=rf"leaves actor/0/w .* {least} is the least"):
        by_lambdas("0.5")(shapes, 0.0)
    assert by_lambdas(least)(shapes, 0.0)["actor/0/w"] * 256 * columns >= 256


@pytest.mark.parametrize("lambdas", ["7", "7,64,3", "7,x", "7,-1", ""])
def test_lambdas_that_will_not_do(lambdas, tmp_path):
    config = defaults("td3")
    config = dataclasses.replace(
        config,
        env="gym:Pendulum-v1",
        topology=dataclasses.replace(config.topology, lambdas=lambdas),
    )
    with pytest.raises(InputError, match=r"topology\.lambdas"):
        start.train(config, run_dir=tmp_path / "run")
