"""Environments that worker processes step: what is played arrives whole, whatever breaks."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from host_toy import UNLUCKY, HostToy
from sparl.envs import TimeStep, Workers
from sparl.envs.worker import Act, Broken, Reset
from sparl.errors import InputError, SparlError
from sparl.methods import resolve
from sparl.nets.inputs import NO_ACTION
from sparl.train.host_envs import HostEnvs
from sparl.train.program import build
from test_rollout import CONFIG
from toy import fill, numbers_of_whole_episodes

HOST = dataclasses.replace(CONFIG, num_workers=2)


@contextlib.contextmanager
def program_of(name, **changed):
    """The program of an environment in `host_toy`."""
    program = build(resolve(dataclasses.replace(HOST, env=f"python:host_toy:{name}", **changed)))
    try:
        yield program
    finally:
        program.close()
        jax.clear_caches()  # A process bears only so many programs.


def unlucky(numbers):
    return [number for _, number in numbers if number % UNLUCKY == 3]


def workers_of(pid):
    """Processes that step environments for a process."""
    search = ["pgrep", "-P", str(pid), "-f", "sparl.envs python:"]
    found = subprocess.run(search, check=False, stdout=subprocess.PIPE)
    return [int(line) for line in found.stdout.split()]


@pytest.mark.parametrize("name", ["HostToy", "battle"])
def test_stored_episodes_are_whole(name):
    with program_of(name) as program:
        ring, played = fill(program)
        assert program.notes() == [] or name == "battle"
    np.testing.assert_array_equal(ring.added, played)
    assert played > 30
    numbers = numbers_of_whole_episodes(ring)
    assert len(numbers) > 10
    assert bool(unlucky(numbers)) == (name == "HostToy")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Raising", "RuntimeError: the game is lost"),
        ("battle", "the game died"),
        ("Dying", "its process ended with code 3: a last word"),
        ("Hanging", "it did not answer in time"),
        ("Lingering", "its process was killed by signal 9"),
        ("crashing_battle", "its process ended with code 3: a last word"),
        ("hanging_battle", "it did not answer in time"),
    ],
)
def test_a_broken_episode_is_dropped_and_counted(name, reason):
    patience = {"env_timeout": 3.0} if "anging" in name else {}
    broken = 0
    with program_of(name, **patience) as program:
        rollout, ring, learner = program.init(program.seeds)
        for _ in range(25):
            rollout, finished = program.collect(learner.params, learner.topology, rollout)
            ring = program.store(ring, finished, np.int32(finished.ended.sum()))
            broken += int(finished.broken[0])
        notes = program.notes()
    assert broken >= 1
    assert sum(reason in note for note in notes) >= 1
    assert len(notes) >= broken
    assert all("environment" in note for note in notes)
    numbers = numbers_of_whole_episodes(ring)
    assert len(numbers) > 10
    assert not unlucky(numbers)


def test_what_is_collected_follows_from_the_seed_and_not_from_who_is_faster():
    def played(pause):
        rows = []
        with program_of("HostToy") as program:
            rollout, _, learner = program.init(program.seeds)
            for _ in range(5):
                rollout, finished = program.collect(learner.params, learner.topology, rollout)
                rows.append(finished)
                time.sleep(pause)
        return rows

    jax.tree.map(np.testing.assert_array_equal, played(0.0), played(0.1))


def test_an_episode_begins_without_memory():
    with program_of("HostToy") as program:
        learner = program.init(program.seeds).learner
        rng = np.random.default_rng(0)
        obs = rng.normal(size=(3, 2, 3)).astype(np.float32)
        avail = np.ones((3, 2, 3), bool)
        remembered = jax.numpy.asarray(rng.normal(size=(8, 6)).astype(np.float32))

        def hidden_after(last, hidden, fresh):
            memory = (jax.numpy.full((3, 2), last, np.int32), hidden)
            seen = (jax.random.key(0), 0, 0.0, obs, avail, np.array(fresh), memory)
            player = program.host.player
            weights = player.prepare(learner.params, learner.topology)
            acts = player.act(weights, *seen)
            np.testing.assert_array_equal(acts.memory[0], acts.actions)
            return acts.memory[1]

        nothing = hidden_after(NO_ACTION, jax.numpy.zeros((8, 6)), [False] * 3)
        mixed = hidden_after(1, remembered, [False, True, False])
        np.testing.assert_array_equal(mixed[:, 2:4], nothing[:, 2:4])  # Agents side by side.
        assert (mixed[:, :2] != nothing[:, :2]).any()
        assert (mixed[:, 4:] != nothing[:, 4:]).any()


def test_new_episodes_are_fresh():
    notes = deque()
    workers = Workers("python:host_toy:HostToy", count=1, kind="process", timeout=30.0)
    spec = HostToy.spec
    given = {"count": 2, "first_slot": 0, "source": (0,), "workers": lambda: workers}
    envs = HostEnvs("toy", spec, notes=notes, **given)
    try:
        envs.begin(np.arange(2), (0,))
        assert envs.fresh.all()
        ended = np.zeros(2, bool)
        for _ in range(6):
            ended, lost = envs.step(np.ones((2, 2), int), np.arange(2), 1.0)
            assert not lost.any()
            assert not envs.fresh.any()
            if ended.any():
                break
        envs.begin(np.flatnonzero(ended), (1,))
        np.testing.assert_array_equal(envs.fresh, ended)
        np.testing.assert_array_equal(envs.steps == 0, ended)
        np.testing.assert_array_equal(envs.episode_return == 0, ended)
    finally:
        workers.close()


def test_workers_step_while_the_learner_learns():
    waited = []
    with program_of("Slow", chunk=20) as program:
        rollout, _, learner = program.init(program.seeds)
        for _ in range(4):
            rollout, _ = program.collect(learner.params, learner.topology, rollout)
            time.sleep(3.0)  # The learner is busy: twenty steps of two environments take 0.8 s.
            begun = time.perf_counter()
            rollout, _ = program.collect(learner.params, learner.topology, rollout)
            waited.append(time.perf_counter() - begun)
    assert min(waited) < 0.4


def test_a_killed_worker_costs_its_running_episodes_alone():
    with program_of("Slow", num_envs=4) as program:
        rollout, ring, learner = program.init(program.seeds)
        rollout, _ = program.collect(learner.params, learner.topology, rollout)
        first, second = workers_of(os.getpid())
        os.kill(first, signal.SIGKILL)
        broken = played = 0
        for _ in range(4):
            rollout, finished = program.collect(learner.params, learner.topology, rollout)
            ring = program.store(ring, finished, np.int32(finished.ended.sum()))
            broken += int(finished.broken[0])
            played += int(finished.ended.sum())
        assert second in workers_of(os.getpid())
    assert broken == 2
    assert played > 5
    numbers_of_whole_episodes(ring)


def test_an_environment_that_never_works_ends_the_run():
    message = r"environment 0 .* broke 5 times in a row, at last: RuntimeError: there is no game"
    with program_of("Hopeless") as program, pytest.raises(SparlError, match=message):
        fill(program)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Narrow", r"what `reset` returned will not do: obs must be \[2, 3\], got \[2, 2\]"),
        ("Gym", r"what `step` returned will not do: it must be a sparl.envs.TimeStep, got tuple"),
        ("Large", r"what `reset` returned will not do: obs holds a number that is not finite"),
    ],
)
def test_a_wrong_answer_is_named(name, message):
    with program_of(name) as program, pytest.raises(SparlError, match=message):
        fill(program)


def test_an_environment_without_a_limit_is_cut_off_and_bootstraps():
    with program_of("Endless") as program:
        rollout, _, learner = program.init(program.seeds)
        for _ in range(5):
            rollout, finished = program.collect(learner.params, learner.topology, rollout)
            assert (finished.length[finished.ended] == 6).all()
            assert not finished.rows.terminated.any()


@pytest.mark.parametrize("name", ["HostToy", "Raising"])
def test_an_evaluation_plays_as_many_episodes_as_it_should(name):
    with program_of(name, eval_episodes=40) as program:
        _, _, learner = program.init(program.seeds)
        values = program.evaluate(learner.params, learner.topology, program.seeds, np.int32(1))
        again = program.evaluate(learner.params, learner.topology, program.seeds, np.int32(1))
        other = program.evaluate(learner.params, learner.topology, program.seeds, np.int32(2))
    assert values == again
    assert values != other
    # Of the numbers below 100, uniform in effect: length 2 + number % 5, won if even and not cut.
    assert 3 < values["episode_length"][0] < 5
    assert 0.1 < values["win_rate"][0] < 0.7
    assert (values["win_rate"] * 40 % 1).item() == pytest.approx(0, abs=1e-6)


def test_nothing_is_left_behind():
    with program_of("HangingAtOnce") as program:
        rollout, _, learner = program.init(program.seeds)
        program.host.warm_up(learner.params, learner.topology)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(program.collect, learner.params, learner.topology, rollout)
            time.sleep(5)  # Until both have begun to hang.
            assert not waiting.done()
            assert len(workers_of(os.getpid())) == 2
            begun = time.perf_counter()
            program.close()
            assert time.perf_counter() - begun < 20  # Not as long as one waits for an answer.
            with pytest.raises(SparlError):
                waiting.result()
    assert workers_of(os.getpid()) == []


def test_a_game_dies_with_the_worker_that_started_it():
    def games():
        return subprocess.run(["pgrep", "-f", "^sleep 4242.5"], check=False).returncode == 0

    with program_of("Game") as program:
        fill(program, chunks=25)
        assert program.notes()
        assert not games()


def test_a_hang_is_held_against_its_own_environment_alone():
    """One worker has all three, of which the second never answers: the others are not blamed."""
    orders = [Reset(slot, seed) for slot, seed in ((0, 1), (1, 3), (2, 1))]
    workers = Workers("python:host_toy:Hanging", count=1, kind="process", timeout=4.0)
    try:
        assert all(isinstance(seen, TimeStep) for seen in workers.play(orders).values())
        acts = [Act(slot, np.zeros(2, int)) for slot in range(3)]
        assert all(isinstance(seen, TimeStep) for seen in workers.play(acts).values())
        begun = time.perf_counter()
        seen = workers.play(acts)
        assert time.perf_counter() - begun < 8  # And not for each of the three.
        assert isinstance(seen[0], TimeStep)
        assert seen[1] == Broken("it did not answer in time (--env-timeout)")
        assert seen[2] == Broken("its worker was lost", own=False)
        assert workers.play(acts)[0] == Broken("its worker was started anew", own=False)
    finally:
        workers.close()


def test_several_seeds_are_refused():
    with (
        pytest.raises(InputError, match="train each by itself"),
        program_of("HostToy", num_seeds=2),
    ):
        pass


def test_workers_are_refused_where_there_are_none():
    with pytest.raises(InputError, match="leave --num-workers at its default 0"):
        build(resolve(dataclasses.replace(CONFIG, env="smax:3m", num_workers=2)))
