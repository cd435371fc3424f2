"""Sparse training of any network: an optax transformation that also moves the links."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from sparl.compute import Topology, Tree, bind, to_masked
from sparl.errors import InputError, unknown_name
from sparl.topology.evolve import RULES, WHOLE, map_moments, move_links
from sparl.topology.names import by_name
from sparl.topology.schedule import cosine

RIGL = "rigl"


class EvolvingState(NamedTuple):
    """What `evolving` carries from update to update.

    Attributes:
        inner: State of the transformation inside.
        topology: Where the links are now; bind parameters with this one.
        updates: Updates so far, topology changes included.
        key: Random key.
    """

    inner: Any
    topology: Topology
    updates: jax.Array
    key: jax.Array


def evolving(
    inner: optax.GradientTransformation,
    topology: Topology,
    *,
    rule: str,
    total_updates: int,
    interval: int = 100,
    fraction: float = 0.3,
    seed: int = 0,
) -> optax.GradientTransformationExtraArgs:
    """Train sparse parameters with `inner`, and move their links every `interval` updates.

    A topology change takes the place of a gradient step (Evci et al., ICML 2020, algorithm 1):
    links of smallest magnitude are dropped, as many are grown, new ones start at zero and without
    moments. The share that moves falls from `fraction` to 0 over `total_updates`.

    `update` needs `params`. For "rigl" it also needs `dense_gradients`, a function from parameters
    `[out, in]` with zeros for absent links to their gradients, absent links included; it is run on
    topology changes only.

    Args:
        inner: A transformation whose state is arrays of each parameter's shape: `optax.adam(1e-3)`
            for example, also chained, masked or partitioned. With the kernels a sparse weight has
            one dimension, like a bias, so masks must go by the names of parameters.
        topology: The links to begin with, from `sparl.topology.init`.
        rule: "static", "set" (grow at random), "ds" (the same, each sign dropped by itself) or
            "rigl" (grow by gradient).
        total_updates: From this update on links rest, and every update is a gradient step.
        interval: Updates from one change to the next (RigL: 100).
        fraction: Share of each layer's links that the first change moves (RigL: 0.3).
        seed: Of what is grown at random.

    Returns:
        A transformation whose state has the `topology` of the moment. Applying its updates leaves
        every link with its value, up to the rounding of one addition where links have moved.

    Raises:
        InputError: If a setting is out of its range; from `init` if the parameters are not those of
            the topology, or if the state of `inner` is not arrays of each parameter's shape, or
            another one with the kernels; from `update` if something is missing or of another shape.
    """
    rules = [name for name in RULES if name not in WHOLE]
    if rule not in rules:
        raise unknown_name("rule", rule, rules)
    if not (hasattr(inner, "init") and hasattr(inner, "update")):
        raise InputError(
            f"inner must be an optax transformation such as optax.adam(1e-3), got {inner!r}"
        )
    for name, value in (("interval", interval), ("total_updates", total_updates)):
        if not _holds(lambda value=value: value >= 1 and value == int(value)):
            raise InputError(f"{name} must be a whole number from 1 on, got {value!r}")
    if not _holds(lambda: 0 <= fraction <= 1):
        raise InputError(f"fraction must be a number in [0, 1], got {fraction!r}")

    def init(params: Tree) -> EvolvingState:
        zero = jnp.zeros((), jnp.int32)
        bind(params, topology)  # Refuses other shapes.
        jax.tree.map(_require_zero, params, topology)
        # A copy, so that giving the state away does not take the caller's.
        own = jax.tree.map(jnp.copy, topology)
        inner_state = inner.init(params)
        if RULES[rule] is not None:
            _require_moments(inner, inner_state, params)
        _require_alike_in_all_forms(inner, inner_state, params, topology)
        return EvolvingState(inner_state, own, zero, jax.random.key(seed))

    def update(
        gradients: Tree,
        state: EvolvingState,
        params: Tree | None = None,
        *,
        dense_gradients: Callable[[Tree], Tree] | None = None,
        **extra: Any,
    ) -> tuple[Tree, EvolvingState]:
        if params is None:
            raise InputError("links move by their weights: call update(gradients, state, params)")
        _require_alike(
            gradients,
            params,
            "update takes the gradients of all parameters",
            "differentiate the loss by the parameters that update is given",
        )
        if rule == RIGL and not callable(dense_gradients):
            raise InputError(
                "RigL grows by the gradients of absent links: pass dense_gradients to update, a "
                "function from parameters to gradients; with sparl.compute.dense(params) for the "
                "topology your loss yields them"
            )
        state = state._replace(updates=state.updates + 1)

        def step(state: EvolvingState) -> tuple[Tree, EvolvingState]:
            own = optax.with_extra_args_support(inner)
            # Absent links have gradients if the loss did not bind, and may be given updates.
            present = _present(gradients, state.topology)
            updates, inner_state = own.update(present, state.inner, params, **extra)
            return _present(updates, state.topology), state._replace(inner=inner_state)

        move = RULES[rule]
        if move is None:
            return step(state)

        def change(state: EvolvingState) -> tuple[Tree, EvolvingState]:
            key, rule_key = jax.random.split(state.key)
            masked, _ = to_masked(params, state.topology)
            # Rules that do not grow by gradients do not look at them.
            gradients = masked
            if dense_gradients is not None:
                gradients = dense_gradients(masked)
                _require_alike(
                    gradients,
                    masked,
                    "dense_gradients must return gradients of absent links, too",
                    "in the loss, bind the parameters that it is given with "
                    "sparl.compute.dense(params)",
                )
            share = cosine(state.updates / total_updates, start=fraction)
            trained = (params, state.inner, state.topology)
            (moved, inner_state, after), _ = move_links(
                move, rule_key, inner, trained, gradients, share
            )
            updates = jax.tree.map(jnp.subtract, moved, params)
            return updates, state._replace(inner=inner_state, topology=after, key=key)

        due = (state.updates % interval == 0) & (state.updates < total_updates)
        return jax.lax.cond(due, change, step, state)

    # Optax's protocol has positional arguments without names that it promises.
    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]


def _present(tree: Tree, topology: Topology) -> Tree:
    """Zero where a mask has no link; sparse weights have nothing there."""

    def present(values: jax.Array, links: Any) -> jax.Array:
        return jnp.where(links, values, 0) if isinstance(links, jax.Array) else values

    return jax.tree.map(present, tree, topology)


def _holds(condition: Callable[[], Any]) -> bool:
    """Whether a condition holds of what a caller has passed, whatever that is."""
    try:
        return bool(condition())
    except (TypeError, ValueError, OverflowError):
        return False


def _require_moments(inner: optax.GradientTransformation, state: Any, params: Tree) -> None:
    """Refuse a state that could not go along with links that move."""

    def require_shape(moments: jax.Array, values: jax.Array) -> None:
        if moments.shape != values.shape:
            raise ValueError

    try:
        map_moments(inner, require_shape, state, params)
    except (IndexError, TypeError, ValueError) as error:
        raise InputError(
            "the optimizer's state is not made of arrays of each parameter's shape, so it could "
            "not go with links that move: take one that treats each number alike, as adam does, or "
            "rule='static'"
        ) from error


def _require_alike_in_all_forms(
    inner: optax.GradientTransformation, state: Any, params: Tree, topology: Topology
) -> None:
    """Refuse what the kernels would make another optimizer of."""
    masked, _ = jax.eval_shape(to_masked, params, topology)
    whole = jax.eval_shape(inner.init, masked)
    shapes = [
        (own.shape, other.shape)
        for own, other in zip(jax.tree.leaves(params), jax.tree.leaves(masked), strict=True)
    ]

    def alike(own: tuple[int, ...], other: tuple[int, ...]) -> bool:
        """The same shape, or that of a parameter in its two forms behind the same axes."""
        if own == other:
            return True
        for sparse, dense in shapes:
            axes = len(own) - len(sparse)
            if axes >= 0 and (own[axes:], other) == (sparse, own[:axes] + dense):
                return True
        return False

    leaves = jax.tree.leaves(state), jax.tree.leaves(whole)
    if jax.tree.structure(state) == jax.tree.structure(whole) and all(
        alike(jnp.shape(x), y.shape) for x, y in zip(*leaves, strict=True)
    ):
        return
    raise InputError(
        "the optimizer treats matrices apart, and with the kernels a sparse weight is none: pass "
        "compute='masked' to sparl.topology.init, or take one that treats each number alike, as "
        "adam does"
    )


def _require_alike(gradients: Tree, params: Tree, wanted: str, how: str) -> None:
    """Refuse another tree of gradients; they may have axes before those of a parameter."""
    found, expected = by_name(gradients), by_name(params)
    for name in [*expected, *(found.keys() - expected.keys())]:
        shape = list(jnp.shape(found[name])) if name in found else "nothing"
        own = list(jnp.shape(expected[name])) if name in expected else "nothing"
        if "nothing" in (shape, own) or shape[len(shape) - len(own) :] != own:
            got = "nothing" if shape == "nothing" else f"an array {shape}"
            asked = "nothing" if own == "nothing" else f"an array {own}"
            raise InputError(f"{wanted}: for {name} {asked}, got {got}; {how}")


def _require_zero(values: jax.Array, links: Any) -> None:
    masked = isinstance(links, jax.Array) and not isinstance(values, Tracer)
    if masked and jnp.any(jnp.where(links, 0, values)):
        raise InputError(
            "absent links hold values: pass the parameters that sparl.topology.init returned with "
            "this topology"
        )
