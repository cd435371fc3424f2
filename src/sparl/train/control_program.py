"""The program of continuous control: single steps, an update for each."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sparl import algorithms, envs
from sparl.algorithms.control import Control
from sparl.compute import Topology, Tree, bind, choose, dense
from sparl.config import Config
from sparl.errors import InputError
from sparl.presets import ACTOR_CRITIC
from sparl.replay import transitions
from sparl.replay.transitions import Draw, Transitions
from sparl.spec import ControlSpec
from sparl.targets import KINDS
from sparl.topology import (
    DISTRIBUTIONS,
    RULES,
    WHOLE,
    Accounting,
    account_actor_critic,
    account_comix,
    by_lambdas,
    by_name,
    cosine,
    link_count_tree,
    random_topology,
    weight_shapes,
)
from sparl.train.control_learner import ControlLearner
from sparl.train.control_player import ControlPlayer, Played, row_of
from sparl.train.control_review import ControlReview
from sparl.train.host_rollout import HostRollout
from sparl.train.optimizers import adam
from sparl.train.program import Cadence, Program, TrainState, check_memory, stream
from sparl.train.seeds import over_seeds
from sparl.train.updates import LearnerState

SPARSE_FROM = 0.45
"""The sparsity from which on `auto` takes the kernels: a little below DS-TD3's on HalfCheetah, at
which docs/control.md has them ahead. It is lower than for teams as a batch has columns enough and
there is little beside the products."""

TRIMS = 10
"""How often the target networks of DS look at their links between two changes of the topology; its
code does at every step of theirs, which would take longer than the updates."""

Allocation = tuple[Any, Mapping[str, tuple[float, ...]]]
"""How links are shared out: a distribution, and the sparsity of networks that differ in it."""


def build(config: Config, env: envs.JaxEnv | envs.HostEnv) -> Program:
    """The program of a resolved configuration on an environment, not yet compiled.

    Raises:
        InputError: If the environment is not one of continuous control, or not for the algorithm,
            or `config.compute` not possible.
    """
    if not isinstance(env, envs.HostEnv) or not isinstance(env.spec, ControlSpec):
        other = "gym:NAME" if config.algorithm in ACTOR_CRITIC else "mamujoco:NAME"
        raise InputError(
            f"{config.env} is an environment of a team with discrete actions, and "
            f"{config.algorithm} is for continuous control: pass --env {other}, or an algorithm "
            "for such teams as --algorithm qmix"
        )
    env.close()  # Workers make their own.
    spec = env.spec
    algorithm = algorithms.make_control(spec, config)
    params = jax.eval_shape(algorithm.init, jax.random.key(0))
    counts = dense(params)
    if config.topology.kind not in WHOLE:
        counts = link_count_tree(params, config.sparsity, *_allocation(config))
    host = HostRollout(spec, ControlPlayer(spec, algorithm, config), config)
    return _program(config, spec, algorithm, host, counts)


def _program(
    config: Config,
    spec: ControlSpec,
    algorithm: Control,
    host: HostRollout,
    counts: Tree,
    *,
    begun: Tree | None = None,
) -> Program:
    """The program of networks with so many links.

    After DS has dropped some for good, `begun` is how many there were before.
    """
    pruned = begun is not None
    params = jax.eval_shape(algorithm.init, jax.random.key(0))
    densities, sparsity = _densities(params, begun or counts)
    form = choose(config.compute, sparsity, SPARSE_FROM)
    learner = _learner(config, algorithm)
    replay = config.replay
    review = ControlReview(
        algorithm, replay.batch_size, replay.threshold, config.control.min_replay
    )
    last = None if pruned else _last_change(config)
    fewer = jax.tree.map(partial(_fewer, config.topology.fraction), params, counts)

    def from_masked(state: LearnerState) -> LearnerState:
        return learner.to_sparse(state, counts) if form == "sparse" else state

    def init(seed: jax.Array, masks: Topology = None) -> TrainState:
        state, ring = _initial(config, spec, learner, seed, masks)
        return TrainState(host.init(stream(seed, "rollout")), ring, from_masked(state))

    jit = partial(_jit, config.num_seeds)
    dynamic = replay.kind == "dynamic"
    return Program(
        config=config,
        spec=spec,
        form=form,
        algorithm=algorithm,
        host=host,
        init=jit(init),
        collect=host.collect,
        store=jit(_store, shared=(2,), donate_argnums=0),
        learn=jit(learner.learn, shared=(3,), donate_argnums=0),
        evolve=jit(learner.evolve, shared=(2,), donate_argnums=0),
        review=jit(review.review, donate_argnums=1),
        diagnose=jit(learner.diagnose),
        sync_target=_follows,
        evaluate=host.evaluate,
        to_masked=jit(learner.to_masked),
        from_masked=jit(from_masked),
        counts=counts,
        sparsity=sparsity,
        cadence=Cadence(
            evolve=None if pruned else min(learner.intervals.values(), default=None),
            review=replay.review_interval if dynamic else None,
            prune=last,
        ),
        due=partial(_due, config.control.random_steps),
        exploration=_no_exploration,
        accounting=partial(_accounting, config, spec, densities),
        arguments=partial(
            _arguments, host, dynamic=dynamic, evolves=bool(learner.intervals) and not pruned
        ),
        check_ring=lambda ring: check_memory(ring, ring.rows.reward.shape[-1]),
        prune=jit(partial(learner.prune, counts=fewer)),
        pruned=partial(_program, config, spec, algorithm, host, fewer, begun=counts),
    )


def _initial(
    config: Config, spec: ControlSpec, learner: ControlLearner, seed: jax.Array, masks: Topology
) -> tuple[LearnerState, Transitions]:
    """A learner in the masked form, on random links if no `masks` are given, and its ring."""
    own = learner.algorithm.init(stream(seed, "params"))
    if masks is None:
        masks = dense(own)
        if config.topology.kind not in WHOLE:
            key = stream(seed, "topology")
            masks = random_topology(key, own, config.sparsity, *_allocation(config))
    # A step is a row and may end an episode, which is one more; the last chunk is whole.
    rows = 2 * (config.total_steps + config.num_envs * config.chunk)
    capacity = min(config.replay.capacity, rows)
    ring = transitions.init(row_of(spec, config), capacity=capacity, num_envs=config.num_envs)
    return learner.init(stream(seed, "learner"), bind(own, masks), masks), ring


def _store(ring: Transitions, played: Played, most: jax.Array) -> Transitions:
    del most
    return transitions.insert(ring, played.rows, played.count)


def _fewer(fraction: float, weight: jax.ShapeDtypeStruct, count: int | None) -> int | None:
    """Links after the last change of DS; layers that have all keep them."""
    return count if count in (None, weight.size) else count - int(fraction * count)


def _last_change(config: Config) -> int | None:
    """The update after which DS drops links for good, if training goes so far."""
    if config.topology.kind != "ds":
        return None
    updates = config.total_steps - config.control.random_steps
    interval = config.topology.interval
    last = (int(config.control.finish * updates) // interval + 1) * interval
    return last if config.control.finish < 1 and last < updates else None


def _jit(seeds: int, fn: Any, shared: tuple[int, ...] = (), **kwargs: Any) -> Any:
    return jax.jit(over_seeds(fn, seeds, shared=shared), **kwargs)


def _allocation(config: Config) -> Allocation:
    if config.topology.distribution == "lambda":
        distribution = by_lambdas(config.topology.lambdas)
    else:
        distribution = DISTRIBUTIONS[config.topology.distribution]
    critics = (config.control.critic_sparsity or config.sparsity,)
    return distribution, dict.fromkeys(algorithms.CRITICS, critics)


def _densities(params: Tree, counts: Tree) -> tuple[dict[str, float], float]:
    """The share of each weight's links that are there, and that of all links that are not."""
    sizes = {name: rows * columns for name, (rows, columns) in weight_shapes(params).items()}
    links = sizes | by_name(counts)
    densities = {name: links[name] / size for name, size in sizes.items()}
    return densities, 1 - sum(links.values()) / sum(sizes.values())


def _learner(config: Config, algorithm: Control) -> ControlLearner:
    kind, settings = config.topology.kind, config.control
    interval, fraction = config.topology.interval, config.topology.fraction
    rule, ds = RULES[kind], kind == "ds"

    updates = config.total_steps - settings.random_steps

    def share(env_steps: jax.Array) -> jax.Array | float:
        if ds:
            return fraction
        return cosine((env_steps - settings.random_steps) / updates, start=fraction)

    moving = algorithm.parts if rule else ()
    follows = max(part.every for part in algorithm.parts)
    target = config.target
    _, share_before = KINDS[target.kind](target)
    return ControlLearner(
        algorithm=algorithm,
        optimizer=adam(config),
        rule=rule,
        replaces=not ds,
        # Sokar et al. move the links of all networks at once; RLx2 counts each network's updates.
        intervals={part.name: interval * (1 if ds else part.every) for part in moving},
        fraction=share,
        draw=_draw(config),
        rewards=_rewards(config),
        delay=round(share_before * updates),
        tau=settings.tau,
        target_every=follows,
        trim_every=follows * max(interval // (TRIMS * follows), 1) if ds else None,
    )


def _rewards(config: Config) -> int:
    """Most rewards of a return."""
    longest = {"one_step": 1, "n_step": config.target.n, "td_lambda": config.control.horizon}
    return longest[config.target.kind]


def _draw(config: Config) -> Draw:
    replay = config.replay
    drawn = partial(transitions.DRAWS[replay.kind], batch_size=replay.batch_size)
    if replay.kind != "dual":
        return drawn
    return partial(drawn, window=replay.window, window_batch=replay.window_batch)


def _due(
    random_steps: int, episodes: np.ndarray, finished: np.ndarray, env_steps: int, steps: int
) -> np.ndarray:
    """One update for each env step after those of the random policy."""
    del finished
    before, after = (max(count - random_steps, 0) for count in (env_steps, env_steps + steps))
    return np.full(len(episodes), after - before)


def _follows(learner: LearnerState, due: Any) -> LearnerState:
    """Target networks follow by themselves."""
    del due
    return learner


def _no_exploration(env_steps: int) -> dict[str, float]:
    del env_steps
    return {}


def _accounting(
    config: Config,
    spec: ControlSpec,
    wanted: Mapping[str, float],
    densities: Mapping[str, float] | None = None,
) -> Accounting:
    """Training costs what it does with the links before DS drops some for good."""
    settings, hidden = config.control, config.network.hidden
    if config.algorithm == "comix":
        account = partial(
            account_comix,
            obs_dims=spec.obs_dims,
            action_dims=spec.action_dims,
            state_dim=spec.state_dim,
            hidden=hidden,
            embed=config.network.embed,
            hypernet=config.network.hypernet,
            searched=settings.cem_rounds * settings.cem_samples,
            # TD(lambda) searches behind each reward, an n-step return behind the last alone.
            steps=_rewards(config) if config.target.kind == "td_lambda" else 1,
        )
    else:
        account = partial(
            account_actor_critic,
            config.algorithm,
            obs_dim=spec.obs_dim,
            action_dim=spec.action_dim,
            hidden=hidden,
            policy_delay=settings.policy_delay,
            rewards=_rewards(config),
        )
    training, found = account(densities=wanted), account(densities=densities or wanted)
    sparse = replace(found.sparse, train_flops=training.sparse.train_flops)
    return replace(found, sparse=sparse)


def _arguments(
    host: HostRollout, state: TrainState, *, dynamic: bool, evolves: bool
) -> dict[str, tuple]:
    """Shapes of the arguments of what is compiled."""
    _, ring, learner = state
    seeds = learner.updates.shape
    count = jax.ShapeDtypeStruct((), jnp.int32)
    counts, due = jax.ShapeDtypeStruct(seeds, jnp.int32), jax.ShapeDtypeStruct(seeds, bool)
    found: dict[str, tuple] = {
        "store": (ring, host.finished_shapes(), count),
        "learn": (learner, ring, counts, count),
        "diagnose": (learner, ring),
    }
    if evolves:
        found["evolve"] = (learner, ring, count, due)
    if dynamic:
        found["review"] = (learner, ring, due)
    return found
