"""Where a sparse weight has its links: compressed rows, and the same by columns."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sparl.compute.native import call


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class Links:
    """The places of the `L` links of a weight `[out, in]`, row by row in ascending order.

    Attributes:
        row_start: int32 `[out + 1]`: row `r` has the links `row_start[r]` to `row_start[r + 1]`.
        column: `[L]`, uint16, or int32 where a dimension needs it.
        column_start: int32 `[in + 1]`, the same for columns.
        row: `[L]`, column by column in ascending order, of the type of `column`.
        order: int32 `[L]`: which link, counted row by row, each of them is column by column.
    """

    row_start: jax.Array
    column: jax.Array
    column_start: jax.Array
    row: jax.Array
    order: jax.Array

    def __repr__(self) -> str:
        outputs, inputs = self.shape
        return f"Links({outputs} x {inputs}, {self.column.shape[-1]} links)"

    @property
    def shape(self) -> tuple[int, int]:
        """`(out, in)` of the weight."""
        return self.row_start.shape[-1] - 1, self.column_start.shape[-1] - 1


def from_mask(mask: jax.Array, count: int) -> Links:
    """The links of a boolean mask `[out, in]`, which must be true at exactly `count` places."""
    outputs, inputs = mask.shape
    index = jnp.uint16 if max(outputs, inputs) <= 2**16 else jnp.int32
    shapes = {
        "row_start": jax.ShapeDtypeStruct((outputs + 1,), jnp.int32),
        "column": jax.ShapeDtypeStruct((count,), index),
        "column_start": jax.ShapeDtypeStruct((inputs + 1,), jnp.int32),
        "row": jax.ShapeDtypeStruct((count,), index),
        "order": jax.ShapeDtypeStruct((count,), jnp.int32),
    }
    arrays = call("sparl_links_of", tuple(shapes.values()))(mask)
    return Links(**dict(zip(shapes, arrays, strict=True)))


def to_mask(links: Links) -> jax.Array:
    """The boolean mask `[out, in]` of some links."""
    return put(links, jnp.ones(links.column.shape)) != 0


def take(links: Links, dense: jax.Array) -> jax.Array:
    """The values `[L]` that a float32 array `[out, in]` has at the links."""
    values = jax.ShapeDtypeStruct(links.column.shape, jnp.float32)
    return call("sparl_take", values)(dense, links.row_start, links.column)


def put(links: Links, values: jax.Array) -> jax.Array:
    """A dense array `[out, in]` with float32 `values` `[L]` at the links and zero elsewhere."""
    dense = jax.ShapeDtypeStruct(links.shape, jnp.float32)
    return call("sparl_put", dense)(values, links.row_start, links.column)
