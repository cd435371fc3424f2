"""A plain JAX network, dense and sparse, trained side by side.

    python examples/mlp.py
    python examples/mlp.py --sparsity 0.9 --rule set --width 512

The task is a regression on what a random teacher network answers. Sparse training differs in four
marked places: two lines of the network, two of the optimiser.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import optax

import sparl

INPUTS, OUTPUTS, BATCH, BATCHES = 256, 8, 512, 64


def init_mlp(key, widths):
    """Layers "0", "1", ..., each a weight `[out, in]` and a bias `[out]`."""
    keys = jax.random.split(key, len(widths) - 1)
    return {
        str(i): {
            "w": jax.random.normal(k, (widths[i + 1], widths[i])) * (2 / widths[i]) ** 0.5,
            "b": jnp.zeros(widths[i + 1]),
        }
        for i, k in enumerate(keys)
    }


def mlp(weights, x):
    """From `[INPUTS, batch]` to `[OUTPUTS, batch]`."""
    for i in range(len(weights)):
        x = sparl.compute.linear(weights[str(i)], x, relu=i + 1 < len(weights))  # 1
    return x


def positive(text):
    """A whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--sparsity", type=float, default=0.95)
    parser.add_argument("--rule", default="rigl", choices=("static", "set", "rigl"))
    parser.add_argument("--width", type=positive, default=1024)
    parser.add_argument("--updates", type=positive, default=1000)
    args = parser.parse_args()
    sparl.compute.keep_freed()  # Else large temporaries would be new memory at each call.
    widths = (INPUTS, args.width, args.width, OUTPUTS)
    teacher = init_mlp(jax.random.key(1), (INPUTS, 32, OUTPUTS))
    xs = jax.random.normal(jax.random.key(3), (BATCHES, INPUTS, BATCH))
    batches = [(x, mlp(teacher, x)) for x in xs]

    def train(name, params, optimizer, topology_of):
        def loss(params, topology, x, y):
            weights = sparl.compute.bind(params, topology)  # 2
            return jnp.mean((mlp(weights, x) - y) ** 2)

        @jax.jit
        def update(params, state, x, y):
            value, gradients = jax.value_and_grad(loss)(params, topology_of(state, params), x, y)
            updates, state = optimizer.update(
                gradients,
                state,
                params,
                dense_gradients=lambda p: jax.grad(loss)(p, sparl.compute.dense(p), x, y),  # 3
            )
            return optax.apply_updates(params, updates), state, value

        state, seconds, values = optimizer.init(params), [], []
        for i in range(args.updates):
            begun = time.perf_counter()
            params, state, value = update(params, state, *batches[i % BATCHES])
            values.append(float(value))
            seconds.append(time.perf_counter() - begun)
        median = sorted(seconds)[len(seconds) // 2]
        weights = sum(x.size for x in jax.tree.leaves(params))
        last = sum(values[-50:]) / len(values[-50:])
        print(
            f"{name:7}{weights:9} parameters  loss {values[0]:.3f} -> {last:.3f}  "
            f"{median * 1e3:.2f} ms per update"
        )
        return median

    params = init_mlp(jax.random.key(0), widths)
    try:
        links = sparl.topology.init(jax.random.key(2), params, sparsity=args.sparsity)
    except sparl.InputError as error:
        parser.error(str(error))
    sparse_params, topology = links
    adam = optax.with_extra_args_support(optax.adam(1e-3))
    dense = train("dense", params, adam, lambda _, params: sparl.compute.dense(params))

    optimizer = sparl.topology.evolving(  # 4
        optax.adam(1e-3), topology, rule=args.rule, total_updates=args.updates
    )
    sparse = train(args.rule, sparse_params, optimizer, lambda state, _: state.topology)
    print(f"an update is {dense / sparse:.1f} times as fast")


if __name__ == "__main__":
    main()
