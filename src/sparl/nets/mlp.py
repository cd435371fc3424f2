"""A multilayer perceptron: linear layers with ReLUs between them."""

import jax

from sparl.compute import Tree, linear
from sparl.nets.layers import init_linear


def init(key: jax.Array, widths: tuple[int, ...]) -> Tree:
    """Linear layers named "0", "1", ... between consecutive `widths`."""
    keys = jax.random.split(key, len(widths) - 1)
    return {str(i): init_linear(keys[i], widths[i], widths[i + 1]) for i in range(len(widths) - 1)}


def apply(weights: Tree, x: jax.Array) -> jax.Array:
    """`[outputs, C]` from `[inputs, C]`, feature-major."""
    return hidden(weights, x)[-1]


def hidden(weights: Tree, x: jax.Array) -> list[jax.Array]:
    """What each layer puts out, the last one without a ReLU."""
    found = []
    for i in range(len(weights)):
        x = linear(weights[str(i)], x, relu=i + 1 < len(weights))
        found.append(x)
    return found
