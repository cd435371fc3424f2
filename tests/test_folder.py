"""Run folders: one process at a time."""

import pytest

from sparl.config import Config
from sparl.errors import InputError, SparlError
from sparl.train.folder import create


def test_a_run_that_goes_on_is_not_replaced(tmp_path):
    folder = create(tmp_path / "run", Config(), overwrite=False)
    folder.result.write_text("{}")
    with (
        folder.locked(),
        pytest.raises(SparlError, match="another process is training into"),
    ):
        create(folder.path, Config(), overwrite=True)
    assert folder.result.exists()
    create(folder.path, Config(), overwrite=True)
    assert folder.config.exists()
    assert not folder.result.exists()


def test_a_run_stays_with_the_map_that_it_was_trained_on(tmp_path):
    own = tmp_path / "duel.toml"
    own.write_text("[allies]\nmarine = 1\n[enemies]\nmarine = 1\n")
    config = Config(env=f"smax:{own}")
    folder = create(tmp_path / "run", config, overwrite=False)
    assert folder.load_config() == config
    assert folder.map.read_text() == own.read_text()
    own.write_text("[allies]\nmarine = 2\n[enemies]\nmarine = 1\n")
    with pytest.raises(InputError, match=r"trained on .*duel.toml, which has changed since: put"):
        folder.load_config()
    own.unlink()
    with pytest.raises(InputError, match=r"trained on .*duel.toml, which is not there"):
        folder.load_config()
    own.write_bytes(folder.map.read_bytes())
    assert folder.load_config() == config


def test_a_run_on_a_known_map_keeps_none(tmp_path):
    folder = create(tmp_path / "run", Config(), overwrite=False)
    assert not folder.map.exists()
    assert folder.load_config() == Config()
