"""The adapters of other people's environments, on the real packages."""

import itertools
import sys
import types

import numpy as np
import pytest
from gymnasium import spaces

from host_toy import Battle
from sparl import envs
from sparl.envs.smac import GameBrokenError, Lite
from sparl.errors import InputError

ENVS = {  # agents, actions, obs, state, limit
    "pettingzoo:simple_spread_v3": (3, 5, 18, 54, 25),
    "pettingzoo:simple_speaker_listener_v4": (2, 5, 11, 14, 25),
    "pettingzoo:mpe2.simple_reference_v3": (2, 50, 21, 42, 25),
    "lbf:Foraging-8x8-2p-3f-v3": (2, 6, 15, 30, 50),
    "rware:rware-tiny-2ag-v2": (2, 5, 71, 142, 500),
}


def play(env, choose, seed=0):
    """Everything seen in one episode, which ends before it is twice too long."""
    seen = [env.reset(seed)]
    while not (seen[-1].terminated or seen[-1].truncated):
        seen.append(env.step(choose(seen[-1])))
        assert len(seen) <= 2 * env.spec.episode_limit
    return seen


def at_random(seed):
    rng = np.random.default_rng(seed)
    return lambda seen: np.array([rng.choice(np.flatnonzero(can)) for can in seen.avail_actions])


@pytest.mark.parametrize("name", ENVS)
def test_every_environment_is_as_its_spec_says(name):
    env = envs.make(name)
    spec = env.spec
    n, actions, obs, state, limit = ENVS[name]
    assert (spec.num_agents, spec.num_actions, spec.obs_dim) == (n, actions, obs)
    assert (spec.state_dim, spec.episode_limit) == (state, limit)
    seen = play(env, at_random(0))
    assert len(seen) == limit + 1  # None of them is won by chance.
    for each in seen:
        assert each.obs.shape == (n, obs)
        assert each.state.shape == (state,)
        assert each.avail_actions.shape == (n, actions)
        assert np.isfinite(each.obs).all()
    # Time ran out, whatever the environment calls it.
    assert seen[-1].truncated
    assert not seen[-1].terminated
    env.close()


@pytest.mark.parametrize("name", ENVS)
def test_an_episode_follows_from_its_seed(name):
    env = envs.make(name)
    first, same, other = (env.reset(seed).obs for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


def test_an_agent_can_do_what_it_can():
    env = envs.make("pettingzoo:simple_speaker_listener_v4")
    seen = env.reset(0)
    # The speaker has three words and sees three numbers.
    assert seen.avail_actions.tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    np.testing.assert_array_equal(seen.obs[0, 3:], 0)


def test_the_team_is_paid_what_its_agents_are():
    env = envs.make("pettingzoo:simple_spread_v3")
    seen = play(env, at_random(0), seed=3)
    inner = env._env
    inner.reset(seed=3)
    choose = at_random(0)
    for before, after in itertools.pairwise(seen):
        actions = dict(zip(inner.possible_agents, map(int, choose(before)), strict=True))
        _, rewards, *_ = inner.step(actions)
        assert after.reward == pytest.approx(sum(rewards.values()))


def test_food_that_is_all_eaten_ends_an_episode_and_time_does_not():
    env = envs.make("lbf:Foraging-8x8-2p-3f-v3")
    env.reset(0)
    inner = env._env.unwrapped
    inner.field[:] = 0
    seen = env.step(np.zeros(2, int))
    assert seen.terminated
    assert seen.won
    assert not seen.truncated


def test_agents_that_have_left_have_one_action():
    class Leaving:
        """Agent `b` leaves after a step, `a` after two; `a` is done, `b` out of time."""

        possible_agents = ("a", "b")

        def __init__(self):
            self.unwrapped = self

        def action_space(self, agent):
            return spaces.Discrete(2)

        def observation_space(self, agent):
            return spaces.Box(-9, 9, (1,))

        def reset(self, seed):
            self.agents, self.steps = ["a", "b"], 0
            return {"a": [1.0], "b": [2.0]}, {}

        def step(self, actions):
            assert list(actions) == self.agents
            self.steps += 1
            obs = {agent: [3.0] for agent in self.agents}
            self.agents = ["a"] if self.steps == 1 else []
            done = {"a": self.steps == 2}
            return obs, dict.fromkeys(obs, 1.0), done, {"b": self.steps == 1}, {}

    from sparl.envs.pettingzoo import Parallel  # noqa: PLC0415

    env = Parallel(Leaving(), 10)
    assert env.reset(0).avail_actions.all()
    seen = env.step([1, 1])
    assert not seen.terminated
    assert not seen.truncated
    assert seen.reward == 2
    assert seen.avail_actions.tolist() == [[True, True], [True, False]]
    seen = env.step([1, 0])
    assert seen.terminated
    assert not seen.truncated
    np.testing.assert_array_equal(seen.obs, [[3], [0]])
    np.testing.assert_array_equal(seen.state, [3, 0])


def test_smaclite_is_given_a_time_limit():
    class Game:
        n_agents, n_actions, obs_size, state_size = 2, 3, 3, 2

        def reset(self, seed):
            self.seed = seed

        def step(self, actions):
            assert all(type(action) is int for action in actions)
            return None, 1.0, False, False, {"battle_won": False}

        def get_obs(self):
            return np.zeros((2, 3))

        def get_state(self):
            return np.zeros(2)

        def get_avail_actions(self):
            return np.ones((2, 3))

        def close(self):
            pass

    env = envs.Smac(lambda seed: Lite(Game(), 4, seed))
    seen = play(env, at_random(0))
    assert len(seen) == 5
    assert seen[-1].truncated
    assert not seen[-1].terminated


def test_time_bootstraps_by_the_smac_interface_and_defeat_does_not():
    env = envs.Smac(Battle)
    ends = []
    while len(ends) < 40:
        try:
            ends.append(play(env, at_random(0), seed=len(ends))[-1])
        except GameBrokenError:
            env = envs.Smac(Battle)
    assert {(bool(end.terminated), end.truncated) for end in ends} == {(True, False), (False, True)}
    assert any(end.won for end in ends)
    assert not any(end.won and end.truncated for end in ends)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("smac:3m", "pip install git+https://github.com/oxwhirl/smac.git"),
        ("smac:3m", "`pip install smac` is another project"),
        ("smacv2:zerg_5_vs_5", "pip install git+https://github.com/oxwhirl/smacv2.git"),
        ("smacv2:zerg", "named RACE_N_vs_M"),
        ("smacv2:elves_5_vs_5", "of protoss, terran, zerg"),
        ("smaclite:2s3z", "github.com/uoe-agents/smaclite.git"),
        ("smaclite:3m", "unknown SMAClite map '3m'"),
        ("pettingzoo:simple_spred_v3", "did you mean 'mpe2.simple_spread_v3'"),
        ("pettingzoo:_mpe_utils", "unknown PettingZoo module"),
        ("pettingzoo:no_such_package.env", "pip install no_such_package"),
        ("pettingzoo:mpe2.all_modules", "no `parallel_env`"),
        ("lbf:Foraging-8x8-2p-3f-v9", "did you mean 'Foraging-8x8-2p-3f-v3'"),
        ("rware:rware-tiny", "unknown rware environment"),
        ("python:host_toy", "python:MODULE:NAME"),
        ("python:no_such_module:Env", "PYTHONPATH"),
        ("python:host_toy:HostToi", "did you mean 'HostToy'"),
        ("python:host_toy:NoEnvironment", "needs `spec`, `reset` and `step`"),
        (
            "python:host_toy:NoSpec",
            "a sparl.spec.EnvSpec, or ControlSpec where actions are continuous, got NoneType",
        ),
        ("python:host_toy:empty_spec", "num_agents of an EnvSpec must be at least 1, got 0"),
        ("python:host_toy:NoClose", "`step(actions)` and `close()`"),
        ("python:host_toy:NUMBER", "must be a class or a function"),
        ("python:host_toy:broken_factory", "raises RuntimeError: no licence"),
    ],
)
def test_what_is_missing_is_named(name, sentence, monkeypatch):
    for absent in ("smac", "smacv2", "smaclite"):
        monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(InputError) as refusal:
        envs.make(name)
    assert sentence in str(refusal.value)


@pytest.fixture
def smac_without_game(monkeypatch, tmp_path):
    """Both packages as they are where StarCraft II is not; what their games are made with."""
    made = {}

    class Game(Battle):
        def __init__(self, **options):
            made.update(options)
            super().__init__(options["seed"])

    modules = {
        "smac": {},
        "smac.env": {"StarCraft2Env": Game},
        "smac.env.starcraft2": {},
        "smac.env.starcraft2.maps": {"get_smac_map_registry": lambda: {"3m": {}, "2s3z": {}}},
        "smacv2": {},
        "smacv2.env": {},
        "smacv2.env.starcraft2": {},
        "smacv2.env.starcraft2.wrapper": {"StarCraftCapabilityEnvWrapper": Game},
    }
    for name, content in modules.items():
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(**content))
    monkeypatch.setenv("SC2PATH", str(tmp_path / "StarCraftII"))
    return made


@pytest.mark.parametrize("name", ["smac:3m", "smacv2:protoss_5_vs_6"])
def test_starcraft_is_asked_for_and_then_said_to_tell_time(name, smac_without_game, tmp_path):
    game = tmp_path / "StarCraftII"
    package = name.partition(":")[0]
    with pytest.raises(InputError) as refusal:
        envs.make(name)
    said = str(refusal.value)
    assert f"{game}/Versions and {game}/Maps/SMAC_Maps are not there (set SC2PATH" in said
    assert f"SC2.4.10.zip -d {tmp_path} && curl -LO https://github.com/oxwhirl/{package}/" in said
    (game / "Versions").mkdir(parents=True)
    with pytest.raises(InputError, match=r"SMAC_Maps is not there .*\): curl -LO"):
        envs.make(name)
    (game / "Maps" / "SMAC_Maps").mkdir(parents=True)
    env = envs.make(name)
    assert env.spec.num_agents == 2
    assert smac_without_game["continuing_episode"]
    if name.startswith("smacv2"):
        assert smac_without_game["map_name"] == "10gen_protoss"
        assert smac_without_game["capability_config"]["n_units"] == 5
        assert smac_without_game["capability_config"]["n_enemies"] == 6
    play(env, at_random(0))


def test_a_map_that_smac_lacks(smac_without_game):
    with pytest.raises(InputError, match="did you mean '2s3z'"):
        envs.make("smac:2s3zz")
