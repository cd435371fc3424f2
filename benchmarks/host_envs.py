"""What a step of an environment costs: one after the other here, in processes, or in threads.

    python benchmarks/host_envs.py
    python benchmarks/host_envs.py --env gym:Hopper-v5 --json host_envs.json

`local` and `process` are `--workers`; `threads`, which sparl does not have, steps the same in as
many threads as there are cores. They take turns, so ratios hold although the machine's speed
drifts. Nothing else is done: in training a learner wants the cores as well.
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from report import arguments, report

from sparl.envs import Workers, make
from sparl.envs.worker import Act, Answer, Order, Reset, Worker

Play = Callable[[Sequence[Order]], dict[int, Answer]]


class Threads:
    """Workers in threads of this process."""

    def __init__(self, name: str, count: int):
        self._workers = [Worker(name) for _ in range(count)]
        self._pool = ThreadPoolExecutor(count)

    def play(self, orders: Sequence[Order]) -> dict[int, Answer]:
        """Carry orders out, those of different threads at the same time."""
        count = len(self._workers)
        shares = [[order for order in orders if order.slot % count == i] for i in range(count)]
        answers: dict[int, Answer] = {}
        for own in self._pool.map(_carry_out, self._workers, shares):
            answers |= own
        return answers

    def close(self) -> None:
        """Close all environments."""
        self._pool.shutdown()
        for worker in self._workers:
            worker.close()


def _carry_out(worker: Worker, orders: Sequence[Order]) -> dict[int, Answer]:
    return {order.slot: worker.play(order) for order in orders}


def cost(play: Play, envs: int, action_dim: int, steps: int) -> float:
    """Microseconds of a step of one environment, resets of what has ended included."""
    draws = np.random.default_rng(0).uniform(-1, 1, (steps, envs, action_dim)).astype(np.float32)
    play([Reset(slot, slot) for slot in range(envs)])
    begun = time.perf_counter()
    for actions in draws:
        seen = play([Act(slot, action) for slot, action in enumerate(actions)])
        if ended := [slot for slot, own in seen.items() if own.terminated or own.truncated]:
            play([Reset(slot, slot) for slot in ended])
    return (time.perf_counter() - begun) / steps / envs * 1e6


def main() -> None:
    parser = arguments(__doc__, repeats=7)
    parser.add_argument("--env", default="gym:HalfCheetah-v5")
    parser.add_argument("--num-envs", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    made = make(args.env)
    action_dim = made.spec.action_dim
    made.close()
    cores = len(os.sched_getaffinity(0))
    rows, shown = [], []
    for envs in args.num_envs:
        count = min(cores, envs)
        ways = {
            "local": Workers(args.env, count=1, kind="local", timeout=60.0),
            "process": Workers(args.env, count=count, kind="process", timeout=60.0),
            "threads": Threads(args.env, count),
        }
        readings: dict[str, list[float]] = {name: [] for name in ways}
        for repeat in range(args.repeats + 1):
            for name, way in ways.items():
                found = cost(way.play, envs, action_dim, args.steps)
                if repeat:  # The first is a warm-up.
                    readings[name].append(found)
        for way in ways.values():
            way.close()
        medians = {name: statistics.median(each) for name, each in readings.items()}
        rows.append({"num_envs": envs, "us_per_step": medians})
        shown.append({"environments": str(envs)} | {k: f"{v:.0f}" for k, v in medians.items()})
    title = f"{args.env}, us per env step on {cores} cores, medians"
    report(title, shown, {"env": args.env, "cores": cores, "rows": rows}, args.json)


if __name__ == "__main__":
    main()
