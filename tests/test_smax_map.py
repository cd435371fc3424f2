"""SMAX maps of one's own, and the colossus."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sparl import envs
from sparl.errors import InputError

DUEL = """
[allies]
stalker = 1
lancer = 2

[enemies]
zealot = 3

[units.lancer]
health = 50.0
attack = 5.0
range = 3.0
sight = 8.0
speed = 2.0
radius = 0.5
cooldown = 1.0

[units.zealot]
health = 99.0
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "map.toml"
        path.write_text(text)
        return f"smax:{path}"

    return write


def test_a_map_has_its_units_and_their_stats(written):
    env = envs.make(written("width = 24\nmax_steps = 30\n" + DUEL))
    spec = env.spec
    assert spec.agent_types == ("stalker", "lancer", "lancer")
    assert (spec.num_agents, spec.num_actions, spec.episode_limit) == (3, 8, 30)
    # SMAX's own formulas, with a seventh type: own features, and those of every other unit.
    assert spec.obs_dim == 11 + 5 * 14
    assert spec.state_dim == 6 * 13
    state, seen = env.reset(jax.random.key(0))
    np.testing.assert_array_equal(state.state.unit_health, [160, 50, 50, 99, 99, 99])
    assert env._env._env.map_width == 24
    assert env._env._env.map_height == 32
    np.testing.assert_allclose(seen.state.reshape(-1)[0:66:11], 1)  # all healthy


def test_a_map_without_beams_is_the_same_battle_as_the_one_that_jaxmarl_has(written):
    own = envs.make(written("[allies]\nmarine = 3\n[enemies]\nmarine = 3\n"))
    known = envs.make("smax:3m")
    assert own.spec == known.spec
    (state, seen), (other, expected) = (env.reset(jax.random.key(1)) for env in (own, known))
    for i in range(30):
        np.testing.assert_array_equal(seen.obs, expected.obs)
        key = jax.random.key(i)
        draws = jax.random.uniform(key, seen.avail_actions.shape)
        actions = jnp.argmax(jnp.where(seen.avail_actions, draws, -1), axis=1)
        state, seen = own.step(key, state, actions)
        other, expected = known.step(key, other, actions)
    np.testing.assert_array_equal(seen.state, expected.state)


def test_the_colossus_stands_as_the_spec_says():
    env = envs.make("smax:2c_vs_64zg")
    spec = env.spec
    assert (spec.obs_dim, spec.state_dim, spec.num_actions) == (921, 858, 69)
    assert spec.agent_types == ("colossus", "colossus")
    state, _ = env.reset(jax.random.key(0))
    np.testing.assert_array_equal(state.state.unit_health, [350] * 2 + [35] * 64)


def volley(places, action, shooter=0):
    """Health lost by each unit when one shoots, everything else holding still.

    Args:
        places: Of two colossi and the first zerglings; the others are far away.
        action: Of the shooter; 5 aims at the first zergling.
        shooter: Which unit.
    """
    inner = envs.make("smax:2c_vs_64zg")._env._env
    _, state = inner.reset(jax.random.key(0))
    corner = np.tile([31.0, 31.0], (66, 1))
    corner[: len(places)] = places
    state = state.replace(unit_positions=jnp.asarray(corner))
    moves = jnp.zeros((66, 2))
    attacks = jnp.zeros(66, int).at[shooter].set(action)
    after = inner._world_step(jax.random.key(1), state, (moves, attacks))
    return np.asarray(state.unit_health - after.unit_health)


COLOSSI = [[10.0, 10.0], [10.0, 3.0]]


def test_a_beam_burns_across_the_line_of_fire():
    # Fired along x at the first; the line is 2.8 wide along y and 0.3 deep, zerglings 0.375 thick.
    zerglings = [
        [15.0, 10.0],  # the target
        [15.0, 11.7],  # touched at 1.4 + 0.3
        [15.0, 8.3],
        [15.0, 11.8],  # out of reach by a hair
        [15.5, 10.0],  # touched in depth: 0.15 + 0.35
        [15.6, 10.0],
        [15.0, 16.0],
    ]
    lost = volley(COLOSSI + zerglings, 5)
    np.testing.assert_allclose(lost[2:9], [20, 20, 20, 0, 20, 0, 0])
    assert lost[:2].sum() == 0
    assert lost[9:].sum() == 0


def test_a_beam_turns_with_the_line_of_fire():
    slant = np.array([1.0, 1.0]) / np.sqrt(2)
    across = np.array([-1.0, 1.0]) / np.sqrt(2)
    target = np.array([10.0, 10.0]) + 5 * slant
    zerglings = [target, target + 1.6 * across, target - 1.6 * across, target + 1.6 * slant]
    lost = volley([*COLOSSI, *zerglings], 5)
    np.testing.assert_allclose(lost[2:6], [20, 20, 20, 0])


def test_a_beam_spares_its_own_side_and_others_have_none():
    lost = volley([[10.0, 10.0], [15.0, 10.5], [15.0, 10.0]], 5)
    np.testing.assert_allclose(lost[:3], [0, 0, 20])
    # The last enemy, a zergling, bites: its side counts the other from its last unit on.
    places = np.tile([31.0, 31.0], (66, 1))
    places[:2] = [[10.0, 10.0], [10.0, 10.5]]
    places[65] = [10.5, 10.0]
    lost = volley(places, 6, shooter=65)
    np.testing.assert_allclose(lost[:2], [5, 0])
    assert lost[2:].sum() == 0


def test_a_beam_out_of_range_or_not_loaded_burns_nothing():
    far = volley([*COLOSSI, [18.0, 10.0], [18.0, 10.5]], 5)
    assert far.sum() == 0
    idle = volley([*COLOSSI, [15.0, 10.0], [15.0, 10.5]], 4)
    assert idle.sum() == 0


def test_the_big_battle_steps():
    env = envs.make("smax:2c_vs_64zg")
    state, seen = jax.jit(env.reset)(jax.random.key(0))
    actions = jnp.argmax(seen.avail_actions, axis=1)
    after, seen = jax.jit(env.step)(jax.random.key(1), state, actions)
    assert jnp.abs(seen.obs).max() <= 2
    assert jnp.abs(seen.state).max() <= 2
    assert jax.tree.map(jax.typeof, state) == jax.tree.map(jax.typeof, after)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[allies", "is not TOML"),
        ("[allies]\nmarine = 3", "needs a table [enemies]"),
        ("[allies]\nmarin = 3\n[enemies]\nmarine = 3", "did you mean 'marine'"),
        ("[allies]\nmarine = 0\n[enemies]\nmarine = 3", "allies.marine must be a whole number"),
        ("[allies]\nmarine = 1.5\n[enemies]\nmarine = 3", "got 1.5"),
        ("[allies]\nmarine = true\n[enemies]\nmarine = 3", "got True"),
        ("allies = 3\n[enemies]\nmarine = 3", "allies must be a table, got 3"),
        (DUEL + "[unit.x]\n", "unknown entry"),
        (DUEL.replace("attack = 5.0", ""), "the new unit type 'lancer' needs attack"),
        (DUEL.replace("attack = 5.0", "atack = 5.0"), "did you mean 'units.lancer.attack'"),
        (DUEL.replace("attack = 5.0", "attack = -5.0"), "units.lancer.attack must be a number"),
        (DUEL.replace("attack = 5.0", "attack = nan"), "got nan"),
        (DUEL.replace("attack = 5.0", "attack = 5.0\nbeam = 2.0"), "beam must be [width, depth]"),
        (DUEL.replace("attack = 5.0", "attack = 5.0\nbeam = [2.0, 0]"), "got 0"),
        ("max_steps = 10.5\n" + DUEL, "max_steps must be a whole number"),
    ],
)
def test_a_map_that_will_not_do(text, sentence, written):
    with pytest.raises(InputError) as refusal:
        envs.make(written(text))
    assert sentence in str(refusal.value)


def test_a_map_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the map .*gone.toml: No such file"):
        envs.make(f"smax:{tmp_path / 'gone.toml'}")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not TOML"):
        envs.make(f"smax:{tmp_path / 'bytes.toml'}")


def test_maps_that_come_with_sparl_are_listed():
    with pytest.raises(InputError, match="2c_vs_64zg"):
        envs.make("smax:nothing_like_it")
