"""Stable-Baselines3's TD3 as `control_peers.py` times it; run with an installation that has it.

Its arguments are ENV, ENV_STEPS, BATCH_SIZE and RANDOM_STEPS.
"""

import sys

import gymnasium
import numpy as np
from stable_baselines3 import TD3
from stable_baselines3.common.noise import NormalActionNoise

name, steps, batch, random = sys.argv[1], *map(int, sys.argv[2:])
env = gymnasium.make(name)
size = env.action_space.shape
TD3(
    "MlpPolicy",
    env,
    batch_size=batch,
    learning_starts=random,
    train_freq=1,
    gradient_steps=1,
    action_noise=NormalActionNoise(np.zeros(size), np.full(size, 0.1)),
    policy_kwargs={"net_arch": [256, 256]},
    device="cpu",
).learn(steps)
