"""Target networks that follow the online ones slowly, on links of their own or on theirs."""

import jax
import jax.numpy as jnp

from sparl.compute import (
    Topology,
    Tree,
    bind,
    carry_over,
    link_counts_of,
    to_masked,
    to_sparse,
)
from sparl.topology import trim


def follow(targets: Tree, own: Topology, params: Tree, topology: Topology, tau: float) -> Tree:
    """Targets that have gone a share of the way to the online networks, where they have links.

    Args:
        targets: Parameters of target networks, by network.
        own: Their links; empty where these are the online networks'.
        params: Parameters of the same networks online.
        topology: Their links, in the same form.
        tau: The share.
    """
    if own:
        params = jax.tree.map(carry_over, params, topology, own)
    return jax.tree.map(lambda target, online: target + tau * (online - target), targets, params)


def take_up_links(
    targets: Tree, own: Topology, params: Tree, topology: Topology, tau: float
) -> tuple[Tree, Topology]:
    """Targets that also have followed where only the online networks have links.

    Of all links they keep the strongest, as many as the online networks have; see
    `sparl.topology.trim`.

    Args:
        targets: As those of `follow`, after it.
        own: Their links.
        params: Parameters of the same networks online.
        topology: Their links, in the same form.
        tau: Share of the way; a link that is new to a target has been at zero before.

    Returns:
        Parameters and links of the targets, in the form that they had.
    """
    counts = link_counts_of(targets, own)
    targets, own = to_masked(targets, own)
    params, topology = to_masked(params, topology)

    def grow(target: jax.Array, held: jax.Array | None, online: jax.Array) -> jax.Array:
        return target if held is None else jnp.where(held, target, tau * online)

    def keep(target: jax.Array, held: jax.Array | None, mask: jax.Array | None) -> jax.Array | None:
        return None if held is None or mask is None else trim(target, held, mask)

    grown = jax.tree.map(grow, targets, own, params)
    kept = jax.tree.map(keep, grown, own, topology)
    return to_sparse(bind(grown, kept), kept, counts)
