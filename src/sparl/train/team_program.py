"""The program of a team: agents whose Q-values are mixed, whole episodes, updates as these end."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sparl import algorithms, envs, replay, targets
from sparl.compute import Topology, Tree, bind, choose, dense
from sparl.config import Config, NetworkConfig
from sparl.errors import InputError
from sparl.replay import DRAWS, Ring
from sparl.spec import EnvSpec
from sparl.topology import (
    RULES,
    WHOLE,
    Accounting,
    account,
    agent_budgets,
    link_count_tree,
    random_topology,
)
from sparl.train.acting import epsilon
from sparl.train.host_rollout import HostRollout
from sparl.train.learner import Learner
from sparl.train.optimizers import rmsprop
from sparl.train.program import Cadence, Program, TrainState, check_memory, stream
from sparl.train.rollout import Finished, Rollout, RolloutState, cut_episode
from sparl.train.seeds import any_seed, largest, over_seeds
from sparl.train.team_player import TeamPlayer
from sparl.train.updates import LearnerState


def build(config: Config, env: envs.JaxEnv | envs.HostEnv) -> Program:
    """The program of a resolved configuration on an environment, not yet compiled.

    Raises:
        InputError: If the environment is not one of teams, or `config.compute` not possible.
    """
    if not isinstance(env.spec, EnvSpec):
        raise InputError(
            f"{config.env} has continuous actions, and {config.algorithm} is for teams with "
            f"discrete ones: pass --algorithm {'comix' if env.spec.num_agents else 'td3 or sac'}"
        )
    seeds = config.num_seeds
    form = _form(config)
    spec = env.spec
    target = targets.compose(config.target, gamma=config.gamma, total_steps=config.total_steps)
    if config.topology.kind == "tiny":
        network = algorithms.fit(spec, config, target)
    else:
        network = config.network
    algorithm = algorithms.make(spec, replace(config, network=network), target)
    rollout = _rollout(config, spec, env, algorithm)
    learner = Learner(
        algorithm=algorithm,
        optimizer=rmsprop(config),
        draw=_draw(config),
        rule=RULES[config.topology.kind],
        apart=_apart(config, spec),
        fraction=config.topology.fraction,
        total_steps=config.total_steps,
        num_actions=spec.num_actions,
        batch_size=config.replay.batch_size,
        threshold=config.replay.threshold,
        lengths=_lengths(spec.episode_limit),
        largest=partial(largest, num_seeds=seeds),
    )

    counts = initial_counts(config, spec, jax.eval_shape(algorithm.init, jax.random.key(0)))

    def from_masked(state: LearnerState) -> LearnerState:
        return learner.to_sparse(state, counts) if form == "sparse" else state

    def init(seed: jax.Array, masks: Topology = None) -> TrainState:
        params_key, topology_key, rollout_key, learner_key = (
            stream(seed, name) for name in ("params", "topology", "rollout", "learner")
        )
        params = algorithm.init(params_key)
        if masks is None:
            masks = initial_masks(config, spec, topology_key, params)
        masked = learner.init(learner_key, bind(params, masks), masks)
        return TrainState(
            rollout=rollout.init(rollout_key),
            ring=replay.init(spec, capacity=config.replay.capacity, reserve=config.replay.reserve),
            learner=from_masked(masked),
        )

    def store(ring: Ring, finished: Finished, most: jax.Array) -> Ring:
        ended = finished.ended.reshape(-1)
        order = jnp.nonzero(ended, size=ended.size)[0]
        count = jnp.sum(ended)

        def add(i: jax.Array, ring: Ring) -> Ring:
            episode, length = cut_episode(finished, order[i])
            return replay.insert(ring, episode, length, keep=i < count)

        return jax.lax.fori_loop(0, most, add, ring)

    def jit(fn: Callable, shared: tuple[int, ...] = (), **kwargs: Any) -> Callable:
        return jax.jit(over_seeds(fn, seeds, shared=shared), **kwargs)

    if isinstance(rollout, HostRollout):
        collect, evaluate = rollout.collect, rollout.evaluate
    else:
        collect = jit(partial(_collect, rollout), donate_argnums=2)
        evaluate = jit(partial(_evaluate, rollout, config.eval_episodes), shared=(3,))
    evolves = RULES[config.topology.kind] is not None
    cadence = Cadence(
        evolve=config.topology.interval if evolves else None,
        copy=config.target_interval,
        review=config.replay.review_interval if config.replay.kind == "dynamic" else None,
    )
    return Program(
        config=config,
        spec=spec,
        form=form,
        algorithm=algorithm,
        init=jit(init),
        host=rollout if isinstance(rollout, HostRollout) else None,
        collect=collect,
        store=jit(store, shared=(2,), donate_argnums=0),
        learn=jit(learner.learn, shared=(3,), donate_argnums=0),
        evolve=jit(learner.evolve, shared=(2,), donate_argnums=0),
        review=jit(learner.review, donate_argnums=1),
        diagnose=jit(learner.diagnose),
        sync_target=jit(learner.sync_target, donate_argnums=0),
        evaluate=evaluate,
        to_masked=jit(learner.to_masked),
        from_masked=jit(from_masked),
        counts=counts,
        sparsity=config.sparsity,
        cadence=cadence,
        due=partial(_due, config.replay.batch_size),
        exploration=lambda env_steps: {"epsilon": float(epsilon(config.exploration, env_steps))},
        accounting=partial(_accounting, config, spec, network),
        arguments=partial(_arguments, rollout, collect, cadence),
        check_ring=partial(_check_ring, config, spec),
    )


def _arguments(
    rollout: Rollout | HostRollout,
    collect: Callable[..., tuple[Any, Finished]],
    cadence: Cadence,
    state: TrainState,
) -> dict[str, tuple]:
    """Shapes of the arguments of what is compiled."""
    playing, ring, learner = state
    online = (learner.params, learner.topology)
    seeds = learner.updates.shape
    count = jax.ShapeDtypeStruct((), jnp.int32)
    counts = jax.ShapeDtypeStruct(seeds, jnp.int32)
    due = jax.ShapeDtypeStruct(seeds, bool)
    found: dict[str, tuple] = {
        "learn": (learner, ring, counts, count),
        "diagnose": (learner, ring),
        "sync_target": (learner, due),
    }
    if isinstance(rollout, HostRollout):
        finished = rollout.finished_shapes()
    else:
        _, finished = jax.eval_shape(collect, *online, playing)
        found["collect"] = (*online, playing)
        found["evaluate"] = (*online, counts, count)
    found["store"] = (ring, finished, count)
    if cadence.evolve:
        found["evolve"] = (learner, ring, count, due)
    if cadence.review:
        found["review"] = (learner, ring, due)
    return found


def _due(
    batch_size: int, episodes: np.ndarray, finished: np.ndarray, env_steps: int, steps: int
) -> np.ndarray:
    """One update for each episode, from the one on that completes the first batch."""
    del env_steps, steps
    early = np.maximum(batch_size - 1 - episodes, 0)
    return np.maximum(finished - early, 0)


def _accounting(
    config: Config,
    spec: EnvSpec,
    network: NetworkConfig,
    densities: Mapping[str, float] | None = None,
) -> Accounting:
    whole = config.topology.kind in WHOLE
    own = _account(config, spec, network, 0.0 if whole else config.sparsity, densities)
    return replace(own, dense=_account(config, spec, config.network, 0.0).dense)


def _account(
    config: Config,
    spec: EnvSpec,
    network: NetworkConfig,
    sparsity: float,
    densities: Mapping[str, float] | None = None,
) -> Accounting:
    return account(
        config.algorithm,
        obs_dim=spec.obs_dim,
        state_dim=spec.state_dim,
        num_actions=spec.num_actions,
        num_agents=spec.num_agents,
        sparsity=sparsity,
        hidden=network.hidden,
        embed=network.embed,
        hypernet=network.hypernet,
        central_embed=network.central_embed,
        agent_networks=spec.num_agents if network.agents == "separate" else 1,
        densities=densities,
    )


def _rollout(
    config: Config,
    spec: EnvSpec,
    env: envs.JaxEnv | envs.HostEnv,
    algorithm: algorithms.Algorithm,
) -> Rollout | HostRollout:
    """What plays, by where the environment is stepped."""
    if isinstance(env, envs.HostEnv):
        env.close()  # Workers make their own.
        if config.num_seeds > 1:
            raise InputError(
                f"{config.env} is stepped on the host, where seeds cannot share a program: train "
                "each by itself, with --seed"
            )
        return HostRollout(spec, TeamPlayer(spec, algorithm, config), config)
    for name in ("workers", "num_workers", "env_timeout"):
        value, default = getattr(config, name), getattr(Config(), name)
        if value != default:
            flag = "--" + name.replace("_", "-")
            raise InputError(
                f"{name} {value} changes nothing, as {config.env} is stepped inside the compiled "
                f"program: leave {flag} at its default {default}"
            )
    return Rollout(
        env=env,
        algorithm=algorithm,
        num_envs=config.num_envs,
        chunk=config.chunk,
        reward_scale=config.reward_scale or spec.reward_scale,
        exploration=config.exploration,
        anywhere=partial(any_seed, num_seeds=config.num_seeds),
    )


def _collect(rollout: Rollout, params: Tree, topology: Tree, state: RolloutState) -> tuple:
    return rollout.collect(bind(params, topology), state)


def _evaluate(
    rollout: Rollout,
    episodes: int,
    params: Tree,
    topology: Tree,
    seed: jax.Array,
    number: jax.Array,
) -> dict:
    key = jax.random.fold_in(stream(seed, "evaluation"), number)
    return rollout.evaluate(bind(params, topology), key, episodes)


def initial_masks(config: Config, spec: EnvSpec, key: jax.Array, params: Tree) -> Topology:
    """The links that a run starts with; `None` for each weight that has all."""
    if config.topology.kind in WHOLE:
        return dense(params)
    budgets = agent_budgets(spec, config)
    return random_topology(key, params, config.sparsity, config.topology.distribution, budgets)


def initial_counts(config: Config, spec: EnvSpec, params: Tree) -> Tree:
    """How many links each weight has, which never changes; `None` for those that have all."""
    if config.topology.kind in WHOLE:
        return dense(params)
    budgets = agent_budgets(spec, config)
    return link_count_tree(params, config.sparsity, config.topology.distribution, budgets)


def _form(config: Config) -> str:
    """In which weights are held."""
    wanted, sparsity = config.compute, config.sparsity
    if config.topology.kind in WHOLE:
        sparsity = 0.0
    elif config.network.agents == "separate":
        if wanted == "sparse":
            raise InputError(
                "the kernels multiply by one network for all agents: with --network.agents "
                "separate choose --compute masked or auto"
            )
        wanted = "masked" if wanted == "auto" else wanted
    return choose(wanted, sparsity)


def _apart(config: Config, spec: EnvSpec) -> dict[str, int]:
    """The networks of which each agent's links stay its own, and how many agents those are."""
    if not config.topology.agent_densities:
        return {}
    return {name: len(budgets) for name, budgets in agent_budgets(spec, config).items()}


def _check_ring(config: Config, spec: EnvSpec, ring: Ring) -> None:
    """Compare the ring, of which only shapes are looked at, with a batch and with the machine."""
    longest = spec.episode_limit + 1
    held = min(config.replay.capacity, ring.rows // longest - 1)
    if held < config.replay.batch_size:
        raise InputError(
            f"the replay might hold no more than {held} episodes of the time limit, fewer than "
            f"replay.batch_size ({config.replay.batch_size}): raise --replay.capacity or "
            "--replay.reserve"
        )
    check_memory(ring, ring.rows)


def _draw(config: Config) -> Callable:
    settings = config.replay
    if settings.kind == "dual":
        return partial(
            DRAWS["dual"],
            batch_size=settings.batch_size,
            window=settings.window,
            window_batch=settings.window_batch,
        )
    return partial(DRAWS[settings.kind], batch_size=settings.batch_size)


def _lengths(limit: int, parts: int = 4) -> tuple[int, ...]:
    """The lengths to which batches are cut: quarters of the episode limit."""
    return tuple(-(-limit * (i + 1) // parts) for i in range(parts))
