"""What the `sparl` command refuses, and what it keeps its hands off."""

import shutil

import pytest

from commands import DIMS, contents
from sparl.compute import native

REFUSED = {
    "sparsity 1.2": ("--sparsity 1.2", "sparsity must lie in [0, 1), got 1.2"),
    "sparsity 1": ("--sparsity 1", "sparsity must lie in [0, 1), got 1.0"),
    "sparsity -0.1": ("--sparsity -0.1", "sparsity must lie in [0, 1), got -0.1"),
    "sparsity nan": ("--sparsity nan", "sparsity must lie in [0, 1), got nan"),
    "too sparse": (
        "--sparsity 0.98",
        "fewer than one each; the highest that keeps one per output everywhere is 0.979",
    ),
    "interface": ("--env smux:3m", "unknown environment interface 'smux': did you mean 'smax'"),
    "no interface": ("--env 3m", "an environment is named INTERFACE:NAME"),
    "map": ("--env smax:3s5x", "unknown SMAX map '3s5x': did you mean '3s5z' or"),
    "method": ("--method masst", "unknown method 'masst': did you mean 'mast' or"),
    "algorithm": ("--algorithm qmixx", "unknown algorithm 'qmixx': did you mean 'qmix' or"),
    "topology": ("--topology.kind rigle", "unknown topology kind 'rigle': did you mean 'rigl'?"),
    "target": (
        "--target.kind one-step",
        "unknown target kind 'one-step': did you mean 'one_step'",
    ),
    "compute": ("--compute mask", "unknown compute 'mask': did you mean 'masked'?"),
    "flag": ("--sparsty 0.5", "--sparsity FLOAT"),
    "not a number": ("--seed one", "invalid literal for int() with base 10: 'one'"),
    "no value": ("--sparsity", "--sparsity"),
    "dense, masked": (
        "--method dense --compute masked",
        "compute 'masked' is for weights of which some are absent, and none is",
    ),
    "dense, sparse": ("--method dense --compute sparse", "compute 'sparse' is for weights"),
    "sparse, none absent": ("--method mast --sparsity 0", "sparsity 0 leaves none absent"),
    "sparse, dense": ("--method mast --compute dense", "compute 'dense' keeps every link"),
    "learning rate": ("--optimizer.lr inf", "optimizer.lr must be finite and above 0, got inf"),
    "batch size": ("--replay.batch-size 0", "replay.batch_size must lie in [1, 2**30], got 0"),
    "batch of all": (
        "--replay.capacity 8",
        "replay.batch_size must be at most replay.capacity (8), got 32",
    ),
    "seed below 0": ("--seed -1", "seed must"),
    "seed too large": ("--seed 2147483648", "seed must"),
    "last seed too large": ("--seed 2147483640 --num-seeds 10", "seed"),
    "too many steps": ("--total-steps 3000000000", "total_steps must"),
    "few episodes": ("--replay.capacity 150 --replay.reserve 0.1", "fewer than replay.batch_size"),
    "huge replay": ("--replay.capacity 1000000000", "lower --replay.capacity"),
    "huge number": ("--exploration.anneal-steps 3000000000", "anneal_steps must lie in"),
    "no gradient step": ("--topology.interval 1", "topology.interval must be at least 2, got 1"),
    "window": ("--replay.window 6000", "replay.window must be at most replay.capacity (5000)"),
    "chunk": ("--eval-every 100", "eval_every must be at least the 200 env steps of a chunk"),
    "embedding of VDN": (
        "--algorithm vdn --network.embed 8",
        "network.embed 8 changes nothing, as algorithm is 'vdn': leave --network.embed at its "
        "default 32, or choose --algorithm qmix",
    ),
    "lambda of one step": (
        "--method rigl --target.lam 0.8",
        "target.lam 0.8 changes nothing, as target.kind is 'one_step': leave --target.lam at its "
        "default 0.6, or choose --target.kind td_lambda",
    ),
    "burn-in of one step": ("--target.kind one_step --target.burn-in 0", "leave --target.burn-in"),
    "operator of RES": (
        "--algorithm res --target.operator max",
        "RES is what values by subspace_softmax, and --target.operator is 'max' with --algorithm",
    ),
    "RES's operator": ("--target.operator subspace_softmax", "leave it to the algorithm"),
    "weights of QMIX": ("--weighting.alpha 0.1", "choose --algorithm ow-qmix or cw-qmix"),
    "threshold of uniform": ("--replay.threshold 0.1", "choose --replay.kind dynamic"),
    "n of one step": ("--method rigl --target.n 5", "choose --target.kind n_step"),
    "tiny, none absent": ("--method tiny --sparsity 0", "sparsity 0 leaves none absent"),
    "window of uniform": ("--method set --replay.window 50", "choose --replay.kind dual"),
    "interval of static": ("--method static --topology.interval 9", "topology.kind set or rigl"),
    "discrete actions": (
        "--algorithm td3 --env gym:CartPole-v1",
        "action space Discrete(2): Gymnasium's environments need continuous actions",
    ),
    "a robot that there is not": (
        "--algorithm sac --env gym:HalfCheeta-v5",
        "did you mean 'HalfCheetah-v5'",
    ),
    "a team for one agent": (
        "--algorithm td3 --env smax:3m",
        "is an environment of a team with discrete actions, and td3 is for continuous control",
    ),
    "no file": ("--config missing.json", "cannot read missing.json: No such file or directory"),
}


CONFIGS = {
    "unknown field": (
        '{"sparsty": 0.9}',
        "unknown field in config.json 'sparsty': did you mean 'sparsity'",
    ),
    "unknown inner field": (
        '{"replay": {"size": 9}}',
        "unknown field in config.json: replay 'size'",
    ),
    "wrong type": ('{"sparsity": "0.9"}', "config.json: sparsity must be float, got '0.9'"),
    "fraction of a seed": ('{"seed": 0.5}', "config.json: seed must be int, got 0.5"),
    "out of range": ('{"sparsity": 2}', "sparsity must lie in [0, 1), got 2.0"),
    "list": ("[]", "config.json: expected an object, got []"),
    "cut off": ('{"seed": 0', "config.json is not JSON"),
    "other": ("\udcff", "config.json is not JSON"),
}


@pytest.mark.parametrize(("flags", "words"), REFUSED.values(), ids=REFUSED)
def test_bad_flags_are_refused_before_anything_is_written(flags, words, run, tmp_path):
    code, out, err = run(f"train {flags}")
    assert code == 2
    assert words in err
    assert "compiling" not in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("text", "words"), CONFIGS.values(), ids=CONFIGS)
def test_bad_config_is_refused(text, words, run, tmp_path):
    (tmp_path / "config.json").write_text(text, errors="surrogateescape")
    code, _, err = run("train --config config.json")
    assert code == 2
    assert words in err
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("trian", "unknown command 'trian': did you mean 'train'"),
        ("--sparsity 0.5", "usage: sparl COMMAND"),
        (f"flops {DIMS} --sparsity 1", "sparsity must lie in [0, 1), got 1.0"),
        (f"flops {DIMS} --algorithm qmax", "unknown algorithm 'qmax': did you mean 'qmix'"),
        ("flops --algorithm td3", "a run of td3 shows its FLOPs at its end"),
        ("flops --obs-dim 30", "pass --state-dim, --num-actions, --num-agents"),
        ("flops --obs-dim -1 --state-dim 1 --num-actions 1 --num-agents 1", "got -1"),
        ("eval run --episodes 0", "episodes must be at least 1, got 0"),
        ("eval run --seed -1", "seed must lie in"),
    ],
)
def test_other_commands_refuse_bad_input_too(line, words, run):
    code, out, err = run(line)
    assert code == 2
    assert words in out + err


@pytest.mark.parametrize("command", ["resume", "eval", "inspect"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing", "missing is not a run folder: it does not exist"),
        ("notes", "notes is not a run folder: it has no config.json"),
        ("notes/diary", "notes/diary is not a run folder"),
    ],
)
def test_folder_that_is_no_run_is_refused(command, name, words, run, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/diary").write_text("dear")
    code, _, err = run(f"{command} {name}")
    assert code == 2
    assert words in err
    assert contents(tmp_path) == {"notes/diary": b"dear"}


@pytest.mark.parametrize("overwrite", ["", "--overwrite"])
@pytest.mark.parametrize("others", ["diary", "config.json"])
def test_folder_of_something_else_is_never_deleted(others, overwrite, run, tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / others).write_text('{"model_type": "bert"}')
    before = contents(folder)
    code, _, err = run(f"train --run-dir notes {overwrite}")
    assert code == 2
    assert "notes exists and is not a run: choose another --run-dir" in err
    assert contents(folder) == before


@pytest.mark.parametrize("run_dir", ["diary", "diary/run"])
def test_file_in_the_way_stays(run_dir, run, tmp_path):
    (tmp_path / "diary").write_text("dear")
    code, _, err = run(f"train --overwrite --run-dir {run_dir}")
    assert code == 2
    assert run_dir in err
    assert contents(tmp_path) == {"diary": b"dear"}


@pytest.mark.slow
def test_run_is_never_overwritten_unasked(run, reference):
    before = contents(reference)
    code, _, err = run("train --run-dir", reference)
    assert code == 2
    assert f"{reference} already holds a run" in err
    for way_out in (f"sparl resume {reference}", "--overwrite", "--run-dir"):
        assert way_out in err
    assert contents(reference) == before


@pytest.mark.slow
@pytest.mark.parametrize("flags", ["--env smax:3s5x", "--sparsity 0.999", "--method mst"])
def test_bad_input_overwrites_nothing(flags, run, reference, tmp_path):
    shutil.copytree(reference, tmp_path / "run")
    assert run(f"train --run-dir run --overwrite {flags}")[0] == 2
    assert contents(tmp_path / "run") == contents(reference)


@pytest.mark.slow
def test_link_to_a_run_is_refused_in_words(run, reference, tmp_path):
    shutil.copytree(reference, tmp_path / "run")
    (tmp_path / "link").symlink_to("run")
    code, _, err = run("train --run-dir link --overwrite")
    assert code == 2
    assert "link" in err
    assert contents(tmp_path / "run") == contents(reference)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--env smax:3s5x", "error: unknown SMAX map '3s5x': did you mean '3s5z'"),
        ("--sparsty 0.5", "--sparsity FLOAT"),
    ],
)
def test_process_exits_with_2_on_bad_input(line, words, sparl, tmp_path):
    done = sparl("train", "--run-dir", tmp_path / "run", *line.split())
    assert done.returncode == 2
    assert done.stdout == ""
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", ["--obs-dim 30", "--sparsity 0.9", "--algorithm vdn"])
def test_flops_of_the_paper_take_no_other_flag(flag, run):
    code, _, err = run(f"flops --paper {flag}")
    assert code == 2
    assert "leave out the other flags" in err


@pytest.mark.skipif(bool(native.unavailable()), reason="no kernels")
def test_an_instruction_set_that_is_not_there_is_refused_in_every_form(run, monkeypatch, tmp_path):
    monkeypatch.setenv("SPARL_ISA", "avx1024")
    native.load.cache_clear()
    try:
        code, _, err = run("train --compute masked --run-dir", tmp_path / "new")
        assert code == 2
        assert "SPARL_ISA is 'avx1024'" in err
        assert not (tmp_path / "new").exists()
    finally:
        monkeypatch.undo()
        native.load.cache_clear()
