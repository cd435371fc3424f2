"""What sparse layers and sparse training of one's own network refuse, and what they do not."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import optax
import pytest

from sparl import compute, topology
from sparl.errors import InputError
from test_evolving import init_mlp, loss, needs_kernels


@needs_kernels
def test_what_the_kernels_do_not_multiply_is_named():
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), init_mlp(jax.random.key(0)))
    with pytest.raises(InputError, match=r"0/w is bfloat16: convert it, or pass compute='masked'"):
        topology.init(jax.random.key(1), half, sparsity=0.7, compute="sparse")


def test_parameters_of_another_form_are_refused():
    dense = init_mlp(jax.random.key(0))
    _, links = topology.init(jax.random.key(1), dense, sparsity=0.7, compute="masked")
    other = dense | {"0": {"w": jnp.ones((3, 3)), "b": jnp.ones(3)}}
    optimizer = topology.evolving(optax.sgd(1), links, rule="set", total_updates=9)
    with pytest.raises(InputError, match=r"0/w has shape \[3, 3\], but its links ask for"):
        optimizer.init(other)
    with pytest.raises(InputError, match="absent links hold values: pass the parameters that"):
        optimizer.init(dense)


@needs_kernels
def test_gradients_of_absent_links_need_all_links():
    params, links = topology.init(
        jax.random.key(1), init_mlp(jax.random.key(0)), sparsity=0.7, compute="sparse"
    )
    optimizer = topology.evolving(optax.sgd(1), links, rule="rigl", total_updates=9)
    x = jnp.ones((12, 5))
    with pytest.raises(InputError, match=r"of dense gradients with sparl.compute.dense\(params\)"):
        optimizer.update(
            params,
            optimizer.init(params),
            params,
            dense_gradients=lambda p: jax.grad(loss)(p, links, x),
        )
    with pytest.raises(
        InputError, match=r"for 0/w an array \[24, 12\], got an array \[\d+\]; in the loss"
    ):
        optimizer.update(
            params,
            optimizer.init(params),
            params,
            dense_gradients=lambda _: jax.grad(loss)(params, links, x),
        )


@pytest.mark.parametrize("form", ["masked", pytest.param("sparse", marks=needs_kernels)])
def test_what_linear_refuses(form):
    params, links = topology.init(
        jax.random.key(1), init_mlp(jax.random.key(0)), sparsity=0.7, compute=form
    )
    layer = compute.bind(params, links)["0"]
    for x in (jnp.ones((5, 12)), jnp.ones(12)):
        with pytest.raises(InputError, match=r"but the layer takes \[..., 12, batch\]: features"):
            compute.linear(layer, x)
    with pytest.raises(InputError, match=r"the bias has shape \[7\], but the layer has 24 outputs"):
        compute.linear(layer | {"b": jnp.ones(7)}, jnp.ones((12, 5)))
    with pytest.raises(InputError, match=r"a layer has a weight w .* this has \['0', "):
        compute.linear(params, jnp.ones((12, 5)))
    with pytest.raises(
        InputError, match="a layer is a dict of a weight w and perhaps a bias b, go"
    ):
        compute.linear(layer["w"], jnp.ones((12, 5)))
    with pytest.raises(InputError, match="they differ in 0/b, 0/w, 9/b, 9/w: bind what"):
        compute.bind({"9" if k == "0" else k: v for k, v in params.items()}, links)
    if form == "sparse":
        with pytest.raises(InputError, match="not of one tree, or not in this order: bind what"):
            compute.bind(links, params)
    else:
        for odd in (params["0"], {"w": 1.0, "b": None}):
            with pytest.raises(InputError, match=r"the topology of 0/[wb] holds no links"):
                compute.bind(params, links | {"0": odd})
    if form == "sparse":
        with pytest.raises(InputError, match=r"w has shape \[\d+\], not \[out, in\]: join"):
            compute.linear(params["0"], jnp.ones((12, 5)))
        assert re.fullmatch(r"Links\(24 x 12, \d+ links\)", str(links["0"]["w"]))


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"rule": "rigle"}, "unknown rule 'rigle': did you mean 'rigl'"),
        ({"interval": 0}, "interval must be a whole number from 1 on, got 0"),
        ({"interval": 1.5}, "interval must be a whole number from 1 on, got 1.5"),
        ({"total_updates": "9"}, "total_updates must be a whole number from 1 on, got '9'"),
        ({"fraction": 1.5}, r"fraction must be a number in \[0, 1\], got 1.5"),
        ({"inner": None}, "must be an optax transformation such as optax.adam.1e-3., got None"),
        ({"inner": optax.adam}, "must be an optax transformation such as optax.adam.1e-3., got <"),
    ],
)
def test_settings_are_checked(settings, match):
    right = {"inner": optax.sgd(1), "topology": {}, "rule": "set", "total_updates": 9}
    with pytest.raises(InputError, match=match):
        topology.evolving(**(right | settings))


@pytest.mark.parametrize("form", ["masked", pytest.param("sparse", marks=needs_kernels)])
@pytest.mark.parametrize(
    "inner",
    [optax.adafactor(1e-3), optax.novograd(1e-3), optax.sm3(1e-3), optax.lbfgs()],
    ids=["adafactor", "novograd", "sm3", "lbfgs"],
)
def test_states_that_could_not_go_with_links_are_refused(form, inner):
    params, links = topology.init(
        jax.random.key(0), init_mlp(jax.random.key(0)), sparsity=0.5, compute=form
    )
    optimizer = topology.evolving(inner, links, rule="rigl", total_updates=9)
    with pytest.raises(InputError, match="not made of arrays of each parameter's shape"):
        optimizer.init(params)


GOOD = {
    "adamw": optax.adamw(1e-3),
    "amsgrad": optax.amsgrad(1e-3),
    "lion": optax.lion(1e-3),
    "lamb": optax.lamb(1e-3),
    "momentum": optax.sgd(1e-3, momentum=0.9),
    "masked": optax.masked(optax.adam(1e-3), {str(i): {"w": True, "b": False} for i in range(3)}),
    "MultiSteps": optax.MultiSteps(optax.adam(1e-3), 2),
    "if finite": optax.apply_if_finite(optax.adam(1e-3), 3),
    "schedule free": optax.contrib.schedule_free_adamw(1e-3),
    "injected": optax.inject_hyperparams(optax.adam)(learning_rate=1e-3),
}


@pytest.mark.parametrize("form", ["masked", pytest.param("sparse", marks=needs_kernels)])
@pytest.mark.parametrize("inner", GOOD.values(), ids=GOOD)
def test_what_goes_with_links_is_taken(form, inner):
    params, links = topology.init(
        jax.random.key(0), init_mlp(jax.random.key(0)), sparsity=0.5, compute=form
    )
    optimizer = topology.evolving(
        inner, links, rule="rigl", total_updates=jnp.int32(9), fraction=jnp.float32(0.3)
    )
    state = jax.jit(optimizer.init)(params)
    jax.eval_shape(partial(optimizer.update, dense_gradients=lambda p: p), params, state, params)


@pytest.mark.parametrize("form", ["masked", pytest.param("sparse", marks=needs_kernels)])
def test_links_that_stay_ask_less_of_an_optimizer(form):
    params, links = topology.init(
        jax.random.key(0), init_mlp(jax.random.key(0)), sparsity=0.5, compute=form
    )
    for inner in (optax.novograd(1e-3), optax.scale_by_lbfgs()):
        topology.evolving(inner, links, rule="static", total_updates=9).init(params)
    private = topology.evolving(
        optax.contrib.dpsgd(1e-3, 1.0, 0.1, 0),
        links,
        rule="static",
        total_updates=9,
    )
    each = jax.tree.map(lambda x: jnp.stack([x, x]), params)
    private.update(each, private.init(params), params)
    factored = topology.evolving(optax.sm3(1e-3), links, rule="static", total_updates=9)
    if form == "masked":
        factored.init(params)
    else:  # Sums of rows and columns would become something else.
        with pytest.raises(InputError, match="treats matrices apart"):
            factored.init(params)


@needs_kernels
def test_what_treats_matrices_apart_is_for_masks():
    dense = init_mlp(jax.random.key(0))
    for form in ("masked", "sparse"):
        params, links = topology.init(jax.random.key(0), dense, sparsity=0.5, compute=form)
        optimizer = topology.evolving(optax.contrib.muon(1e-3), links, rule="rigl", total_updates=9)
        if form == "sparse":
            with pytest.raises(
                InputError, match=r"optimizer treats matrices apart, .* compute='masked'"
            ):
                optimizer.init(params)
        else:
            optimizer.init(params)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"sparsity": 1.2}, r"sparsity must be a number in \[0, 1\), got 1.2"),
        ({"sparsity": "0.9"}, r"sparsity must be a number in \[0, 1\), got '0.9'"),
        ({"sparsity": 0.5, "distribution": "even"}, "unknown distribution 'even'"),
        ({"sparsity": 0.99}, "fewer than one each; the highest that keeps one per output"),
        ({"sparsity": 0.5, "compute": "dense"}, "compute 'dense' keeps every link"),
        ({"sparsity": 0.5, "compute": "fast"}, "compute must be one of"),
    ],
)
def test_what_init_refuses(settings, match):
    with pytest.raises(InputError, match=match):
        topology.init(jax.random.key(0), init_mlp(jax.random.key(0)), **settings)


def test_what_update_lacks_is_said():
    params, links = topology.init(
        jax.random.key(0), init_mlp(jax.random.key(0)), sparsity=0.5, compute="masked"
    )
    optimizer = topology.evolving(optax.sgd(1), links, rule="rigl", total_updates=9)
    state = optimizer.init(params)
    with pytest.raises(InputError, match="call update\\(gradients, state, params\\)"):
        optimizer.update(params, state)
    for given in ({}, {"dense_gradients": params}):
        with pytest.raises(InputError, match="pass dense_gradients to update"):
            optimizer.update(params, state, params, **given)
    others = params | {"0": {"w": jnp.ones((3, 3)), "b": params["0"]["b"]}}
    with pytest.raises(InputError, match=r"for 0/w an array \[24, 12\], got an array \[3, 3\]"):
        optimizer.update(others, state, params)
    with pytest.raises(InputError, match=r"for \d/[wb] an array \[.*\], got nothing"):
        optimizer.update({}, state, params)
    with pytest.raises(InputError, match=r"for 0/b an array \[24\], got an array \[\]"):
        optimizer.update(params | {"0": params["0"] | {"b": 0.5}}, state, params)
    with pytest.raises(InputError, match=r"for z nothing, got an array \[3\]"):
        optimizer.update(params | {"z": jnp.ones(3)}, state, params)


def test_there_must_be_a_weight():
    with pytest.raises(InputError, match="no array has two dimensions"):
        topology.init(jax.random.key(0), {"b": jnp.zeros(3)}, sparsity=0.5)
