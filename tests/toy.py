"""A tiny environment whose every number can be foretold."""

import jax
import jax.numpy as jnp

from sparl.envs import TimeStep
from sparl.spec import EnvSpec


class Toy:
    """Two agents, three actions; the state counts steps and remembers the reset's number.

    An episode drawn as `number` lasts `2 + number % 5` steps and then terminates, unless that is
    the limit of 6, where it is cut off. Action 2 is available at even steps only. The observation
    is (number, step, agent); the reward of a step is number + step / 10.
    """

    spec = EnvSpec(num_agents=2, num_actions=3, obs_dim=3, state_dim=2, episode_limit=6)

    def reset(self, key):
        state = {"number": jax.random.randint(key, (), 0, 100), "step": jnp.int32(0)}
        false = jnp.zeros((), bool)
        return state, self._seen(state, jnp.float32(0), false, false)

    def step(self, key, state, actions):
        reward = state["number"] + state["step"] / 10
        state = state | {"step": state["step"] + 1}
        ended = state["step"] == 2 + state["number"] % 5
        truncated = ended & (state["step"] == 6)
        return state, self._seen(state, reward, ended & ~truncated, truncated)

    def _seen(self, state, reward, terminated, truncated):
        number, step = state["number"].astype(jnp.float32), state["step"].astype(jnp.float32)
        obs = jnp.stack([jnp.stack([number, step, jnp.float32(i)]) for i in range(2)])
        avail = jnp.ones((2, 3), bool).at[:, 2].set(state["step"] % 2 == 0)
        return TimeStep(
            obs=obs,
            state=jnp.stack([number, step]),
            avail_actions=avail,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            won=terminated & (state["number"] % 2 == 0),
        )
