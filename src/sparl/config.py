"""Everything a run can be told, as frozen dataclasses whose docstrings are the `--help`.

Defaults are those of MAST (Hu et al., NeurIPS 2024), but for `target.omega`, and, where it is
silent, of PyMARL.
"""

from dataclasses import dataclass, field
from typing import Annotated

import tyro

FROM_METHOD = "method"
"""Stands for the choice that the method makes."""


@dataclass(frozen=True)
class TopologyConfig:
    """Which links exist, and when they move."""

    kind: str = FROM_METHOD
    """dense, tiny (dense and narrow, of as many parameters), static, set, rigl, or ds (set with
    each sign by itself); or method, for the method's choice."""
    distribution: str = "erdos_renyi"
    """How links are shared out among layers: erdos_renyi or uniform; or lambda, by which hidden
    layers have the densities that --topology.lambdas says and a network's last one all links."""
    lambdas: str = "7,64"
    """Factor of each hidden layer's density, which is that times (in + out) / (in out) (DS-TD3)."""
    interval: int = 200
    """Updates between two changes of the topology."""
    fraction: float = 0.5
    """Share of a layer's links that the first change moves; annealed to 0 on a cosine, but for ds
    in continuous control, where it stays."""
    from_: Annotated[str, tyro.conf.arg(name="from")] = ""
    """A run whose links, as they are now, this one begins with: with --topology.kind static the
    winning ticket. By default links are random."""
    agent_densities: str = ""
    """Separate agents: UNIT=DENSITY,... fixes the density of each agent's network by its unit, e.g.
    stalker=0.14,zealot=0.06. By default all begin alike, and links move from agent to agent."""


@dataclass(frozen=True)
class TargetConfig:
    """What Q is regressed to."""

    kind: str = FROM_METHOD
    """one_step; n_step or td_lambda, one-step at first; or method."""
    operator: str = FROM_METHOD
    """Value of the next step's actions: double_q, max, softmax, mellowmax, soft_mellowmax, or RES's
    own subspace_softmax; or method."""
    lam: float = 0.6
    """Lambda of TD(lambda)."""
    burn_in: float = 0.375
    """Share of all env steps before TD(lambda) begins (MAST's T0 = 0.75M of 2M); in continuous
    control of all updates."""
    n: int = 3
    """n_step: rewards of a return."""
    delay: float = 0.1
    """Share of all env steps before n_step begins, one-step until then (RLx2: 300k of 3M); in
    continuous control of all updates."""
    alpha: float = 1.0
    """Softmax and Soft Mellowmax: temperature of the softmax weights."""
    omega: float = 100.0
    """Mellowmax and Soft Mellowmax: temperature of the mellowmax. At 10, which we recall of MAST,
    sparse agents win half as much on two of SMAX's maps (docs/results.md)."""
    beta: float = 5.0
    """Subspace softmax: temperature (RES on SMAC)."""


@dataclass(frozen=True)
class ReplayConfig:
    """Which experience is kept, and how batches are drawn from it."""

    kind: str = FROM_METHOD
    """uniform; dual: a share of each batch from the newest episodes; dynamic: old episodes leave
    when the policy has moved on; or method."""
    capacity: int = 5000
    """Episodes kept; in continuous control env steps, an episode's end counting as one."""
    batch_size: int = 32
    """Episodes per update; in continuous control env steps."""
    window: int = 100
    """Dual: how many of the newest episodes, or steps, make the on-policy window."""
    window_batch: int = 8
    """Dual: how many of a batch's episodes, or steps, come from the window."""
    review_interval: int = 200
    """Dynamic: updates between two looks at the oldest episodes."""
    threshold: float = 0.2
    """Dynamic: policy distance above which the oldest tenth leaves (RLx2)."""
    reserve: float = 0.75
    """Memory is reserved for episodes of this share of the time limit on average. Longer ones push
    the oldest out before `capacity` is reached."""


@dataclass(frozen=True)
class NetworkConfig:
    """Widths of the networks (PyMARL's)."""

    hidden: int = 64
    """Units of the recurrent agent; in continuous control of each hidden layer."""
    agents: str = "shared"
    """shared: one network for all agents; separate: one each, with one budget of links."""
    embed: int = 32
    """Units of QMIX's mixing layer."""
    hypernet: int = 64
    """Hidden units of QMIX's two-layer hypernetworks."""
    central_embed: int = 256
    """Units of the unrestricted mixer of OW-QMIX and CW-QMIX."""


@dataclass(frozen=True)
class ControlConfig:
    """TD3, SAC and COMIX."""

    critic_sparsity: float = 0.0
    """TD3 and SAC: share of the critics' weights that are absent; 0 takes that of the actor,
    --sparsity."""
    random_steps: int = 25_000
    """Env steps before the actor acts and learning begins; until then actions are uniform."""
    tau: float = 0.005
    """Share of the way to the online networks that target networks go at a time."""
    weight_decay: float = 2e-4
    """Factor of the weights in the gradient (DS-TD3; RLx2: 0)."""
    policy_delay: int = 2
    """TD3: updates of the critics to one of the actor and the target networks."""
    exploration_noise: float = 0.1
    """TD3 and COMIX: standard deviation of the noise on actions, which lie in [-1, 1]."""
    target_noise: float = 0.2
    """TD3: standard deviation of the noise on the target's actions."""
    noise_clip: float = 0.5
    """TD3: its largest magnitude."""
    min_replay: int = 100_000
    """Dynamic replay: nothing is discarded while no more steps than this are kept (RLx2)."""
    finish: float = 0.95
    """ds: share of all updates after which the next change of the topology is the last, and only
    drops links (DS-TD3: 925,000 of 975,000); 1 is never."""
    horizon: int = 3
    """COMIX: rewards behind which TD(lambda) is cut off, as batches are of single steps."""
    cem_samples: int = 64
    """COMIX: actions that a round of the search for an agent's best one looks at."""
    cem_elites: int = 6
    """COMIX: how many of the best of them the next round goes by."""
    cem_rounds: int = 2
    """COMIX: rounds of the search."""


@dataclass(frozen=True)
class WeightingConfig:
    """OW-QMIX and CW-QMIX."""

    alpha: float = 0.5
    """Weight of the errors that do not count in full: their paper's on SMAC, 0.75 for CW."""


@dataclass(frozen=True)
class ResConfig:
    """RES."""

    regulariser: float = 0.05
    """Weight of the squared distance from the realised return (0.05 on SMAC)."""


@dataclass(frozen=True)
class OptimizerConfig:
    """RMSProp as PyMARL uses it; in continuous control Adam."""

    lr: float = 5e-4
    """Learning rate."""
    decay: float = 0.99
    """RMSProp: smoothing of the squared gradient."""
    eps: float = 1e-5
    """Added to the root of the squared gradient."""
    clip: float = 10.0
    """Largest global norm of the gradient; 0 is any."""


@dataclass(frozen=True)
class ExplorationConfig:
    """Epsilon-greedy exploration, epsilon linear in env steps."""

    start: float = 1.0
    """Epsilon at the first step."""
    finish: float = 0.05
    """Epsilon once annealed."""
    anneal_steps: int = 50_000
    """Env steps over which epsilon falls."""


@dataclass(frozen=True)
class Config:
    """One run. Flags left alone take the values of the MAST paper, but for `target.omega`."""

    env: str = "smax:3m"
    """Environment, as INTERFACE:NAME; the interfaces are smax, smac, smacv2, smaclite, pettingzoo,
    lbf, rware, gym and mamujoco for continuous control, and python for one of your own."""
    algorithm: str = "qmix"
    """qmix, vdn, ow-qmix, cw-qmix or res for teams with discrete actions; td3 or sac for continuous
    control, and comix for that of teams, where many other defaults differ: see `sparl train
    --algorithm td3 --help`."""
    method: str = "mast"
    """dense, tiny, static, set, rigl, rlx2, mast or ds: a choice of topology, target and replay at
    once."""
    sparsity: float = 0.95
    """Share of the weights that are absent, in [0, 1). The dense method has none absent."""
    total_steps: int = 2_000_000
    """Env steps to train for, all environments together; rounded up to whole chunks."""
    seed: int = 0
    """Seed of everything random."""
    num_seeds: int = 1
    """Seeds trained side by side in one program: seed, seed + 1, ..."""
    num_envs: int = 8
    """Environments stepped in parallel, per seed."""
    chunk: int = 25
    """Steps of every environment between two looks at the learner."""
    gamma: float = 0.99
    """Discount factor."""
    target_interval: int = 200
    """Updates between two copies into the target network."""
    compute: str = "auto"
    """How weights multiply: dense (all links), masked (dense products, times a mask), sparse (only
    the links, by native kernels, on a CPU), or auto, the fastest that the machine has."""
    reward_scale: float = 0.0
    """Rewards are multiplied by this; 0 takes the environment's own factor, which is 10 for SMAX
    (it returns at most about 2, SMAC at most 20) and 1 elsewhere."""
    workers: str = "process"
    """Where environments that are stepped on the host live: process, ray, or local, which is the
    learner's own process."""
    num_workers: int = 0
    """Over how many workers they are spread; 0 takes one per core, and with ray one for each."""
    env_timeout: float = 120.0
    """Seconds after which an environment that does not answer is started anew."""
    eval_every: int = 10_000
    """Env steps between evaluations."""
    eval_episodes: int = 32
    """Greedy episodes per evaluation."""
    log_every: int = 2_000
    """Env steps between lines of training metrics, the last of which ends the run."""
    checkpoint_every: int = 50_000
    """Env steps between checkpoints."""
    topology: TopologyConfig = field(default_factory=TopologyConfig)
    target: TargetConfig = field(default_factory=TargetConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    weighting: WeightingConfig = field(default_factory=WeightingConfig)
    res: ResConfig = field(default_factory=ResConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)
