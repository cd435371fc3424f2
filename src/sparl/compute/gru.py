"""One step of a gated recurrent unit."""

import jax
import jax.numpy as jnp


def gru_cell(layer: dict[str, jax.Array], x: jax.Array, hidden: jax.Array) -> jax.Array:
    """One step of the GRU of Cho et al. (2014) in PyTorch's `GRUCell` form.

    The reset gate acts on the recurrent product, and both products carry a bias.

    Args:
        layer: Bound weights `w_ih [3h, in]`, `w_hh [3h, h]` and biases `b_ih`, `b_hh` `[3h]`, the
            rows in the order reset, update, candidate.
        x: `[in, columns]`.
        hidden: `[h, columns]`.

    Returns:
        The next hidden state, `[h, columns]`.
    """
    from_input = layer["w_ih"] @ x + layer["b_ih"][:, None]
    from_hidden = layer["w_hh"] @ hidden + layer["b_hh"][:, None]
    reset_i, update_i, candidate_i = jnp.split(from_input, 3)
    reset_h, update_h, candidate_h = jnp.split(from_hidden, 3)
    reset = jax.nn.sigmoid(reset_i + reset_h)
    update = jax.nn.sigmoid(update_i + update_h)
    candidate = jnp.tanh(candidate_i + reset * candidate_h)
    return (1 - update) * candidate + update * hidden
