"""The `sparl` command in processes of its own, and what its runs leave behind."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sparl.train.checkpoint import CheckpointStore
from sparl.train.masks import load_masks

STEPS, CHECKPOINT_EVERY, BATCH = 4000, 200, 4
"""Env steps of the runs under test, and between their checkpoints; episodes in a batch."""

SETTINGS = {
    "env": "python:toy:Toy",
    "sparsity": 0.5,
    "total-steps": STEPS,
    "num-envs": 4,
    "chunk": 10,
    "target-interval": 10,
    "eval-every": 500,
    "eval-episodes": 4,
    "log-every": CHECKPOINT_EVERY,
    "checkpoint-every": CHECKPOINT_EVERY,
    "topology.interval": 10,
    "replay.capacity": 100,
    "replay.batch-size": BATCH,
    "replay.window": 20,
    "replay.window-batch": 1,
    "network.hidden": 16,
    "network.embed": 8,
    "network.hypernet": 16,
}
"""A run of seconds in which everything happens: updates, topology changes, episodes that leave the
replay, evaluations and twenty checkpoints. Its environment is compiled sooner than SMAX, which is
trained on in `test_kill.py`."""

TESTS = Path(__file__).parent
EXAMPLES = TESTS.parent / "examples"

GARBAGE = 100_000, 50, 100
"""How seldom garbage is collected. Tracing makes many objects that live on: looking for garbage
among them takes a tenth of the time."""

DIMS = "--obs-dim 30 --state-dim 48 --num-actions 9 --num-agents 3"
"""Dimensions of smax:3m as the paper counts them, for `sparl flops`."""

TIMES = ("seconds", "compile_seconds", "env_steps_per_second")
"""What may differ between two runs of the same configuration."""

COMMAND = f"""
import gc
gc.set_threshold{GARBAGE}
from sparl import cli
from sparl.train import team_program
team_program._lengths = lambda limit: (limit,)
cli.entry_point()
"""
"""The `sparl` command, but that all batches have one length: there is less to compile."""

LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Becomes the command it is given, which then cannot write files past so many bytes."""


def settings(**changed):
    """Flags of the run under test; `changed` has _ for -, __ for a dot and None for no flag."""
    names = {name.replace("__", ".").replace("_", "-"): v for name, v in changed.items()}
    flags = {name: value for name, value in (SETTINGS | names).items() if value is not None}
    return [text for name, value in flags.items() for text in (f"--{name}", str(value))]


@dataclass(frozen=True)
class Sparl:
    """Runs the command; its processes share one cache of compiled programs."""

    cache: Path

    def __call__(self, *args, largest_file=None):
        """Run to the end. No file can grow past `largest_file` bytes, as on a full disk."""
        process = self.start(*args, largest_file=largest_file)
        out, err = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def start(self, *args, largest_file=None):
        """Only start it."""
        command = [sys.executable, "-c", COMMAND, *map(str, args)]
        if largest_file is not None:
            command = [sys.executable, "-c", LIMITED, str(largest_file), *command]
        return subprocess.Popen(
            command,
            env=os.environ
            | {
                "COLUMNS": "200",  # Wide enough that no sentence under test is broken.
                "JAX_COMPILATION_CACHE_DIR": str(self.cache),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
                "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # Compiling takes longer than these runs.
                # For each program from the cache jaxlib 0.10.0 logs lines which, on some machines,
                # fill the pipe that nobody reads while a run goes on.
                "TF_CPP_MIN_LOG_LEVEL": "3",
                # Where the environments of the tests and of the examples are found.
                "PYTHONPATH": os.pathsep.join([str(TESTS), str(EXAMPLES), *_paths()]),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def _paths():
    """Where Python looks for modules already."""
    return filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))


def wait_until(condition, process):
    """Return as soon as `condition()` holds; fail if the process ends before."""
    while not condition():
        if process.poll() is not None:
            raise AssertionError(f"ended too early: {process.communicate()}")
        time.sleep(0.002)


def steps_saved(folder):
    """Env steps of the complete checkpoints, ascending."""
    return sorted(int(path.stem) for path in (folder / "checkpoints").glob("*.json"))


def figures(folder):
    """`result.json` without times."""
    return _untimed(json.loads((folder / "result.json").read_text()))


def records(folder):
    """`metrics.jsonl` without times."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [_untimed(json.loads(line)) for line in lines]


def memory(folder):
    """Everything that the newest checkpoint holds, its counts and the live replay included."""
    checkpoint = CheckpointStore(folder / "checkpoints").restore()
    arrays = checkpoint.state | _live_episodes(checkpoint)
    # The length of metrics.jsonl depends on how many digits a time has.
    odd = (*TIMES, "metrics_bytes")
    counts = {name: value for name, value in checkpoint.info["books"].items() if name not in odd}
    return arrays, counts


def assert_same_run(folder, reference):
    """The two folders hold the same run to the last bit, times excepted."""
    assert figures(folder) == figures(reference)
    assert records(folder) == records(reference)
    (arrays, counts), (expected, expected_counts) = memory(folder), memory(reference)
    assert counts == expected_counts
    assert arrays.keys() == expected.keys()
    odd = [name for name in arrays if not _same_bits(arrays[name], expected[name])]
    assert not odd
    masks = load_masks(folder / "topology")  # One more for each Ctrl-C.
    for env_steps, each in load_masks(reference / "topology").items():
        assert all(_same_bits(mask, masks[env_steps][name]) for name, mask in each.items())


def contents(folder):
    """Every file below a folder with its bytes."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _untimed(values):
    return {name: value for name, value in values.items() if name not in TIMES}


def _live_episodes(checkpoint):
    """The log's episodes that are still in the replay, however they are cut into segments."""
    added, live = (checkpoint.state[f"ring/{name}"].tolist() for name in ("added", "live"))
    assert checkpoint.segments.keys() == {f"episodes-{seed}" for seed in range(len(added))}
    pieces = {}
    for seed, oldest in enumerate(np.subtract(added, live)):
        for segment in checkpoint.segments[f"episodes-{seed}"]:
            dead = max(oldest - segment.first, 0)
            length = segment.arrays["length"]
            dead_rows = int(np.sum(length[:dead] + 1))
            for name, array in segment.arrays.items():
                alive = array[dead:] if name == "length" else array[dead_rows:]
                pieces.setdefault(f"log/{seed}/{name}", []).append(alive)
    arrays = {name: np.concatenate(parts) for name, parts in pieces.items()}
    assert [len(arrays[f"log/{seed}/length"]) for seed in range(len(live))] == live
    return arrays


def _same_bits(a, b):
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
