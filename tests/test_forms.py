"""Which form of compute a run takes, and what happens where there are no kernels."""

import pytest

from kernel_cases import needs_kernels
from sparl import compute
from sparl.compute import native
from sparl.errors import InputError


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
