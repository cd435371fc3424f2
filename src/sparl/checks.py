"""The ranges of everything a run can be told."""

import dataclasses
import operator
from collections.abc import Callable
from typing import Any, get_type_hints

from sparl.config import Config, ControlConfig
from sparl.errors import InputError
from sparl.presets import CONTROL

_AT_LEAST_ONE = (
    "total_steps",
    "num_seeds",
    "num_envs",
    "chunk",
    "target_interval",
    "eval_every",
    "eval_episodes",
    "log_every",
    "checkpoint_every",
    "topology.interval",
    "replay.capacity",
    "replay.batch_size",
    "replay.window",
    "replay.review_interval",
    "network.hidden",
    "network.embed",
    "network.hypernet",
    "network.central_embed",
    "target.n",
    "exploration.anneal_steps",
    "control.policy_delay",
    "control.min_replay",
    "control.cem_rounds",
)
_SHARES = (
    "gamma",
    "topology.fraction",
    "target.lam",
    "target.burn_in",
    "target.delay",
    "weighting.alpha",
    "replay.threshold",
    "exploration.start",
    "exploration.finish",
    "control.tau",
    "control.finish",
)
_POSITIVE = (
    "target.omega",
    "replay.reserve",
    "optimizer.lr",
    "optimizer.eps",
    "env_timeout",
)


def check(config: Config) -> None:
    """Check every value that can be checked before anything is built.

    Args:
        config: Resolved, so that it says which parts are in use; see `sparl.methods`.

    Raises:
        InputError: If a value lies outside its range, naming the field, the range and the value.
    """
    _check_types(config)
    below_one = ("sparsity", "control.critic_sparsity", "optimizer.decay")
    _require(config, below_one, lambda x: 0 <= x < 1, "lie in [0, 1)")
    # The compiled program counts in 32 bits.
    _require(config, _AT_LEAST_ONE, lambda x: 1 <= x <= 2**30, "lie in [1, 2**30]")
    _require(config, _SHARES, lambda x: 0 <= x <= 1, "lie in [0, 1]")
    _require(config, _POSITIVE, lambda x: 0 < x < float("inf"), "be finite and above 0")
    _require(config, ("replay.reserve",), lambda x: x <= 1, "be at most 1")
    _require(
        config,
        (
            "seed",
            "num_workers",
            "reward_scale",
            "optimizer.clip",
            "target.alpha",
            "target.beta",
            "res.regulariser",
            "control.random_steps",
            "control.weight_decay",
            "control.exploration_noise",
            "control.target_noise",
            "control.noise_clip",
        ),
        lambda x: 0 <= x < float("inf"),
        "be at least 0",
    )
    last = 2**31 - config.num_seeds
    _require(config, ("seed",), lambda x: x <= last, f"lie in [0, {last}]")
    capacity = config.replay.capacity
    _require(
        config,
        ("replay.batch_size",),
        lambda x: x <= capacity,
        f"be at most replay.capacity ({capacity})",
    )
    control = config.algorithm in CONTROL
    if config.topology.kind in (("set", "rigl") if control else ("set", "rigl", "ds")):
        # The last update of an interval changes the topology in place of a gradient step.
        _require(config, ("topology.interval",), lambda x: x >= 2, "be at least 2")
    if control:
        _check_control(config)
    chunk = config.num_envs * config.chunk
    _require(
        config,
        ("eval_every",),
        lambda x: x >= chunk,
        f"be at least the {chunk} env steps of a chunk (num_envs times chunk)",
    )
    if config.replay.kind == "dual":
        _require(
            config,
            ("replay.window",),
            lambda x: x <= capacity,
            f"be at most replay.capacity ({capacity})",
        )
        most = min(config.replay.batch_size, config.replay.window)
        _require(
            config,
            ("replay.window_batch",),
            lambda x: 0 <= x <= most,
            f"lie in [0, {most}], within replay.batch_size and replay.window",
        )


def _check_control(config: Config) -> None:
    random = config.control.random_steps
    _require(
        config,
        ("total_steps",),
        lambda x: x > random,
        f"be above control.random_steps ({random}), after which learning begins",
    )
    least = 2 * config.num_envs * config.chunk
    _require(
        config,
        ("replay.capacity",),
        lambda x: x > least,
        f"be above the {least} rows that a chunk may have (twice num_envs times chunk)",
    )
    if config.algorithm == "comix":
        _check_search(config)
    if config.replay.kind == "dynamic":
        capacity = config.replay.capacity
        _require(
            config,
            ("control.min_replay",),
            lambda x: x < capacity,
            f"be below replay.capacity ({capacity}), or nothing is ever discarded",
        )


def _check_search(config: Config) -> None:
    _require(
        config,
        ("control.horizon", "control.cem_samples"),
        lambda x: 2 <= x <= 2**30,
        "lie in [2, 2**30]",
    )
    samples, usual = config.control.cem_samples, ControlConfig.cem_elites
    _require(
        config,
        ("control.cem_elites",),
        lambda x: 2 <= x <= samples,
        f"lie in [2, {samples}], within control.cem_samples",
    )
    if config.control.cem_rounds == 1:
        _require(
            config,
            ("control.cem_elites",),
            lambda x: x == usual,
            f"be {usual}, its default, as no round follows the one of control.cem_rounds 1",
        )


def _check_types(config: Any) -> None:
    for name, kind in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            _check_types(value)
        elif type(value) is not kind and not (kind is float and type(value) is int):
            raise InputError(f"{name} must be {kind.__name__}, got {value!r}")


def _require(
    config: Config, names: tuple[str, ...], holds: Callable[[Any], bool], demand: str
) -> None:
    for name in names:
        value = operator.attrgetter(name)(config)
        if not holds(value):
            raise InputError(f"{name} must {demand}, got {value}")
