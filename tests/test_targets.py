"""Targets against the spec's golden vectors and against plain Python."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from sparl.config import TargetConfig
from sparl.targets import compose, double_q, maximum, n_step, soft_mellowmax, softmax, td_lambda


def column(values):
    return jnp.asarray(values, jnp.float32)[:, None]


@pytest.mark.parametrize(
    ("q", "alpha", "omega", "expected"),
    [
        ([0, 1, 2], 1, 10, 1.959241),
        ([0, 1, 2], 1, 5, 1.918975),
        ([0, 1, 2], 1, 100, 1.995924),
        ([0, 1, 2], 5, 5, 1.998657),
        ([0, 1, 2], 0, 10, 1.890143),
        ([0, 1, 2], 10, 5, 1.999991),
        ([-3, 0.5, 0.25, 2], 1, 10, 1.966093),
        ([-3, 0.5, 0.25, 2], 1, 5, 1.932216),
        ([-3, 0.5, 0.25, 2], 0, 10, 1.861371),
    ],
)
def test_soft_mellowmax_golden(q, alpha, omega, expected):
    every = jnp.ones((len(q), 1), bool)
    assert soft_mellowmax(column(q), every, alpha=alpha, omega=omega)[0] == pytest.approx(
        expected, abs=2e-6
    )


@given(
    q=st.lists(st.floats(-50, 50, width=32), min_size=6, max_size=6),
    alpha=st.floats(0, 10),
    omega=st.floats(0.1, 200),
    data=st.data(),
)
def test_soft_mellowmax_sees_available_actions_only(q, alpha, omega, data):
    avail = data.draw(st.lists(st.booleans(), min_size=len(q), max_size=len(q)).filter(any))
    reference = np.asarray(q, np.float64)[avail]
    weights = np.exp(alpha * (reference - reference.max()))
    shifted = np.exp(omega * (reference - reference.max()))
    expected = reference.max() + np.log((weights * shifted).sum() / weights.sum()) / omega
    value = soft_mellowmax(column(q), jnp.asarray(avail)[:, None], alpha=alpha, omega=omega)[0]
    scale = 1 + (alpha + omega) * np.abs(reference).max() / omega
    assert value == pytest.approx(expected, abs=1e-5 * scale)
    assert value <= reference.max() + 1e-5 * scale


def test_soft_mellowmax_keeps_a_constant():
    value = soft_mellowmax(column([3.0] * 5), jnp.ones((5, 1), bool), alpha=1.0, omega=10.0)
    assert value[0] == pytest.approx(3.0)


def test_double_q_values_the_online_choice_by_the_target_net():
    online = column([1.0, 5.0, 9.0])
    target = column([10.0, 20.0, 30.0])
    avail = jnp.asarray([True, True, False])[:, None]
    assert double_q(online, target, avail)[0] == 20.0


REWARD = [1.0, 0.0, 2.0, 1.0]
NEXT_VALUE = [5.0, 4.0, 3.0, 7.0]
GOLDEN = [
    (True, 0.0, [5.95, 3.96, 4.97, 1]),
    (True, 0.6, [5.255322, 3.830508, 3.782, 1]),
    (True, 0.8, [4.74118, 3.473712, 3.386, 1]),
    (True, 1.0, [3.930499, 2.9601, 2.99, 1]),
    (False, 0.6, [6.707743, 6.275661, 7.89842, 7.93]),
    (False, 1.0, [10.654671, 9.752193, 9.8507, 7.93]),
]


@pytest.mark.parametrize(("terminal", "lam", "expected"), GOLDEN)
def test_td_lambda_golden(terminal, lam, expected):
    terminated = jnp.asarray([False, False, False, terminal])[:, None]
    filled = jnp.ones((4, 1), bool)
    returns = td_lambda(column(REWARD), column(NEXT_VALUE), terminated, filled, gamma=0.99, lam=lam)
    np.testing.assert_allclose(returns[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize(("terminal", "lam", "expected"), GOLDEN)
def test_td_lambda_does_not_look_behind_the_end(terminal, lam, expected):
    """Whatever stands behind an episode's end, in the padding, is of no consequence."""
    terminated = jnp.asarray([False, False, False, terminal, False, True, False])[:, None]
    filled = jnp.asarray([True] * 4 + [False] * 3)[:, None]
    returns = td_lambda(
        column([*REWARD, 50.0, -80.0, 1e6]),
        column([*NEXT_VALUE, 1e6, 3e5, -1e6]),
        terminated,
        filled,
        gamma=0.99,
        lam=lam,
    )
    np.testing.assert_allclose(returns[:4, 0], expected, rtol=1e-6)


def test_hybrid_target_is_one_step_during_the_burn_in():
    config = TargetConfig(kind="td_lambda", operator="soft_mellowmax", lam=0.6, burn_in=0.375)
    target = compose(config, gamma=0.99, total_steps=1000)
    terminated = jnp.asarray([False, False, False, True])[:, None]

    def returns(env_steps):
        arguments = (column(REWARD), column(NEXT_VALUE), terminated, jnp.ones((4, 1), bool))
        return target.returns(*arguments, jnp.int32(env_steps))[:, 0]

    np.testing.assert_allclose(returns(374), GOLDEN[0][2], rtol=1e-6)
    np.testing.assert_allclose(returns(375), GOLDEN[1][2], rtol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3, 10])
@pytest.mark.parametrize("terminated", [True, False])
def test_n_step_against_its_definition(n, terminated):
    rng = np.random.default_rng(n)
    length, steps = 5, 8
    reward, value = rng.normal(size=(2, steps, 1)).astype(np.float32)
    ended = np.zeros((steps, 1), bool)
    ended[length - 1] = terminated
    filled = np.arange(steps)[:, None] < length
    got = n_step(*map(jnp.asarray, (reward, value, ended, filled)), gamma=0.9, n=n)
    expected = reference.n_step_returns(
        reward[:length, 0], value[:length, 0], terminated, gamma=0.9, n=n
    )
    np.testing.assert_allclose(got[:length, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["maximum", "softmax", "mellowmax", "soft_mellowmax"])
def test_operators_against_their_definitions(name):
    rng = np.random.default_rng(0)
    q = rng.normal(size=(6, 40)).astype(np.float32)
    avail = rng.random(q.shape) < 0.5
    avail[0] = True
    operator = {
        "maximum": maximum,
        "softmax": lambda q, avail: softmax(q, avail, alpha=1.0),
        "mellowmax": lambda q, avail: soft_mellowmax(q, avail, alpha=0.0, omega=100.0),
        "soft_mellowmax": lambda q, avail: soft_mellowmax(q, avail, alpha=1.0, omega=100.0),
    }[name]
    of_reference = getattr(reference, name)
    expected = [of_reference(None, q[:, c].astype(float), avail[:, c]) for c in range(40)]
    np.testing.assert_allclose(
        operator(jnp.asarray(q), jnp.asarray(avail)), expected, rtol=1e-5, atol=1e-6
    )
