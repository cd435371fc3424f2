"""Loggers: where metrics go besides `metrics.jsonl`."""

import struct

import pytest

from sparl.train.logging import TensorBoardLogger

pytest.importorskip("tensorboardX")


def events(path):
    """The events of one TensorBoard file: length, its checksum, data, its checksum, and so on."""
    from tensorboardX.proto.event_pb2 import Event  # noqa: PLC0415  (an extra)

    data, found = path.read_bytes(), []
    while data:
        (size,) = struct.unpack("<Q", data[:8])
        found.append(Event.FromString(data[12 : 12 + size]))
        data = data[size + 16 :]
    return found


def test_numbers_go_to_tensorboard_and_what_comes_again_replaces_what_came(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    for step in (200, 300):  # As if resumed from a checkpoint before 200, and killed behind it.
        logger.log({"kind": "train", "env_steps": step, "seed": 0, "loss": 1 / step, "note": "x"})
    logger.close()

    (path,) = (tmp_path / "seed_0").iterdir()
    scalars = [
        (event.step, event.summary.value[0].tag, event.summary.value[0].simple_value)
        for event in events(path)
        if event.HasField("summary")
    ]
    assert scalars == [(step, "train/loss", pytest.approx(1 / step)) for step in (200, 300)]
    # TensorBoard drops what older files hold of this step and later ones.
    assert [e.step for e in events(path) if e.HasField("session_log")] == [200]
