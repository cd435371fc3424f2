"""Multi-agent MuJoCo as the learner sees it."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from sparl.envs import make
from sparl.errors import InputError
from sparl.presets import defaults
from sparl.train import start


@pytest.mark.parametrize(
    ("name", "agents", "obs", "actions"),
    [
        ("HalfCheetah-2x3", 2, (11, 11), (3, 3)),
        ("HalfCheetah-2x3-k1", 2, (12, 12), (3, 3)),
        ("ManySegmentSwimmer-10x2", 10, (4,) * 10, (2,) * 10),
        ("Humanoid-9|8", 2, (236, 167), (9, 8)),
    ],
)
def test_robots_are_shared_out(name, agents, obs, actions):
    env = make(f"mamujoco:{name}")
    spec = env.spec
    assert (spec.num_agents, spec.obs_dims, spec.action_dims) == (agents, obs, actions)
    first, again = env.reset(7), env.reset(7)
    np.testing.assert_array_equal(first.obs, again.obs)
    steps, seen = 0, first
    while not (seen.terminated or seen.truncated):
        assert seen.obs.shape == (spec.obs_dim,)
        assert seen.obs.dtype == np.float32
        seen = env.step(np.full(spec.action_dim, 0.3, np.float32))
        steps += 1
    assert seen.truncated == (steps == spec.episode_limit)
    env.close()


def test_actions_are_stretched_and_the_state_is_the_robots():
    env = make("mamujoco:Humanoid-9|8")
    env.reset(0)
    taken = []
    robot = env._env.unwrapped.single_agent_env
    step = robot.step
    robot.step = lambda action: taken.append(np.array(action)) or step(action)
    seen = env.step(np.linspace(-1, 1, 17))
    own = dict(
        zip(env._env.possible_agents, np.split(np.linspace(-0.4, 0.4, 17), [9]), strict=True)
    )
    expected = env._env.unwrapped.map_local_actions_to_global_action(own)
    np.testing.assert_allclose(taken[0], expected, rtol=1e-6)
    np.testing.assert_allclose(
        seen.obs[-env.spec.state_dim :], robot.unwrapped._get_obs().astype(np.float32)
    )
    env.close()


MADE_AT_A_SIGN = """
import sys
from sparl.envs import make
make("mamujoco:Swimmer-2x1")
print("ready", flush=True)
sys.stdin.read()
make("mamujoco:ManySegmentSwimmer-4x2").reset(0)
"""


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("HalfCheeta-2x3", "did you mean 'HalfCheetah'"),
        ("HalfCheetah", "is named mamujoco:ROBOT-PARTITION, e.g. mamujoco:HalfCheetah-2x3"),
        ("HalfCheetah-2x3-k", "is named mamujoco:ROBOT-PARTITION"),
        ("HalfCheetah-2x3-kx", "is named mamujoco:ROBOT-PARTITION"),
        ("HalfCheetah-2x3-k²", "is named mamujoco:ROBOT-PARTITION"),
        ("HalfCheetah-9x9", "cannot be made: it is not shared out as '9x9'. How it can be"),
    ],
)
def test_robots_that_there_are_not(name, match):
    with pytest.raises(InputError, match=match):
        make(f"mamujoco:{name}")


def test_robots_of_many_segments_are_made_side_by_side():
    """Each process writes its robot to a file of the same name."""
    pipe, command = subprocess.PIPE, [sys.executable, "-c", MADE_AT_A_SIGN]
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe) for _ in range(4)]
    assert [process.stdout.readline() for process in processes] == [b"ready\n"] * 4
    for process in processes:
        process.stdin.close()
    assert [process.wait(120) for process in processes] == [0] * 4
    for process in processes:
        process.stdout.close()


@pytest.mark.parametrize("module", ["mujoco", "gymnasium_robotics"])
def test_what_is_missing_is_named_with_the_extra_that_brings_it(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    for loaded in [name for name in sys.modules if name.startswith(f"{module}.")]:
        monkeypatch.delitem(sys.modules, loaded)
    with pytest.raises(InputError, match=r"pip install '\.\[mujoco\]'"):
        make("mamujoco:HalfCheetah-2x3")


def test_what_discrete_actions_do_not_move(tmp_path):
    config = dataclasses.replace(defaults("qmix"), env="mamujoco:HalfCheetah-2x3")
    with pytest.raises(InputError, match=r"has continuous actions, .* pass --algorithm comix"):
        start.train(config, run_dir=tmp_path / "run")
