"""The forms in which weights can be held, and the way from one to another without loss.

- `dense`: all links exist.
- `masked`: arrays `[out, in]` with zeros, multiplied by a mask. Runs anywhere.
- `sparse`: the values of the links alone, multiplied by the native kernels. CPUs only.
"""

import jax
import jax.numpy as jnp

from sparl.compute import native
from sparl.compute.bind import Topology, Tree, dense
from sparl.compute.links import Links, from_mask, put, take, to_mask
from sparl.errors import InputError

FORMS = ("dense", "masked", "sparse")
"""The forms."""

SPARSE_FROM = 0.8
"""The sparsity from which on `auto` takes the kernels; docs/kernels.md has the measurements."""


def choose(wanted: str, sparsity: float, sparse_from: float = SPARSE_FROM) -> str:
    """The form for a run.

    Args:
        wanted: One of `FORMS`, or `auto` for the fastest that the machine has.
        sparsity: Share of the weights that are absent.
        sparse_from: The sparsity from which on `auto` takes the kernels.

    Raises:
        InputError: If there is no such form, or it does not go with the sparsity or the machine.
    """
    if wanted not in ("auto", *FORMS):
        raise InputError(f"compute must be one of auto, {', '.join(FORMS)}, got {wanted!r}")
    if sparsity == 0:
        if wanted in ("auto", "dense"):
            return "dense"
        raise InputError(
            f"compute {wanted!r} is for weights of which some are absent, and none is: "
            "choose compute 'auto' or 'dense', or another method"
        )
    if wanted == "dense":
        raise InputError(
            f"compute 'dense' keeps every link, but at sparsity {sparsity} some are absent: "
            "choose compute 'auto' or 'masked', or sparsity 0, which is the method dense"
        )
    if wanted == "auto":
        return "sparse" if sparsity >= sparse_from and not native.unavailable() else "masked"
    if wanted == "sparse" and (why := native.unavailable()):
        raise InputError(
            f"compute 'sparse' is not possible: {why}; or choose 'masked' or 'auto' (--compute, or "
            "in the config.json of a run that is to be resumed)"
        )
    return wanted


def to_sparse(params: Tree, masks: Topology, counts: Tree) -> tuple[Tree, Topology]:
    """Parameters and topology in the sparse form.

    Args:
        params: Arrays `[out, in]`, and biases.
        masks: A mask for each weight that lacks links, else `None`.
        counts: For each of these weights the number of its links, a Python integer; or `None`, to
            leave it as it is.

    Returns:
        The parameters, `[L]` where there was a count, and the topology.
    """
    topology = jax.tree.map(_links_of, params, masks, counts)
    return jax.tree.map(_values_of, params, topology), topology


def to_masked(params: Tree, topology: Topology) -> tuple[Tree, Topology]:
    """Parameters and topology in the masked form; those that have it already stay as they are."""
    return jax.tree.map(_spread, params, topology), jax.tree.map(_mask_of, params, topology)


def to_dense(params: Tree, topology: Topology) -> tuple[Tree, Topology]:
    """Parameters and topology with all links there, those that were absent with a weight of zero.

    They compute what they did, and their gradient is also that of the links that were absent.
    """
    masked, _ = to_masked(params, topology)
    return masked, dense(masked)


def on_links(values: Tree, topology: Topology) -> Tree:
    """What arrays `[out, in]` hold where there are links, in the form of the topology."""

    def held(values: jax.Array, links: Links | jax.Array | None) -> jax.Array:
        if isinstance(links, Links):
            return take(links, values)
        return values if links is None else jnp.where(links, values, 0)

    return jax.tree.map(held, values, topology)


def link_counts_of(params: Tree, topology: Topology) -> Tree:
    """For each weight in the sparse form the number of its links, else `None`."""
    return jax.tree.map(
        lambda values, links: values.shape[0] if isinstance(links, Links) else None,
        params,
        topology,
    )


def carry_over(
    values: jax.Array, before: Links | jax.Array | None, after: Links | jax.Array | None
) -> jax.Array:
    """Values (of a weight, or an optimiser's moments of it) on links that have moved.

    Args:
        values: In the form of `before`.
        before: The links so far.
        after: The links from now on, in any form.

    Returns:
        What links that stay had, and zero for links that are new.
    """
    # Moments may be kept in fewer bits than the kernels work in.
    wide = values.astype(jnp.float32)
    spread = put(before, wide) if isinstance(before, Links) else wide
    if isinstance(after, Links):
        spread = take(after, spread)
    elif after is not None:
        spread = jnp.where(after, spread, 0)
    return spread.astype(values.dtype)


def _links_of(
    values: jax.Array, mask: jax.Array | None, count: int | None
) -> Links | jax.Array | None:
    del values
    return mask if mask is None or count is None else from_mask(mask, count)


def _values_of(values: jax.Array, links: Links | jax.Array | None) -> jax.Array:
    return take(links, values) if isinstance(links, Links) else values


def _spread(values: jax.Array, links: Links | jax.Array | None) -> jax.Array:
    return put(links, values) if isinstance(links, Links) else values


def _mask_of(values: jax.Array, links: Links | jax.Array | None) -> jax.Array | None:
    del values
    return to_mask(links) if isinstance(links, Links) else links
