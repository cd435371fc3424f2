"""Families of algorithms, and what a run of one is if nothing else is said: mostly its paper's."""

import dataclasses

from sparl.config import (
    Config,
    ControlConfig,
    NetworkConfig,
    OptimizerConfig,
    ReplayConfig,
    TopologyConfig,
    WeightingConfig,
)

TEAM = ("qmix", "vdn", "ow-qmix", "cw-qmix", "res")
"""The algorithms of teams with discrete actions."""
ACTOR_CRITIC = ("td3", "sac")
"""The algorithms of continuous control by one agent."""
CONTROL = (*ACTOR_CRITIC, "comix")
"""All algorithms of continuous control, which learn from single steps."""
FAMILIES = (TEAM, ACTOR_CRITIC, ("comix",))
"""Algorithms that have settings in common; see `defaults`."""

DS_TOPOLOGY = TopologyConfig(interval=1000, fraction=0.05)
"""How many links DS moves, and when (Sokar et al.)."""


def defaults(algorithm: str, method: str | None = None) -> Config:
    """What a run of an algorithm is if nothing else is said.

    For teams this is MAST; CW-QMIX weighs errors as its own paper does. For continuous control by
    one agent it is RLx2 (Tan et al., ICLR 2023) where that is the method, or SET or RigL, which it
    was compared with, and else DS-TD3 (Sokar et al., IJCAI 2022); by a team MAST with FACMAC's
    settings on MuJoCo (Peng et al., NeurIPS 2021), but for `control.tau`.
    """
    if algorithm not in CONTROL:
        weighting = WeightingConfig(0.75) if algorithm == "cw-qmix" else WeightingConfig()
        return Config(algorithm=algorithm, method=method or Config.method, weighting=weighting)
    stepwise = Config(
        algorithm=algorithm,
        num_envs=1,
        chunk=10,
        workers="local",
        eval_every=5_000,
        eval_episodes=10,
        topology=TopologyConfig(interval=10_000),
        replay=ReplayConfig(
            capacity=1_000_000,
            batch_size=100,
            # MAST's shares of a replay of a million and of the batch.
            window=20_000,
            window_batch=25,
            review_interval=10_000,
        ),
    )
    if algorithm == "comix":
        return _of_comix(stepwise, method or Config.method)
    return _of_actor_critic(stepwise, method or "ds")


def _of_actor_critic(stepwise: Config, method: str) -> Config:
    config = dataclasses.replace(
        stepwise,
        env="gym:HalfCheetah-v5",
        method=method,
        sparsity=0.5,
        total_steps=1_000_000,
        topology=dataclasses.replace(DS_TOPOLOGY, distribution="lambda"),
        network=NetworkConfig(hidden=256),
        optimizer=OptimizerConfig(lr=1e-3, eps=1e-8, clip=0.0),
    )
    if method not in ("set", "rigl", "rlx2"):
        return config
    # RLx2's SAC keeps three times as many steps.
    sac = config.algorithm == "sac"
    capacity, min_replay = (3_000_000, 200_000) if sac else (1_000_000, 100_000)
    if method != "rlx2":
        min_replay = ControlConfig.min_replay
    return dataclasses.replace(
        config,
        sparsity=0.9,
        topology=stepwise.topology,
        replay=dataclasses.replace(
            config.replay, capacity=capacity, batch_size=256, window_batch=64
        ),
        control=ControlConfig(critic_sparsity=0.85, weight_decay=0.0, min_replay=min_replay),
        optimizer=dataclasses.replace(config.optimizer, lr=3e-4),
    )


def _of_comix(stepwise: Config, method: str) -> Config:
    """Links move after as many env steps as MAST's on SMAC, but for DS, which has its own pace."""
    return dataclasses.replace(
        stepwise,
        env="mamujoco:HalfCheetah-2x3",
        method=method,
        sparsity=0.9,
        topology=DS_TOPOLOGY if method == "ds" else stepwise.topology,
        network=NetworkConfig(hidden=400, embed=64),
        control=ControlConfig(random_steps=10_000, weight_decay=0.0),
        optimizer=OptimizerConfig(lr=1e-3, eps=0.01, clip=0.5),
    )
