"""Which form of compute a run takes, and what happens where there are no kernels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernel_cases import needs_kernels
from sparl import compute
from sparl.compute import native
from sparl.errors import InputError
from sparl.nets import agent
from sparl.nets.layers import init_linear
from sparl.topology import by_name, link_count_tree, random_topology


@pytest.fixture
def no_kernels(monkeypatch):
    monkeypatch.setattr(native, "unavailable", lambda: "the sparse kernels were not built")


@pytest.fixture
def kernels(monkeypatch):
    monkeypatch.setattr(native, "unavailable", lambda: None)


@pytest.mark.parametrize(
    ("wanted", "sparsity", "form"),
    [
        ("auto", 0.0, "dense"),
        ("dense", 0.0, "dense"),
        ("auto", 0.95, "sparse"),
        ("auto", 0.8, "sparse"),
        ("auto", 0.79, "masked"),
        ("sparse", 0.1, "sparse"),
        ("masked", 0.95, "masked"),
    ],
)
def test_choice_with_kernels(kernels, wanted, sparsity, form):
    assert compute.choose(wanted, sparsity) == form


def test_choice_without_kernels(no_kernels):
    assert compute.choose("auto", 0.95) == "masked"
    with pytest.raises(InputError, match="were not built; or choose 'masked' or 'auto'"):
        compute.choose("sparse", 0.95)
    with pytest.raises(InputError, match="were not built"):
        native.call("sparl_take", ())


def test_no_library_is_no_error_until_it_is_needed(monkeypatch, tmp_path):
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "libsparl.so")
    native.load.cache_clear()
    try:
        assert native.load() is None
        assert "install a C++ compiler" in native.unavailable()
        assert native.instruction_sets() == []
        assert not native.info()["kernels"]
    finally:
        native.load.cache_clear()


def test_a_library_that_does_not_load_is_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "libsparl.so")
    native.LIBRARY.write_bytes(b"not a library")
    native.load.cache_clear()
    try:
        assert "the sparse kernels cannot be loaded (" in native.unavailable()
        assert not native.info()["kernels"]
        assert compute.choose("auto", 0.95) == "masked"
    finally:
        native.load.cache_clear()


@needs_kernels
def test_an_instruction_set_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("SPARL_ISA", "avx1024")
    native.load.cache_clear()
    try:
        with pytest.raises(InputError, match=r"SPARL_ISA is 'avx1024', .* has .*: set it to"):
            native.load()
    finally:
        monkeypatch.undo()
        native.load.cache_clear()


@needs_kernels
@pytest.mark.parametrize("columns", [1, 24, 256])
def test_sparse_is_masked_to_within_rounding(columns):
    """Values and gradients of a layer and of the agent's net, both in float32."""
    keys = jax.random.split(jax.random.key(0), 4)
    params = {"layer": init_linear(keys[0], 40, 30), "net": agent.init(keys[1], 40, 24, 7)}
    masks = random_topology(keys[2], params, 0.8)
    masked = compute.bind(params, masks)
    sparse, links = compute.to_sparse(masked, masks, link_count_tree(params, 0.8))
    x = jax.random.normal(keys[3], (5, 40, columns))
    length = 5 - jnp.arange(columns) % 6
    padded = jnp.where(jnp.arange(5)[:, None, None] < length, x, jnp.nan)

    def run(params, topology):
        weights = compute.bind(params, topology)
        y = compute.linear(weights["layer"], x, relu=True)
        q = agent.unroll(weights["net"], padded, length)
        return jnp.sum(jnp.tanh(y)) + jnp.sum(jnp.tanh(q))

    expected, gradients = jax.value_and_grad(run)(masked, masks)
    value, of_links = jax.value_and_grad(run)(sparse, links)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert np.isfinite(expected)
    spread, _ = compute.to_masked(of_links, links)
    for name, found in by_name(spread).items():
        scale = np.abs(by_name(gradients)[name]).max()
        np.testing.assert_allclose(found, by_name(gradients)[name], atol=1e-5 * scale, err_msg=name)
