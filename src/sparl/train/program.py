"""A configuration turned into the handful of compiled functions that training is made of."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sparl import algorithms, envs
from sparl.algorithms.control import Control
from sparl.compute import Tree, keep_freed, native
from sparl.config import Config
from sparl.errors import InputError
from sparl.presets import CONTROL
from sparl.replay import Ring
from sparl.replay.transitions import Transitions
from sparl.spec import ControlSpec, EnvSpec
from sparl.topology import Accounting
from sparl.train.host_rollout import HostRollout, HostRolloutState
from sparl.train.rollout import RolloutState
from sparl.train.updates import LearnerState, UpdateMetrics


class TrainState(NamedTuple):
    """All that a run is at one moment; leaves have a leading axis of `S` seeds."""

    rollout: RolloutState | HostRolloutState
    ring: Ring | Transitions
    learner: LearnerState


class Cadence(NamedTuple):
    """Updates from one event to the next; `None` where there is no such event.

    Attributes:
        evolve: The update changes the topology.
        copy: The target network is copied.
        review: The replay is looked through.
        prune: After this update, and no other one, links are dropped for good.
    """

    evolve: int | None = None
    copy: int | None = None
    review: int | None = None
    prune: int | None = None


def _never(*_: Any) -> Any:
    raise ValueError("this program has no prune")


@dataclass(frozen=True)
class Program:
    """The functions of one configuration, for all its `S` seeds at once.

    Arguments that are handed back changed are donated: use what comes back.

    Attributes:
        config: The resolved configuration.
        spec: Sizes of the environment.
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
        counts: For each weight that lacks links, how many it has, which does not change before the
            prune; else `None`.
        sparsity: Share of all weights that are to be absent.
        cadence: What happens at which updates.
        due: `(episodes so far [S], episodes that a chunk has finished [S], env steps so far, env
            steps of the chunk)` to how many updates are to be made after it, `[S]`.
        exploration: Env steps to what is shown of the exploration.
        accounting: Parameters and FLOPs at the target sparsity, or at measured densities by layer
            name, beside those of the dense twin, which has the widths of the configuration.
        arguments: Shapes of a `TrainState` to those of the arguments of what is compiled, by name.
        check_ring: Refuses a ring, of which only shapes are looked at, that will not do.
        prune: A learner in the masked form to one with fewer links, and the share of each layer's
            links that were dropped; only where the cadence has a prune.
        pruned: The program that goes on from there, on the same environments; it begins nothing.
    """

    config: Config
    spec: EnvSpec | ControlSpec
    form: str
    algorithm: algorithms.Algorithm | Control
    host: HostRollout | None
    init: Callable[..., TrainState]
    collect: Callable[..., tuple[Any, Any]]
    store: Callable[..., Any]
    learn: Callable[..., tuple[LearnerState, UpdateMetrics]]
    evolve: Callable[..., tuple[LearnerState, dict[str, jax.Array]]]
    review: Callable[..., tuple[Any, dict[str, jax.Array]]]
    diagnose: Callable[..., dict[str, jax.Array]]
    sync_target: Callable[..., LearnerState]
    evaluate: Callable[..., dict[str, jax.Array]]
    to_masked: Callable[[LearnerState], LearnerState]
    from_masked: Callable[[LearnerState], LearnerState]
    counts: Tree
    sparsity: float
    cadence: Cadence
    due: Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]
    exploration: Callable[[int], dict[str, float]]
    accounting: Callable[..., Accounting]
    arguments: Callable[[TrainState], dict[str, tuple]]
    check_ring: Callable[[Any], None]
    prune: Callable[[LearnerState], tuple[LearnerState, dict[str, jax.Array]]] = _never
    pruned: "Callable[[], Program]" = _never

    def at(self, updates: int) -> "Program":
        """The program that a learner goes on with after so many updates."""
        last = self.cadence.prune
        return self if last is None or updates < last else self.pruned()

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
        self.check_ring(state.ring)

    def notes(self) -> list[str]:
        """What has happened to environments since the last call, in sentences."""
        return self.host.notes() if self.host else []

    def close(self) -> None:
        """End the processes that step environments, where there are any."""
        if self.host:
            self.host.close()

    def compiled(self) -> "Program":
        """The same program, compiled now rather than at first use."""
        state = jax.eval_shape(self.init, self.seeds)
        arguments = self.arguments(state)
        lowered = {name: getattr(self, name).lower(*args) for name, args in arguments.items()}
        with ThreadPoolExecutor() as pool:  # XLA compiles outside Python's lock.
            pending = {name: pool.submit(low.compile) for name, low in lowered.items()}
            return replace(self, **{name: done.result() for name, done in pending.items()})


def build(config: Config) -> Program:
    """The program of a resolved configuration, not yet compiled.

    The process keeps freed memory from now on; see `sparl.compute.memory`.

    Raises:
        InputError: If the environment is unknown or not for the algorithm, or `config.compute` or
            `config.workers` not possible.
    """
    # They make a `Program`, and are each half of what would be too long for one file.
    from sparl.train import control_program, team_program  # noqa: PLC0415

    keep_freed()
    native.unavailable()  # A kernel reads batches in every form: what is wrong is raised now.
    envs.check_workers(config.workers)
    env = envs.make(config.env)
    if config.algorithm in CONTROL:
        return control_program.build(config, env)
    return team_program.build(config, env)


def check_memory(ring: Any, rows: int) -> None:
    """Compare a ring, of which only shapes are looked at, with the machine.

    Raises:
        InputError: If it has too many rows, or would not fit.
    """
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(ring))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if rows >= 2**31 or size > memory:
        raise InputError(
            f"the replay would take {size / 1e9:.1f} GB, and this machine has "
            f"{memory / 1e9:.1f} GB: lower --replay.capacity (of teams also --replay.reserve or "
            "--num-seeds)"
        )


STREAMS = ("params", "topology", "rollout", "learner", "evaluation")


def stream(seed: jax.Array, name: str) -> jax.Array:
    """The random key of one purpose; no two purposes share one."""
    return jax.random.fold_in(jax.random.key(seed), STREAMS.index(name))
