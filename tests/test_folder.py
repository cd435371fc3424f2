"""Run folders: one process at a time."""

import pytest

from sparl.config import Config
from sparl.errors import SparlError
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
