"""A team with continuous actions, whose agents' observations and actions differ in length."""

import numpy as np

from sparl.envs import TimeStep
from sparl.spec import ControlSpec


class Hands:
    """One hand is to be where it sees a number, the other has two fingers to put at two more.

    The state has all three numbers. A step is worth 1 less the squared distances.
    """

    spec = ControlSpec(
        obs_dim=6, action_dim=3, episode_limit=10, obs_dims=(1, 2), action_dims=(1, 2)
    )

    def reset(self, seed):
        self._random, self._steps = np.random.default_rng(seed), 0
        return self._seen(0.0)

    def step(self, actions):
        self._steps += 1
        return self._seen(1 - float(np.sum((np.asarray(actions) - self._wanted) ** 2)))

    def close(self):
        pass

    def _seen(self, reward):
        self._wanted = self._random.uniform(-0.9, 0.9, size=3)
        return TimeStep(
            obs=np.concatenate([self._wanted, self._wanted]).astype(np.float32),
            state=np.zeros(0),
            avail_actions=np.zeros(0),
            reward=reward,
            terminated=False,
            truncated=self._steps == 10,
            won=False,
        )
