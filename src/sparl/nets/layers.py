"""Initial parameters of single layers, distributed as PyTorch distributes them."""

import jax
import jax.numpy as jnp


def init_linear(key: jax.Array, inputs: int, outputs: int) -> dict[str, jax.Array]:
    """A linear layer: `w [outputs, inputs]` and `b [outputs]`, both U(-1/sqrt(in), 1/sqrt(in)).

    This is `torch.nn.Linear`'s default, which PyMARL trains with.
    """
    w_key, b_key = jax.random.split(key)
    bound = inputs**-0.5
    return {
        "w": jax.random.uniform(w_key, (outputs, inputs), jnp.float32, -bound, bound),
        "b": jax.random.uniform(b_key, (outputs,), jnp.float32, -bound, bound),
    }


def init_gru(key: jax.Array, inputs: int, hidden: int) -> dict[str, jax.Array]:
    """A GRU cell as `sparl.compute.recurrent.step` takes it, all entries U(-1/sqrt(h), 1/sqrt(h)).

    This is `torch.nn.GRUCell`'s default.
    """
    bound = hidden**-0.5
    shapes = {
        "w_ih": (3 * hidden, inputs),
        "w_hh": (3 * hidden, hidden),
        "b_ih": (3 * hidden,),
        "b_hh": (3 * hidden,),
    }
    keys = jax.random.split(key, len(shapes))
    return {
        name: jax.random.uniform(k, shape, jnp.float32, -bound, bound)
        for k, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
