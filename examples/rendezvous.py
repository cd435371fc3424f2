"""An environment of one's own: agents that see each other meet on a grid.

    sparl train --env python:rendezvous:Rendezvous --total-steps 40000 --sparsity 0.9

run in this folder trains them; `docs/environments.md` says what each part means.
"""

import numpy as np

from sparl.envs import TimeStep
from sparl.spec import EnvSpec

SIZE, AGENTS = 6, 2
MOVES = np.array([[0, 0], [0, 1], [1, 0], [0, -1], [-1, 0]])


class Rendezvous:
    spec = EnvSpec(
        num_agents=AGENTS,
        num_actions=len(MOVES),
        obs_dim=2 * AGENTS,
        state_dim=2 * AGENTS,
        episode_limit=20,
        reward_scale=10.0,
    )

    def reset(self, seed):
        self.places = np.random.default_rng(seed).integers(SIZE, size=(AGENTS, 2))
        return self._seen(reward=0.0, met=False)

    def step(self, actions):
        self.places = np.clip(self.places + MOVES[actions], 0, SIZE - 1)
        met = bool((self.places == self.places[0]).all())
        return self._seen(reward=1.0 if met else -0.05, met=met)

    def close(self):
        pass

    def _seen(self, reward, met):
        own_first = [np.roll(self.places, -i, axis=0).reshape(-1) for i in range(AGENTS)]
        avail = [[SIZE > x >= 0 and SIZE > y >= 0 for x, y in p + MOVES] for p in self.places]
        obs = np.array(own_first) / SIZE
        return TimeStep(obs, obs[0], avail, reward, terminated=met, truncated=False, won=met)
