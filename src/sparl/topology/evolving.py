"""Sparse training of any network: an optax transformation that also moves the links."""

import numbers
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
        inner: A transformation that treats each number of a parameter alike: `optax.adam(1e-3)`
            for example, also chained, masked or partitioned. With the kernels a sparse weight has
            one dimension, like a bias, so masks should go by the names of parameters.
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
            the topology, or if the state of `inner` shows that it looks at rows and columns of
            weights; from `update` if something is missing or of another shape.
    """
    rules = [name for name in RULES if name not in WHOLE]
    if rule not in rules:
        raise unknown_name("rule", rule, rules)
    if not isinstance(inner, optax.GradientTransformation):
        raise InputError(f"inner must be an optax transformation, got {inner!r}")
    for name, value in (("interval", interval), ("total_updates", total_updates)):
        if not isinstance(value, numbers.Integral) or value < 1:
            raise InputError(f"{name} must be a whole number from 1 on, got {value!r}")
    if not isinstance(fraction, numbers.Real) or not 0 <= fraction <= 1:
        raise InputError(f"fraction must be a number in [0, 1], got {fraction!r}")

    def init(params: Tree) -> EvolvingState:
        zero = jnp.zeros((), jnp.int32)
        bind(params, topology)  # Refuses other shapes.
        jax.tree.map(_require_zero, params, topology)
        # A copy, so that giving the state away does not take the caller's.
        own = jax.tree.map(jnp.copy, topology)
        inner_state = inner.init(params)
        _require_elementwise(inner, inner_state, params, topology)
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


def _require_elementwise(
    inner: optax.GradientTransformation, state: Any, params: Tree, topology: Topology
) -> None:
    """Refuse what keeps other than the moments of each number, or treats matrices apart."""

    def require_shape(moments: jax.Array, values: jax.Array) -> None:
        if moments.shape != values.shape:
            raise ValueError

    try:
        map_moments(inner, require_shape, state, params)
    except (IndexError, TypeError, ValueError) as error:
        raise InputError(
            "the optimizer's state is not made of arrays of each parameter's shape, so it could "
            "not go with links that move: take one that treats each number alike, as adam does"
        ) from error
    masked, _ = jax.eval_shape(to_masked, params, topology)
    if jax.tree.structure(jax.eval_shape(inner.init, masked)) != jax.tree.structure(state):
        raise InputError(
            "the optimizer treats matrices apart, and with the kernels a sparse weight is none: "
            "pass compute='masked' to sparl.topology.init, or take one that treats each number "
            "alike, as adam does"
        )


def _require_alike(gradients: Tree, params: Tree, wanted: str, how: str) -> None:
    found = by_name(gradients)
    for name, values in by_name(params).items():
        shape = list(found[name].shape) if name in found else "nothing"
        if shape != list(values.shape):
            raise InputError(
                f"{wanted}: for {name} an array {list(values.shape)}, got {shape}; {how}"
            )


def _require_zero(values: jax.Array, links: Any) -> None:
    masked = isinstance(links, jax.Array) and not isinstance(values, Tracer)
    if masked and jnp.any(jnp.where(links, 0, values)):
        raise InputError(
            "absent links hold values: pass the parameters that sparl.topology.init returned with "
            "this topology"
        )
