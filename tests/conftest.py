"""Settings for all tests, and the run that several of them look at."""

import fcntl
import gc
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import hypothesis
import jax
import pytest

from commands import GARBAGE, Sparl, settings
from sparl import cli
from sparl.compute import native
from sparl.envs.make import INTERFACES
from sparl.train import loop, team_program
from sparl.train.checkpoint import CheckpointStore
from toy import Toy

# Most tests compile for longer than they compute, and XLA's earlier code generator takes half the
# time; nor are programs cut into parts that compile side by side, as tests do that already. XLA
# reads this once, before it first compiles; `XLA_FLAGS= pytest` takes users' generator.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)

gc.set_threshold(*GARBAGE)

# Compilation makes the first example of a shape slow.
hypothesis.settings.register_profile("sparl", deadline=None, max_examples=60)
hypothesis.settings.load_profile("sparl")


def pytest_xdist_auto_num_workers():
    """One more than there are cores, as tests of commands wait for processes and for Ray."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items):
    """Files that take long begin first, so that no process goes on long after the others."""
    seconds = Counter()
    for item in items:
        seconds[item.path] += 20 if item.get_closest_marker("slow") else 2
    items.sort(key=lambda item: -seconds[item.path])


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """One temporary folder for all processes of pytest-xdist."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session", autouse=True)
def _compiled_once(tmp_path_factory):
    """What is compiled for one module, the next ones take from disk.

    Each process of pytest-xdist by itself: JAX may read what another is still writing.
    """
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.getbasetemp() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@pytest.fixture(scope="session", autouse=True)
def _compiled_quickly():
    """Most tests compile for longer than they compute."""
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def optimised():
    """What the test compiles is optimised as for users; with `XLA_FLAGS=` by their generator."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="module", autouse=True)
def _few_programs_at_once():
    """Each takes mappings of memory, of which a process can have some ten thousand."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def sparl(shared) -> Sparl:
    """The command. What it compiles is cached, so that only the first run takes its time."""
    return Sparl(shared / "compiled")


@pytest.fixture(scope="session")
def undisturbed(shared, sparl) -> Callable[[dict], Path]:
    """The folder of a run with changed settings that nothing disturbed; not to be written to."""

    def folder_of(changed: dict) -> Path:
        folder = shared / "-".join(["reference", *map(str, changed.values())])
        with (shared / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                done = sparl("train", "--run-dir", folder, *settings(**changed))
                assert done.returncode == 0, done.stderr
        return folder

    return folder_of


@pytest.fixture(scope="session")
def reference(undisturbed) -> Path:
    """The undisturbed run of the default settings."""
    return undisturbed({})


@pytest.fixture(scope="module", params=native.instruction_sets())
def isa(request):
    """Each instruction set of this machine in turn."""
    widest = native.instruction_sets()[0]
    assert native.choose_instruction_set(request.param)
    yield request.param
    native.choose_instruction_set(widest)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Where a `store` keeps its checkpoints."""
    return tmp_path / "checkpoints"


@pytest.fixture
def store(folder):
    """An empty checkpoint store."""
    store = CheckpointStore(folder)
    yield store
    store.close()


@pytest.fixture
def one_length(monkeypatch):
    """Batches of teams are not cut, so that there is less to compile."""
    monkeypatch.setattr(team_program, "_lengths", lambda limit: (limit,))


@pytest.fixture
def toy(monkeypatch, one_length):
    """The environment `toy` of a test's process."""
    monkeypatch.setitem(INTERFACES, "toy", lambda _: Toy())


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Runs the command inside this process, in an empty folder; its exit code and two outputs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def trains(self):
        raise AssertionError("this was to be refused before any training")

    monkeypatch.setattr(loop.Run, "run", trains)

    def run(line, *more):
        try:
            code = cli.main([*line.split(), *map(str, more)])
        except SystemExit as end:  # From the parser of flags.
            code = end.code
        out, err = capsys.readouterr()
        return code, out, err

    return run
