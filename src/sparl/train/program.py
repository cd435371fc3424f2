"""A configuration turned into the handful of compiled functions that training is made of."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from sparl import algorithms, envs, replay, targets
from sparl.compute import Topology, Tree, bind, choose, dense, keep_freed, native
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
from sparl.train.host_rollout import HostRollout, HostRolloutState
from sparl.train.learner import Learner, LearnerState, UpdateMetrics
from sparl.train.rollout import Finished, Rollout, RolloutState, cut_episode
from sparl.train.seeds import any_seed, largest, over_seeds


class TrainState(NamedTuple):
    """All that a run is at one moment; leaves have a leading axis of `S` seeds."""

    rollout: RolloutState | HostRolloutState
    ring: Ring
    learner: LearnerState


@dataclass(frozen=True)
class Program:
    """The functions of one configuration, for all its `S` seeds at once.

    Arguments that are handed back changed are donated: use what comes back.

    Attributes:
        config: The resolved configuration.
        spec: Sizes of the environment.
        network: Widths of the networks, which `tiny` finds by itself.
        form: In which weights are held; see `sparl.compute.forms`.
        algorithm: Networks and loss.
        host: What plays where environments are stepped on the host; `collect` and `evaluate` are
            its own then, and not compiled.
        init: `(seeds [S], masks)` to a `TrainState`; without masks links are random.
        collect: `(params, topology, rollout)` to a rollout and what finished.
        store: `(ring, finished, most)` to a ring that holds them too; `most` is the largest number
            of episodes that finished for any seed.
        learn: `(learner, ring, updates [S], env_steps)` to a learner and metrics.
        evolve: `(learner, ring, env_steps, due [S])` to a learner and what changed.
        review: `(learner, ring, due [S])` to a ring without what is too old, and what was found.
        diagnose: `(learner, ring)` to what the network and the replay look like.
        sync_target: `(learner, due [S])` to a learner.
        evaluate: `(params, topology, seeds [S], number)` to means over episodes, each `[S]`. The
            number of an evaluation selects its random keys, which training never uses.
        to_masked: A learner to one whose weights are in the masked form; see `sparl.compute`.
        from_masked: And back to the form of this program.
    """

    config: Config
    spec: EnvSpec
    network: NetworkConfig
    form: str
    algorithm: algorithms.Algorithm
    host: HostRollout | None
    init: Callable[..., TrainState]
    collect: Callable[..., tuple[Any, Finished]]
    store: Callable[..., Ring]
    learn: Callable[..., tuple[LearnerState, UpdateMetrics]]
    evolve: Callable[..., tuple[LearnerState, dict[str, jax.Array]]]
    review: Callable[..., tuple[Ring, dict[str, jax.Array]]]
    diagnose: Callable[..., dict[str, jax.Array]]
    sync_target: Callable[..., LearnerState]
    evaluate: Callable[..., dict[str, jax.Array]]
    to_masked: Callable[[LearnerState], LearnerState]
    from_masked: Callable[[LearnerState], LearnerState]

    @property
    def seeds(self) -> jax.Array:
        """The seeds, integers `[S]`."""
        return self.config.seed + jnp.arange(self.config.num_seeds)

    @property
    def template(self) -> TrainState:
        """Shapes and types of what checkpoints hold: a state with a learner in the masked form."""

        def portable(seeds: jax.Array) -> TrainState:
            state = self.init(seeds)
            return state._replace(learner=self.to_masked(state.learner))

        return jax.eval_shape(portable, self.seeds)

    def check(self) -> None:
        """Check what only the built program can tell, at the cost of tracing.

        Raises:
            InputError: If the sparsity leaves a layer too few links, or the replay is too small
                for a batch or too large for the machine.
        """
        state = jax.eval_shape(self.init, self.seeds)
        self.accounting()
        _check_replay(self.config, self.spec, state.ring)

    def notes(self) -> list[str]:
        """What has happened to environments since the last call, in sentences."""
        return self.host.notes() if self.host else []

    def close(self) -> None:
        """End the processes that step environments, where there are any."""
        if self.host:
            self.host.close()

    def accounting(self, densities: Mapping[str, float] | None = None) -> Accounting:
        """Parameters and FLOPs at the target sparsity, or at measured densities by layer name.

        Beside those of the dense twin, which has the widths of the configuration.
        """
        whole = self.config.topology.kind in WHOLE
        own = self._account(self.network, 0.0 if whole else self.config.sparsity, densities)
        return replace(own, dense=self._account(self.config.network, 0.0).dense)

    def _account(
        self,
        network: NetworkConfig,
        sparsity: float,
        densities: Mapping[str, float] | None = None,
    ) -> Accounting:
        spec = self.spec
        return account(
            self.config.algorithm,
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

    def compiled(self) -> "Program":
        """The same program, compiled now rather than at first use."""
        state = jax.eval_shape(self.init, self.seeds)
        rollout, ring, learner = state
        online = (learner.params, learner.topology)
        host = self.host
        if host:
            finished = host.finished_shapes()
        else:
            _, finished = jax.eval_shape(self.collect, *online, rollout)
        count = jax.ShapeDtypeStruct((), jnp.int32)
        counts = jax.ShapeDtypeStruct(self.seeds.shape, jnp.int32)
        due = jax.ShapeDtypeStruct(self.seeds.shape, bool)
        arguments = {
            "store": (ring, finished, count),
            "learn": (learner, ring, counts, count),
            "diagnose": (learner, ring),
            "sync_target": (learner, due),
        }
        if not host:
            arguments["collect"] = (*online, rollout)
            arguments["evaluate"] = (*online, counts, count)
        if RULES[self.config.topology.kind]:
            arguments["evolve"] = (learner, ring, count, due)
        if self.config.replay.kind == "dynamic":
            arguments["review"] = (learner, ring, due)
        lowered = {name: getattr(self, name).lower(*args) for name, args in arguments.items()}
        with ThreadPoolExecutor() as pool:  # XLA compiles outside Python's lock.
            pending = {name: pool.submit(low.compile) for name, low in lowered.items()}
            if host:
                host.act = host.act.lower(*online, *host.act_shapes()).compile()
            return replace(self, **{name: done.result() for name, done in pending.items()})


def build(config: Config) -> Program:
    """The program of a resolved configuration, not yet compiled.

    The process keeps freed memory from now on; see `sparl.compute.memory`.

    Raises:
        InputError: If the environment is unknown, or `config.compute` not possible.
    """
    keep_freed()
    native.unavailable()  # A kernel reads batches in every form: what is wrong is raised now.
    seeds = config.num_seeds
    form = _form(config)
    env = envs.make(config.env)
    spec = env.spec
    target = targets.compose(config.target, gamma=config.gamma, total_steps=config.total_steps)
    if config.topology.kind == "tiny":
        network = algorithms.fit(spec, config, target)
    else:
        network = config.network
    algorithm = algorithms.make(spec, replace(config, network=network), target)
    rollout = _rollout(config, env, algorithm)
    learner = Learner(
        algorithm=algorithm,
        optimizer=_optimizer(config),
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
            _stream(seed, name) for name in ("params", "topology", "rollout", "learner")
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
    return Program(
        config=config,
        spec=spec,
        network=network,
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
    )


def _rollout(
    config: Config, env: envs.JaxEnv | envs.HostEnv, algorithm: algorithms.Algorithm
) -> Rollout | HostRollout:
    """What plays, by where the environment is stepped."""
    envs.check_workers(config.workers)
    if isinstance(env, envs.HostEnv):
        env.close()  # Workers make their own.
        if config.num_seeds > 1:
            raise InputError(
                f"{config.env} is stepped on the host, where seeds cannot share a program: train "
                "each by itself, with --seed"
            )
        # Whoever has a cluster has one for all of them.
        most = config.num_envs if config.workers == "ray" else os.cpu_count() or 1
        start = partial(
            envs.Workers,
            config.env,
            count=min(config.num_envs, config.num_workers or most),
            kind=config.workers,
            timeout=config.env_timeout,
        )
        return HostRollout(env.spec, algorithm, config, start)
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
        reward_scale=config.reward_scale or env.spec.reward_scale,
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
    key = jax.random.fold_in(_stream(seed, "evaluation"), number)
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


def _check_replay(config: Config, spec: EnvSpec, ring: Ring) -> None:
    """Compare the ring, of which only shapes are looked at, with a batch and with the machine."""
    longest = spec.episode_limit + 1
    held = min(config.replay.capacity, ring.rows // longest - 1)
    if held < config.replay.batch_size:
        raise InputError(
            f"the replay might hold no more than {held} episodes of the time limit, fewer than "
            f"replay.batch_size ({config.replay.batch_size}): raise --replay.capacity or "
            "--replay.reserve"
        )
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(ring))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if ring.rows >= 2**31 or size > memory:
        raise InputError(
            f"the replay would take {size / 1e9:.1f} GB, and this machine has "
            f"{memory / 1e9:.1f} GB: lower --replay.capacity, --replay.reserve or --num-seeds"
        )


STREAMS = ("params", "topology", "rollout", "learner", "evaluation")


def _stream(seed: jax.Array, name: str) -> jax.Array:
    """The random key of one purpose; no two purposes share one."""
    return jax.random.fold_in(jax.random.key(seed), STREAMS.index(name))


def _optimizer(config: Config) -> optax.GradientTransformation:
    # PyTorch adds eps to the root, outside of it.
    rmsprop = config.optimizer
    return optax.chain(
        optax.clip_by_global_norm(rmsprop.clip),
        optax.rmsprop(rmsprop.lr, decay=rmsprop.decay, eps=rmsprop.eps, eps_in_sqrt=False),
    )


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
