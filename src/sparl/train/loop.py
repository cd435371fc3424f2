"""The training loop: Python between compiled chunks, where everything people want to see happens.

A chunk steps all environments, stores what was played and makes the updates that are due: one for
each episode that ended, or, in continuous control, for each step.
Between chunks the loop logs, evaluates, saves checkpoints and heeds Ctrl-C. All that it decides
follows from the state that a checkpoint holds, so a resumed run continues bit for bit (but for
environments on the host, whose running episodes no checkpoint can hold).
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, NoReturn

import numpy as np
from rich.console import Console

from sparl.compute import Topology, native, return_freed
from sparl.errors import SparlError
from sparl.train import snapshot, ticket
from sparl.train.books import SHOWN, Books
from sparl.train.checkpoint import CheckpointStore
from sparl.train.clock import Clock
from sparl.train.folder import RunFolder
from sparl.train.host_envs import BrokenEnvironmentError
from sparl.train.logging import JsonlLogger, Logger, Record
from sparl.train.masks import save_masks
from sparl.train.program import Program, TrainState
from sparl.train.progress import ProgressDisplay
from sparl.train.result import Result
from sparl.train.signals import stop_requests
from sparl.train.summary import layer_table, measured_sparsity, summarise
from sparl.train.updates import LearnerState, UpdateMetrics


class RunInterruptedError(SparlError):
    """The run was stopped from outside, at a checkpoint."""


class NotFiniteError(SparlError):
    """A term of the loss was not a finite number."""


class Run:
    """One process's share of a run.

    Args:
        folder: Where it is written down.
        program: What it computes, not yet compiled.
        loggers: Where metrics go besides `metrics.jsonl`.
        console: Where progress is shown; by default nowhere.
    """

    def __init__(
        self,
        folder: RunFolder,
        program: Program,
        loggers: Sequence[Logger],
        console: Console | None,
    ):
        self.folder = folder
        self.config = program.config
        self.program = program
        self.store = CheckpointStore(folder.checkpoints)
        self.display = ProgressDisplay(program.config.total_steps, console or Console(quiet=True))
        self.loggers = loggers
        # Before the first checkpoint there is nothing to continue, and what was logged goes.
        self.books = Books.empty(program.config.num_seeds)
        self.saved: int | None = None

    def run(self) -> Result:
        """Train to the end, from the newest checkpoint if there is one.

        Raises:
            RunInterruptedError: On Ctrl-C, SIGTERM or SIGHUP, after a checkpoint.
            NotFiniteError: If the loss or a part of it stops being finite.
            SparlError: If there are checkpoints but none is intact, or one cannot be written.
        """
        with self.display, stop_requests(self.display.message) as stop, self.folder.locked():
            self.display.message(f"run folder {self.folder.path}")
            begun = time.perf_counter()
            state = self._restore_or_begin()
            self.clock = Clock(self.books, begun)
            self.metrics = JsonlLogger(self.folder.metrics, self.books.metrics_bytes)
            try:
                self._explain_masks()
                self._compile(state.learner, begun)
                while self.books.env_steps < self.config.total_steps:
                    state = self._chunk(state)
                    self._look(state)
                    if stop.requested:
                        self._stop(state)
                return self._finish(state)
            except BrokenEnvironmentError as error:
                self.store.wait()
                raise BrokenEnvironmentError(
                    f"{error}. Training has stopped; mend the environment, or give it more time "
                    f"(env_timeout in {self.folder.config}), and `sparl resume "
                    f"{self.folder.path}` continues from {self._last_checkpoint()}"
                ) from error
            except KeyboardInterrupt as error:
                raise RunInterruptedError(
                    f"interrupted; `sparl resume {self.folder.path}` continues from "
                    f"{self._last_checkpoint()}"
                ) from error
            finally:
                self.program.close()
                self.store.close()
                for logger in (self.metrics, *self.loggers):
                    logger.close()

    # Beginning and ending.

    def _restore_or_begin(self) -> TrainState:
        checkpoint = self.store.restore()
        if checkpoint is None:
            given = None
            if self.config.topology.from_:
                given = ticket.kept(self.folder).topology(self.program)
            state = self.program.init(self.program.seeds, given)
            save_masks(self.folder.topology, 0, self._masks(state.learner))
            return state
        for sentence in checkpoint.skipped:
            self.display.message(f"warning: {sentence}")
        self.folder.check_unchanged(self.config, checkpoint)
        self.books = Books(**checkpoint.info["books"])
        self.saved = self.books.env_steps
        self.display.message(f"resuming at env step {self.books.env_steps}")
        state = snapshot.restore(self.program.template, checkpoint)
        self.program = self.program.at(max(self.books.updates))
        return state._replace(learner=self.program.from_masked(state.learner))

    def _portable(self, state: TrainState) -> TrainState:
        """The state as checkpoints hold it: any machine can go on from it."""
        return state._replace(learner=self.program.to_masked(state.learner))

    def _masks(self, learner: LearnerState) -> Topology:
        return self.program.to_masked(learner).topology

    def _explain_masks(self) -> None:
        """Say why `auto` does not take the kernels."""
        if self.config.compute == "auto" and self.program.form == "masked":
            if self.config.network.agents == "separate":
                why = "the sparse kernels know one network for all agents"
            else:
                why = native.unavailable() or "at this sparsity `auto` takes no sparse kernels"
            self.display.message(f"multiplying dense products by masks: {why}")

    def _compile(self, learner: LearnerState, begun: float) -> None:
        # Links move, but their number changes at a prune alone.
        self.sparsity = measured_sparsity(layer_table(self.program, self._masks(learner)))
        self.display.message(
            f"compiling {self.config.algorithm} / {self.config.method} on {self.config.env} for "
            f"{self.program.form} compute, which takes half a minute or more"
        )
        self.program = self.program.compiled()
        if self.program.host:
            self.program.host.warm_up(learner.params, learner.topology)
        return_freed()
        self.clock.compiled(begun)

    def _stop(self, state: TrainState) -> NoReturn:
        self._save(state)
        self.store.wait()
        raise RunInterruptedError(
            f"stopped at env step {self.books.env_steps}; "
            f"continue with `sparl resume {self.folder.path}`"
        )

    def _finish(self, state: TrainState) -> Result:
        if self.books.last_evaluated() < self.books.env_steps:
            self._evaluate(state)
        self._save(state)
        self.store.wait()
        result = summarise(self.program, self.books, self._masks(state.learner))
        result.save(self.folder.result)
        return result

    # One chunk.

    def _chunk(self, state: TrainState) -> TrainState:
        rollout, ring, learner = state
        rollout, finished = self.program.collect(learner.params, learner.topology, rollout)
        self._show_notes()
        before = np.asarray(self.books.episodes)
        self.books.count_episodes(finished)
        counts = np.asarray(self.books.episodes) - before
        steps = self.config.num_envs * self.config.chunk
        todo = self.program.due(before, counts, self.books.env_steps, steps)
        self.books.env_steps += steps
        ring = self.program.store(ring, finished, np.int32(counts.max()))
        while todo.any():
            learner, made = self._update(learner, ring, todo)
            todo = todo - made
            ring = self._review(learner, ring, made)
        return TrainState(rollout, ring, learner)

    def _update(
        self, learner: LearnerState, ring: Any, todo: np.ndarray
    ) -> tuple[LearnerState, np.ndarray]:
        """Up to `todo` updates of each seed, to the next that ends an interval at the most.

        The last update of a topology interval changes the topology in place of a gradient step.
        """
        env_steps = np.int32(self.books.env_steps)
        updates = np.asarray(self.books.updates)
        evolve, copy, review, prune = self.program.cadence
        due = np.zeros(len(todo), bool)
        if evolve:
            due = (todo > 0) & (updates % evolve == evolve - 1) & (updates + 1 != (prune or 0))
        if due.any():
            learner, changed = self.program.evolve(learner, ring, env_steps, due)
            for seed in np.flatnonzero(due & ~np.isfinite(changed["loss"])).tolist():
                self._not_finite(seed, updates[seed] + 1, ["loss"])
            self._log(self.books.topology_records(changed, due))
            made = due.astype(int)
        else:
            made = todo
            if evolve:
                made = np.minimum(made, _steps_to(updates + 1, evolve))
            for interval in (copy, review, prune):
                if interval:
                    made = np.minimum(made, _steps_to(updates, interval))
            learner, metrics = self.program.learn(learner, ring, made.astype(np.int32), env_steps)
            self._check_finite(metrics)
            self.books.count_updates(metrics)
        self.books.updates = (updates + made).tolist()
        if copy and (copies := (made > 0) & ((updates + made) % copy == 0)).any():
            learner = self.program.sync_target(learner, copies)
        if prune and (updates + made == prune).any():
            learner = self._prune(learner)
        return learner, made

    def _prune(self, learner: LearnerState) -> LearnerState:
        """Drop links for good, and go on with what is compiled for fewer."""
        begun = time.perf_counter()
        self.display.message("links are dropped for the last time, and none grow from now on")
        learner, dropped = self.program.prune(self.program.to_masked(learner))
        self._log(self.books.prune_records(dropped))
        self.program = self.program.at(max(self.books.updates))
        learner = self.program.from_masked(learner)
        self._compile(learner, begun)
        return learner

    def _review(self, learner: LearnerState, ring: Any, made: np.ndarray) -> Any:
        """Look through the replay of each seed whose last update ended an interval."""
        interval = self.program.cadence.review
        if (
            interval
            and (due := (made > 0) & (np.asarray(self.books.updates) % interval == 0)).any()
        ):
            ring, found = self.program.review(learner, ring, due)
            self._log(self.books.replay_records(found, due))
        return ring

    def _check_finite(self, metrics: UpdateMetrics) -> None:
        for seed, (update, bad) in enumerate(
            zip(metrics.bad_update.tolist(), np.asarray(metrics.bad_terms), strict=True)
        ):
            if update < 0:
                continue
            terms = [name for name, odd in zip(sorted(metrics.sums), bad, strict=True) if odd]
            self._not_finite(seed, update, terms)

    def _not_finite(self, seed: int, update: int, terms: Iterable[str]) -> NoReturn:
        self.store.wait()
        kept = f"{self._last_checkpoint()} stays in {self.folder.path}"
        if self.saved is None:
            kept = "there is no checkpoint yet"
        raise NotFiniteError(
            f"not finite at update {update} of seed {self.config.seed + seed} (env step "
            f"{self.books.env_steps}): {', '.join(terms)}. Training has stopped; {kept}. "
            "A smaller --optimizer.lr may help, or a smaller --optimizer.clip, of which 0 is none"
        )

    def _last_checkpoint(self) -> str:
        if self.saved is None:
            return "the beginning, as there is no checkpoint yet"
        return f"the checkpoint of env step {self.saved}"

    # Between chunks.

    def _look(self, state: TrainState) -> None:
        """Everything people want to see, each when it is due."""
        books, config = self.books, self.config
        chunk = config.num_envs * config.chunk
        self.clock.read()
        log, evaluate, save = (
            books.env_steps // every > (books.env_steps - chunk) // every
            for every in (config.log_every, config.eval_every, config.checkpoint_every)
        )
        if log or books.env_steps >= config.total_steps:
            self._log(books.train_records(self._exploration()))
        if evaluate:
            self._evaluate(state)
        if save:
            self._save(state)
        self.display.update(
            books.env_steps,
            self.clock.left(config.total_steps),
            self._shown(),
            line=evaluate,
        )

    def _shown(self) -> dict[str, str]:
        """The values of the live line, means over seeds."""
        books = self.books
        shown = {
            "steps/s": f"{books.rate():.0f}",
            "episodes": f"{np.mean(books.episodes):.0f}",
            "updates": f"{np.mean(books.updates):.0f}",
            **{name: f"{value:.2f}" for name, value in self._exploration().items()},
            "sparsity": f"{self.sparsity:.3f}",
        }
        return shown | {
            name: f"{books.latest[name]:.3g}" for name in SHOWN.values() if name in books.latest
        }

    def _evaluate(self, state: TrainState) -> None:
        number = np.int32(len(self.books.evaluations) + 1)
        learner = state.learner
        values = self.program.evaluate(learner.params, learner.topology, self.program.seeds, number)
        self._show_notes()
        self._log(self.books.evaluation_records(values))
        if min(self.books.episodes) > 0:
            self._log(self.books.records("network", self.program.diagnose(learner, state.ring)))

    def _save(self, state: TrainState) -> None:
        if self.saved == self.books.env_steps:
            return
        self.clock.read()
        self.books.metrics_bytes = self.metrics.position()
        # Before the checkpoint, which is what a resumed run takes for done.
        state = self._portable(state)
        save_masks(self.folder.topology, self.books.env_steps, state.learner.topology)
        segments, live_from = snapshot.new_rows(state.ring, self.store.ends())
        self.store.save(
            self.books.env_steps,
            snapshot.state_arrays(state),
            {"books": asdict(self.books), "config": asdict(self.config)},
            segments,
            live_from,
        )
        self.saved = self.books.env_steps

    def _show_notes(self) -> None:
        for note in self.program.notes():
            self.display.message(note)

    def _log(self, records: list[Record]) -> None:
        for record in records:
            record["seed"] += self.config.seed
            for logger in (self.metrics, *self.loggers):
                logger.log(record)

    def _exploration(self) -> dict[str, float]:
        return self.program.exploration(self.books.env_steps)


def _steps_to(updates: np.ndarray, interval: int) -> np.ndarray:
    """How many updates from here to the end of the interval, at least one."""
    return interval - updates % interval
