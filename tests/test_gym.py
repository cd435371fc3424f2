"""Gymnasium's environments as the learner sees them."""

import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from sparl import envs
from sparl.envs.gym import Gym
from sparl.envs.worker import Act, Broken, Reset, Worker
from sparl.errors import InputError


class Spaces(gymnasium.Env):
    """Has the spaces it is given."""

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space
        self.taken = None

    def reset(self, *, seed=None, options=None):
        return np.zeros(self.observation_space.shape), {}

    def step(self, action):
        self.taken = action
        return np.ones(self.observation_space.shape), 0.5, True, True, {}


VECTOR = spaces.Box(-np.inf, np.inf, (3,))
LARGEST = np.finfo(np.float32).max


def test_actions_are_stretched_and_a_terminal_state_is_not_cut_off():
    inner = Spaces(VECTOR, spaces.Box(np.float32([-2, 0]), np.float32([2, 10])))
    env = Gym(inner, "gym:it")
    assert (env.spec.obs_dim, env.spec.action_dim, env.spec.episode_limit) == (3, 2, 1000)
    env.reset(0)
    seen = env.step(np.array([0.5, -1.0]))
    np.testing.assert_allclose(inner.taken, [1.0, 0.0])
    assert (seen.reward, seen.terminated, seen.truncated) == (0.5, True, False)


def test_no_stretched_action_is_out_of_bounds():
    """Where rounding would have it lie above."""
    box = spaces.Box(np.float32([-0.2, -1, -0.5]), np.float32([0.9, 0.1, 0.7]))
    inner = Spaces(VECTOR, box)
    env = Gym(inner, "gym:it")
    for end, bound in ((1, box.high), (-1, box.low)):
        env.step(np.full(3, end, np.float32))
        assert box.contains(inner.taken)
        np.testing.assert_array_equal(inner.taken, bound)


@pytest.mark.parametrize("name", ["Pendulum-v1", "HalfCheetah-v5", "Hopper-v5"])
def test_every_environment_is_as_its_spec_says(name):
    worker = Worker(f"gym:{name}")
    spec = envs.make(f"gym:{name}").spec
    first = worker.play(Reset(0, 7))
    assert first.obs.shape == (spec.obs_dim,)
    again = Worker(f"gym:{name}").play(Reset(0, 7))
    np.testing.assert_array_equal(first.obs, again.obs)
    steps, seen = 0, first
    while not (seen.terminated or seen.truncated):
        seen = worker.play(Act(0, np.full(spec.action_dim, 0.3, np.float32)))
        assert not isinstance(seen, Broken), seen
        steps += 1
    assert seen.terminated == (steps < spec.episode_limit)
    worker.close()


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("CartPole-v1", r"action space Discrete\(2\): Gymnasium's environments need cont"),
        ("HalfCheeta-v5", "did you mean 'HalfCheetah-v5'"),
        ("HalfCheetah-v99", "HalfCheetah-v99"),
    ],
)
def test_names_that_will_not_do(name, match):
    with pytest.raises(InputError, match=match):
        envs.make(f"gym:{name}")


@pytest.mark.parametrize(
    ("views", "actions", "match"),
    [
        (VECTOR, spaces.Box(-np.inf, np.inf, (2,)), "floats with finite bounds; .*TransformAction"),
        (VECTOR, spaces.Box(-LARGEST, LARGEST, (2,)), "floats with finite bounds"),
        (VECTOR, spaces.Box(-1, 1, (2, 2)), "floats with finite bounds; .*TransformAction"),
        (VECTOR, spaces.Box(0, 9, (2,), np.uint8), "floats with finite bounds; .*TransformAction"),
        (spaces.Box(0, 255, (8, 8, 3)), spaces.Box(-1, 1, (2,)), "do not see images or dict"),
        (spaces.Dict(x=VECTOR), spaces.Box(-1, 1, (2,)), "do not see images or dict"),
    ],
)
def test_spaces_that_will_not_do(views, actions, match):
    with pytest.raises(InputError, match=match):
        Gym(Spaces(views, actions), "gym:it")


def test_a_module_of_ones_own_registers_what_it_wraps(tmp_path, monkeypatch):
    """As errors say, and the docs."""
    docs = (Path(__file__).parent.parent / "docs" / "environments.md").read_text()
    (listing,) = (part for part in docs.split("```python\n")[1:] if "gymnasium.register" in part)
    (tmp_path / "bounded.py").write_text(listing.partition("```")[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    env = envs.make("gym:bounded:Bounded-v0")
    assert (env.spec.action_dim, env.spec.episode_limit) == (1, 200)
    env.reset(0)
    assert np.isfinite(env.step(np.ones(1)).obs).all()
    env.close()


BROKEN = """
import gymnasium
def it():
    return 1 / 0
gymnasium.register("Broken-v0", it)
"""


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("nowhere:Bounded-v0", "there is no module 'nowhere': run in the folder that it is in"),
        ("odd:Bounded-v0", "'odd' raises NameError"),
        ("broken:Broken-v0", "gym:broken:Broken-v0 raises ZeroDivisionError"),
        ("broken:Brokn-v0", "did you mean 'Broken-v0'"),
        (":Pendulum-v1", "'' raises ValueError"),
    ],
)
def test_modules_that_will_not_do(name, match, tmp_path, monkeypatch):
    (tmp_path / "odd.py").write_text("nothing")
    (tmp_path / "broken.py").write_text(BROKEN)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=match):
        envs.make(f"gym:{name}")


def test_mujoco_that_is_missing_is_named_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco", None)
    for loaded in [name for name in sys.modules if name.startswith("gymnasium.envs.mujoco")]:
        monkeypatch.delitem(sys.modules, loaded)
    with pytest.raises(InputError, match=r"needs MuJoCo, .*: pip install '\.\[mujoco\]'"):
        envs.make("gym:HalfCheetah-v5")


def test_other_names_are_listed_by_their_last_versions():
    with pytest.raises(InputError, match="did you mean 'HalfCheetah-v5' or") as found:
        envs.make("gym:HalfCheeta-v5")
    assert "HalfCheetah-v4" not in str(found.value)
    with pytest.raises(InputError, match=r"v2 cannot be made: .*is gym:HalfCheetah-v5"):
        envs.make("gym:HalfCheetah-v2")


def test_a_name_without_a_version_is_told_the_last():
    for name in ("BipedalWalker", "gymnasium.envs:HalfCheetah"):
        with pytest.raises(InputError, match=rf"gym:{name} names no version.*: pass gym:{name}-v"):
            envs.make(f"gym:{name}")


@pytest.mark.parametrize(
    ("error", "match"),
    [
        ("ImportError('libGL is missing')", r"HalfCheetah-v5 cannot be made: .*MuJoCo"),
        ("RuntimeError('bad MUJOCO_GL')", r"HalfCheetah-v5 raises RuntimeError: bad MUJOCO_GL"),
    ],
)
def test_mujoco_that_does_not_import_is_missed_by_its_own_environments(
    error, match, tmp_path, monkeypatch
):
    (tmp_path / "mujoco.py").write_text(f"raise {error}")
    for loaded in list(sys.modules):
        if f"{loaded}.".startswith(("mujoco.", "gymnasium.envs.mujoco.")):
            monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.syspath_prepend(tmp_path)
    envs.make("gym:Pendulum-v1").close()
    with pytest.raises(InputError, match=match):
        envs.make("gym:HalfCheetah-v5")
    with pytest.raises(InputError, match=r"mamujoco: mujoco is installed, but cannot be imported"):
        envs.make("mamujoco:HalfCheetah-2x3")


def test_mujoco_warns_and_leaves_no_file(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    env = envs.make("gym:HalfCheetah-v5")
    assert not caplog.records
    env.reset(0)
    env._env.unwrapped.data.qvel[:] = 1e12
    env.step(np.zeros(6))
    assert "The simulation is unstable" in caplog.text
    assert list(tmp_path.iterdir()) == []
