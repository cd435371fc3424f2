"""The SMAX adapter: sizes, scales, ends and resets, on the real environment."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sparl import envs
from sparl.envs.smax import MAP_NAME_TO_SCENARIO
from sparl.errors import InputError


def random_actions(key, avail):
    return jnp.argmax(jnp.where(avail, jax.random.uniform(key, avail.shape), -1), axis=-1)


def play(env, policy, steps=100, num=16):
    """Time steps `[steps + 1, num, ...]` of episodes that nothing resets."""

    @jax.jit
    def run(key):
        keys = jax.random.split(key, num)
        state, first = jax.vmap(env.reset)(keys)

        def step(carry, key):
            state, seen = carry
            actions = policy(key, seen.avail_actions)
            state, seen = jax.vmap(env.step)(jax.random.split(key, num), state, actions)
            return (state, seen), seen

        _, rest = jax.lax.scan(step, (state, first), jax.random.split(key, steps))
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, rest)

    return jax.tree.map(np.asarray, run(jax.random.key(0)))


SIZES = {  # obs, state, actions
    "3m": (75, 72, 8),
    "2s3z": (127, 120, 10),
    "3s5z": (205, 192, 13),
    "8m": (205, 192, 13),
    "3s_vs_5z": (101, 96, 10),
    "5m_vs_6m": (140, 132, 11),
    "6h_vs_8z": (179, 168, 13),
    "3s5z_vs_3s6z": (218, 204, 14),
    "10m_vs_11m": (270, 252, 16),
    "25m": (647, 600, 30),
    "27m_vs_30m": (738, 684, 35),
    "smacv2_5_units": (127, 120, 10),
    "smacv2_10_units": (257, 240, 15),
    "smacv2_20_units": (517, 480, 25),
}


def test_every_map_is_listed():
    assert set(SIZES) == set(MAP_NAME_TO_SCENARIO)


@pytest.mark.slow
@pytest.mark.parametrize("map_name", SIZES)
def test_every_map_steps_and_is_as_its_spec_says(map_name):
    env = envs.make(f"smax:{map_name}")
    spec = env.spec
    assert (spec.obs_dim, spec.state_dim, spec.num_actions) == SIZES[map_name]
    state, first = jax.jit(env.reset)(jax.random.key(0))
    actions = jnp.argmax(first.avail_actions, axis=-1)
    after, second = jax.jit(env.step)(jax.random.key(1), state, actions)
    for seen in (first, second):
        assert seen.obs.shape == (spec.num_agents, spec.obs_dim)
        assert seen.state.shape == (spec.state_dim,)
        assert seen.avail_actions.shape == (spec.num_agents, spec.num_actions)
        assert seen.avail_actions.any(axis=-1).all()
        assert jnp.abs(seen.state).max() <= 2
        assert jnp.abs(seen.obs).max() <= 2
    # A carry whose types differ would compile twice.
    assert jax.tree.map(jax.typeof, state) == jax.tree.map(jax.typeof, after)


def test_ends_are_told_apart():
    """Walking north ends at the wall, which kills: terminal, and no win."""
    env = envs.make("smax:3m")
    seen = play(env, lambda _, avail: jnp.zeros(avail.shape[:-1], int))
    ended = seen.terminated | seen.truncated
    assert ended.any(axis=0).all()
    assert seen.terminated[ended.argmax(axis=0), np.arange(16)].all()
    assert not seen.won.any()
    assert not (seen.terminated & seen.truncated).any()


def test_no_episode_outlasts_the_limit():
    """Allies that cannot die nor kill play to the limit, and not a step further."""
    env = envs.make("smax:3m")
    state, _ = env.reset(jax.random.key(0))

    @jax.jit
    def run(state):
        def step(state, key):
            state, seen = env.step(key, state, jnp.full(3, 4))
            inner = state.state
            health = jnp.maximum(inner.unit_health, 9.0)
            inner = inner.replace(unit_health=health, unit_alive=health > 0)
            return state.replace(state=inner), seen

        return jax.lax.scan(step, state, jax.random.split(jax.random.key(1), 100))[1]

    seen = run(state)
    np.testing.assert_array_equal(seen.truncated, [False] * 99 + [True])
    assert not seen.terminated.any()


def test_a_time_limit_truncates():
    env = envs.make("smax:3m")
    inner = env._env._env
    state, _ = env.reset(jax.random.key(0))
    late = state.replace(state=state.state.replace(step=jnp.int32(inner.max_steps - 1)))
    _, seen = env.step(jax.random.key(1), late, jnp.full(3, 4))
    assert seen.truncated
    assert not seen.terminated
    assert not seen.won
    _, seen = env.step(jax.random.key(1), state, jnp.full(3, 4))
    assert not seen.truncated


def test_a_win_is_terminal_and_pays_the_bonus():
    env = envs.make("smax:3m")
    state, _ = env.reset(jax.random.key(0))
    inner = state.state
    health = inner.unit_health.at[3:].set(0.0)
    won = state.replace(state=inner.replace(unit_health=health, unit_alive=health > 0))
    _, seen = env.step(jax.random.key(1), won, jnp.full(3, 4))
    assert seen.won
    assert seen.terminated
    assert not seen.truncated
    assert seen.reward >= 1
    assert seen.avail_actions.any(axis=-1).all()


def test_nothing_resets_by_itself():
    env = envs.make("smax:3m")
    state, _ = env.reset(jax.random.key(0))
    inner = state.state
    dead = inner.unit_health.at[3:].set(0.0)
    won = state.replace(state=inner.replace(unit_health=dead, unit_alive=dead > 0))
    after, seen = env.step(jax.random.key(1), won, jnp.full(3, 4))
    assert after.state.step == 1
    assert not after.state.unit_alive[3:].any()
    # The final observation shows what ended the battle.
    np.testing.assert_array_equal(seen.state[30:60], 0)  # three enemies of ten features


def test_world_state_is_scaled():
    """The world state shows each ally as it sees itself, and nothing in it is large."""
    env = envs.make("smax:3s5z")
    seen = play(env, random_actions, steps=60, num=4)
    units = seen.state[..., : 16 * 10].reshape(61, 4, 16, 10)[:, :, :8]
    own = seen.obs[..., -10:]
    np.testing.assert_allclose(units, own, rtol=1e-6)
    assert 0 < units[..., 3].max() <= 1
    assert seen.state.min() == 0
    assert seen.state.max() == 1
    types = seen.state[0, 0, -16:]
    assert (types < 1).all()
    assert (types > 0).all()


def test_rewards_sum_to_about_two_at_most():
    env = envs.make("smax:3m")
    seen = play(env, random_actions)
    before_end = np.cumsum(seen.terminated | seen.truncated, axis=0)
    running = np.concatenate([np.ones((1, 16), bool), before_end[:-1] == 0])
    total = (seen.reward * running).sum(axis=0)
    assert (total >= 0).all()
    assert (total <= 2.001).all()
    assert total.max() > 0


@pytest.mark.parametrize("name", ["3m", "smux:3m", "sc2"])
def test_unknown_names(name):
    with pytest.raises(InputError, match="smax"):
        envs.make(name)


def test_unknown_maps_list_the_nearest():
    with pytest.raises(InputError, match="did you mean '3s5z'"):
        envs.make("smax:3s5zz")
