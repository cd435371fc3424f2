"""What each method is: a choice of topology, target and replay.

A method is one row of this table. Whatever a run sets itself (`--topology.kind`, `--target.kind`,
`--target.operator`, `--replay.kind`) takes precedence over its method's choice, which is how the
parts of MAST are switched on and off one by one.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from operator import attrgetter
from typing import Any

from sparl import targets
from sparl.checks import check
from sparl.compute import FORMS
from sparl.config import FROM_METHOD, Config, ControlConfig
from sparl.errors import InputError, unknown_name
from sparl.presets import ACTOR_CRITIC, CONTROL, TEAM, defaults
from sparl.replay import DRAWS
from sparl.targets import SUBSPACE_SOFTMAX
from sparl.topology import DISTRIBUTIONS, RULES


@dataclass(frozen=True)
class Method:
    """One way to train a network sparsely.

    Attributes:
        topology: Which links exist and when they move.
        target: How returns are formed.
        operator: How the next step's actions are valued.
        replay: How batches are drawn.
    """

    topology: str
    target: str = "one_step"
    operator: str = "double_q"
    replay: str = "uniform"


METHODS = {
    "dense": Method("dense"),
    "tiny": Method("tiny"),
    "static": Method("static"),
    "set": Method("set"),
    "rigl": Method("rigl"),
    "rlx2": Method("rigl", target="n_step", replay="dynamic"),
    "mast": Method("rigl", target="td_lambda", operator="soft_mellowmax", replay="dual"),
    "ds": Method("ds"),
}


_UNFIT = {"tiny": "it has no widths worked out for it"}
_NOT_FOR_CRITICS = {
    "topology.kind": _UNFIT,
    "target.kind": {"td_lambda": "it values each step on the way, and critics the last alone"},
    "target.operator": dict.fromkeys(targets.OPERATORS, "its target has an operator of its own"),
}
NOT_FOR = {
    "td3": _NOT_FOR_CRITICS,
    "sac": _NOT_FOR_CRITICS,
    "comix": {
        "topology.kind": _UNFIT,
        "target.operator": {
            "double_q": "its search looks at the target network alone",
            SUBSPACE_SOFTMAX: "that is RES's",
        },
    },
}
"""Parts that an algorithm has no use for, and why."""

AGENTS = ("shared", "separate")
"""Whose an agent network is."""

_MOVES = ("set", "rigl", "ds")
_SPARSE = ("static", *_MOVES)
_MIXED = ("qmix", "ow-qmix", "cw-qmix", "res", "comix")
_CENTRAL = ("ow-qmix", "cw-qmix")

USED_BY = (
    (
        "algorithm",
        TEAM,
        (
            "num_seeds",
            "target_interval",
            "network.agents",
            "replay.reserve",
            "optimizer.decay",
            "exploration.start",
            "exploration.finish",
            "exploration.anneal_steps",
            "topology.agent_densities",
        ),
    ),
    ("algorithm", ACTOR_CRITIC, ("control.critic_sparsity",)),
    ("algorithm", ("td3", "comix"), ("control.exploration_noise",)),
    ("algorithm", ("td3",), ("control.policy_delay", "control.target_noise", "control.noise_clip")),
    (
        "algorithm",
        ("comix",),
        (
            "control.horizon",
            "control.cem_samples",
            "control.cem_elites",
            "control.cem_rounds",
        ),
    ),
    ("algorithm", CONTROL, tuple(f"control.{each.name}" for each in fields(ControlConfig))),
    ("algorithm", _MIXED, ("network.embed", "network.hypernet")),
    ("algorithm", _CENTRAL, ("network.central_embed", "weighting.alpha")),
    ("algorithm", ("res",), ("res.regulariser",)),
    ("workers", ("process", "ray"), ("env_timeout", "num_workers")),
    (
        "topology.kind",
        _SPARSE,
        ("control.critic_sparsity", "topology.agent_densities", "topology.from_"),
    ),
    ("topology.kind", ("tiny", *_SPARSE), ("topology.distribution",)),
    ("topology.kind", _MOVES, ("topology.interval", "topology.fraction")),
    ("topology.kind", ("ds",), ("control.finish",)),
    ("topology.distribution", ("lambda",), ("topology.lambdas",)),
    ("target.kind", ("td_lambda",), ("target.lam", "target.burn_in", "control.horizon")),
    ("target.kind", ("n_step",), ("target.n", "target.delay")),
    ("target.operator", ("softmax", "soft_mellowmax"), ("target.alpha",)),
    ("target.operator", ("mellowmax", "soft_mellowmax"), ("target.omega",)),
    ("target.operator", (SUBSPACE_SOFTMAX,), ("target.beta",)),
    ("replay.kind", ("dual",), ("replay.window", "replay.window_batch")),
    (
        "replay.kind",
        ("dynamic",),
        ("replay.review_interval", "replay.threshold", "control.min_replay"),
    ),
)
"""Settings that only some parts look at: a choice, the parts, and the settings. What stands in
several rows needs all of them."""


def resolve(config: Config) -> Config:
    """Fill in what `config` leaves to its method, and check that the whole makes sense.

    Raises:
        InputError: If the method or one of its parts is unknown, a value is out of range, or the
            parts do not go together, or a setting of `USED_BY` was changed that no part in use
            looks at.
    """
    config = _filled(config)
    _require_known("topology kind", config.topology.kind, RULES)
    actor_critic = config.algorithm in ACTOR_CRITIC
    distributions = (*DISTRIBUTIONS, *(["lambda"] if actor_critic else []))
    _require_known("topology distribution", config.topology.distribution, distributions)
    _require_known("target kind", config.target.kind, targets.KINDS)
    _require_known("target operator", config.target.operator, (*targets.OPERATORS, FROM_METHOD))
    _require_known("replay kind", config.replay.kind, DRAWS)
    _require_known("network.agents", config.network.agents, AGENTS)
    _require_known("compute", config.compute, ("auto", *FORMS))
    check(config)
    _require_fit(config)
    if (config.algorithm == "res") != (config.target.operator == SUBSPACE_SOFTMAX):
        raise InputError(
            f"RES is what values by {SUBSPACE_SOFTMAX}, and --target.operator is "
            f"{config.target.operator!r} with --algorithm {config.algorithm}: leave it to the "
            "algorithm"
        )
    _require_used(config)
    _require_separate(config)
    return _settle_sparsity(config)


def without_unused(config: Config) -> Config:
    """`config` with the defaults for settings that no part in use looks at.

    For what was written down by an earlier version, whose defaults were others.

    Raises:
        InputError: If the algorithm or the method is unknown.
    """
    usual = defaults(config.algorithm, config.method)
    for name, *_ in _unused(_filled(config)):
        config = _with(config, name, attrgetter(name)(usual))
    return config


def with_method(config: Config, name: str) -> Config:
    """`config` with another method and its parts; settings that none of them uses are defaults.

    Raises:
        InputError: If the method is unknown.
    """
    _require_known("method", name, METHODS)
    method = METHODS[name]
    parts = {
        "topology.kind": method.topology,
        "target.kind": method.target,
        "target.operator": _operator(config.algorithm, method),
        "replay.kind": method.replay,
    }
    before, usual = (defaults(config.algorithm, each) for each in (config.method, name))
    for setting in _settings(config):
        unused = any(
            setting in settings and parts.get(choice, attrgetter(choice)(config)) not in users
            for choice, users, settings in USED_BY
        )
        as_usual = attrgetter(setting)(config) == attrgetter(setting)(before)
        if setting in parts or unused or as_usual:
            config = _with(config, setting, attrgetter(setting)(usual))
    return replace(config, method=name, sparsity=config.sparsity or usual.sparsity, compute="auto")


def _filled(config: Config) -> Config:
    """What is left to the method filled in."""
    _require_known("algorithm", config.algorithm, (*TEAM, *CONTROL))
    _require_known("method", config.method, METHODS)
    method = METHODS[config.method]
    topology, target, replay = config.topology, config.target, config.replay
    return replace(
        config,
        topology=replace(topology, kind=_either(topology.kind, method.topology)),
        target=replace(
            target,
            kind=_either(target.kind, method.target),
            operator=_either(target.operator, _operator(config.algorithm, method)),
        ),
        replay=replace(replay, kind=_either(replay.kind, method.replay)),
    )


def _settings(config: Config) -> list[str]:
    """The names of all settings, those in groups as GROUP.NAME."""
    names = []
    for each in fields(config):
        group = getattr(config, each.name)
        inside = [f"{each.name}.{own.name}" for own in fields(group)] if is_dataclass(group) else []
        names += inside or [each.name]
    return names


def _with(config: Config, setting: str, value: Any) -> Config:
    group, _, name = setting.rpartition(".")
    if not group:
        return replace(config, **{name: value})
    return replace(config, **{group: replace(getattr(config, group), **{name: value})})


def _operator(algorithm: str, method: Method) -> str:
    """RES, weighted QMIX, TD3 and SAC are algorithms by their operator, which no method replaces.

    MAST's would have weighted QMIX bootstrap from the largest values of its unrestricted agents,
    which say nothing of which action is best (docs/algorithms.md). COMIX has the maximum in place
    of double Q-learning.
    """
    if algorithm in ACTOR_CRITIC:
        return FROM_METHOD
    if algorithm in _CENTRAL:
        return "double_q"
    if algorithm == "comix" and method.operator == "double_q":
        return "max"
    return SUBSPACE_SOFTMAX if algorithm == "res" else method.operator


def _either(own: str, of_method: str) -> str:
    return of_method if own == FROM_METHOD else own


def _require_fit(config: Config) -> None:
    """What the algorithm has no use for, and densities that two settings would speak of."""
    algorithm = config.algorithm
    for setting, unfit in NOT_FOR.get(algorithm, {}).items():
        part = attrgetter(setting)(config)
        if why := unfit.get(part):
            methods = (name for name, own in METHODS.items() if _fits(algorithm, own))
            own = attrgetter(setting.partition(".")[0])(METHODS[config.method]) == part
            whose = f", which --method {config.method} has," if own else ""
            raise InputError(
                f"{setting} {part!r}{whose} is not for {algorithm}, as {why}: choose another "
                f"--{setting}, or a --method of {', '.join(methods)}"
            )
    if config.topology.distribution == "lambda":
        own = defaults(algorithm, "ds")
        for name in ("sparsity", "control.critic_sparsity"):
            value, usual = attrgetter(name)(config), attrgetter(name)(own)
            if config.topology.kind != "dense" and value != usual:
                flag = name.replace("_", "-")
                raise InputError(
                    f"{name} {value} changes nothing, as densities follow from topology.lambdas "
                    f"{config.topology.lambdas!r}: pass --{flag} {usual:g}, or "
                    "--topology.distribution erdos_renyi"
                )


def _fits(algorithm: str, method: Method) -> bool:
    parts = {"topology.kind": method.topology, "target.kind": method.target}
    unfit = NOT_FOR.get(algorithm, {})
    return not any(part in unfit.get(setting, {}) for setting, part in parts.items())


def _require_used(config: Config) -> None:
    usual = defaults(config.algorithm, config.method)
    for name, choice, parts in _unused(config):
        value, default = attrgetter(name)(config), attrgetter(name)(usual)
        if value != default:
            flag = "--" + name.rstrip("_").replace("_", "-")
            raise InputError(
                f"{name} {value} changes nothing, as {choice} is {attrgetter(choice)(config)!r}: "
                f"leave {flag} at its default {default or 'of none'}, or choose --{choice} "
                f"{' or '.join(parts)}"
            )


def _unused(config: Config) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Settings that no part in use looks at, by which choice, and the parts that would."""
    for choice, parts, names in USED_BY:
        if attrgetter(choice)(config) not in parts:
            for name in names:
                yield name, choice, parts


def _require_separate(config: Config) -> None:
    """Densities by unit are of agents that have networks of their own."""
    given = config.topology.agent_densities
    if given and config.network.agents != "separate":
        raise InputError(
            f"topology.agent_densities {given} changes nothing, as all agents share one network: "
            "pass --network.agents separate"
        )


def _settle_sparsity(config: Config) -> Config:
    """Check the sparsity against the topology; one without absent links has sparsity 0."""
    kind = config.topology.kind
    if kind == "dense":
        return replace(config, sparsity=0.0)
    if config.sparsity == 0:
        raise InputError(
            f"topology {kind!r} goes by which links are absent, but sparsity 0 leaves none absent: "
            "pass a --sparsity above 0, or --method dense"
        )
    return config


def _require_known(kind: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise unknown_name(kind, name, known)
