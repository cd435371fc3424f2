"""Checkpoints that are damaged or made up are passed over, by name."""

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from checkpoint_cases import check, delete, flip, only, restore, save, save_all, truncate
from sparl.errors import SparlError
from sparl.train.checkpoint import CheckpointStore
from sparl.train.manifest import render_body


@pytest.mark.parametrize("harm", [flip, truncate, delete])
@pytest.mark.parametrize(
    "pattern",
    ["state-000000006-*", "log-seed-1-*-000000018-*", "log-seed-0-000000004-*", "*6.json"],
)
def test_damage_is_named_and_the_checkpoint_before_used(folder, pattern, harm):
    save_all(folder, 6)
    path = only(folder, pattern)
    harm(path)
    store = CheckpointStore(folder)
    found = store.restore()
    check(found)
    assert found.step == 5
    (sentence,) = found.skipped
    assert sentence.startswith(f"checkpoint 6: checkpoints/{path.name} ")
    assert sentence.endswith("; using the one before")
    # Saving goes on from there, over the same steps.
    for step in (6, 7):
        save(store, step)
        store.wait()
        again = restore(folder)
        check(again)
        assert (again.step, again.skipped) == (step, [])
    store.close()


def test_every_byte_of_a_manifest_counts(folder):
    save_all(folder, 2)
    path = folder / "000000002.json"
    data = path.read_bytes()
    for position in range(0, len(data), 7):
        path.write_bytes(data[:position] + bytes([data[position] ^ 32]) + data[position + 1 :])
        assert restore(folder).step == 1
    path.write_bytes(data)
    assert restore(folder).step == 2


def test_continuing_after_a_fall_back_removes_what_is_newer(folder):
    save_all(folder, 6, keep=4)
    flip(only(folder, "state-000000006-*"))
    flip(only(folder, "log-seed-0-*-000000015-*"))  # The end of checkpoint 5.
    before = sorted(folder.iterdir())
    store = CheckpointStore(folder, keep=4)
    found = store.restore()
    assert found.step == 4
    assert [sentence[:13] for sentence in found.skipped] == ["checkpoint 6:", "checkpoint 5:"]
    assert sorted(folder.iterdir()) == before
    assert store.ends() == {}  # Fewer than four are kept, so the next replaces none.
    save(store, 7)
    store.close()
    assert sorted(path.name for path in folder.glob("*.json")) == [
        f"00000000{step}.json" for step in (3, 4, 7)
    ]
    check(restore(folder))
    assert list(folder.glob("log-*-000000015-*")) == []


def test_no_file_serves_two_checkpoints(folder):
    for steps in range(1, 7):
        shutil.rmtree(folder, ignore_errors=True)
        save_all(folder, steps, keep=3)
        manifests = [json.loads(path.read_bytes())["body"] for path in folder.glob("*.json")]
        assert len(manifests) == min(steps, 3)
        files = [manifest["state"]["name"] for manifest in manifests]
        for manifest in manifests:
            for stream in manifest["streams"].values():
                files += [piece["file"]["name"] for piece in stream["pieces"]]
        assert len(files) == len(set(files)) == len(list(folder.glob("*.safetensors")))


def test_nothing_is_built_on_a_damaged_older_checkpoint(folder):
    save_all(folder, 6)
    flip(only(folder, "log-seed-0-000000005-*"))
    store = CheckpointStore(folder)
    assert store.restore().step == 6
    save(store, 7)
    save(store, 8)
    store.close()
    for step in (8, 7):
        found = restore(folder)
        check(found)
        assert found.step == step
        flip(only(folder, f"state-{step:09d}-*"))


def test_when_all_are_damaged_all_are_named(folder):
    save_all(folder, 6)
    damaged = [only(folder, f"log-seed-0-{step:09d}-*") for step in (5, 6)]
    for path in damaged:
        flip(path)
    store = CheckpointStore(folder)
    with pytest.raises(SparlError, match=r"no checkpoint in .* is intact") as error:
        store.restore()
    assert all(path.name in str(error.value) for path in damaged)
    assert "remove the folder and start again with `sparl train`" in str(error.value)
    with pytest.raises(SparlError, match="already holds checkpoints"):
        save(store, 7)


def test_a_file_that_may_not_be_read_is_not_taken_for_damaged(folder, monkeypatch):
    save_all(folder, 2)

    def refuse(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(SparlError, match=r"could not read .*000000002.json: Permission denied"):
        restore(folder)


def rewrite(folder, change):
    """Changes the newest manifest and makes its checksum right again, as an attacker would."""
    path = folder / "000000002.json"
    body = json.loads(path.read_bytes())["body"]
    change(body)
    path.write_bytes(render_body(body))
    return CheckpointStore(folder).restore()


@pytest.mark.parametrize("place", ["../secret.safetensors", "/{root}/secret.safetensors"])
@pytest.mark.parametrize("kind", ["state", "segment"])
def test_a_manifest_cannot_lead_out_of_the_folder(folder, place, kind):
    save_all(folder, 2)
    secret = folder.parent / "secret.safetensors"
    secret.write_bytes(only(folder, "state-000000002-*").read_bytes())
    data = secret.read_bytes()
    file = {
        "name": place.format(root=folder.parent),
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }

    def change(body):
        if kind == "state":
            body["state"] = file
        else:
            body["streams"]["seed-0"]["pieces"][0]["file"] = file

    found = rewrite(folder, change)
    assert found.step == 1
    assert "is not the name of a data file" in found.skipped[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body.update(step=True),
        lambda body: body.update(step=-2),
        lambda body: body.update(step=1),
        lambda body: body.update(info=[]),
        lambda body: body.update(streams=[]),
        lambda body: body.pop("streams"),
        lambda body: body["state"].update(name=3),
        lambda body: body["state"].update(name=None),
        lambda body: body["state"].update(size="12"),
        lambda body: body["state"].update(sha256=None),
        lambda body: body["state"].update(extra=1),
        lambda body: body["streams"].update(seed=None),
        lambda body: body["streams"]["seed-0"].update(pieces=3),
        lambda body: body["streams"]["seed-0"].update(end="9"),
        lambda body: body["streams"]["seed-0"]["pieces"][0].update(first=0.5),
    ],
)
def test_a_manifest_of_wrong_types_is_passed_over(folder, change):
    save_all(folder, 2)
    found = rewrite(folder, change)
    check(found)
    assert found.step == 1
    assert len(found.skipped) == 1


@pytest.mark.parametrize("raw", [b"", b"[]", b"7", b"\xff", b"[" * 100_000, b'{"body": {}}'])
def test_a_manifest_that_is_something_else_is_passed_over(folder, raw):
    save_all(folder, 2)
    (folder / "000000002.json").write_bytes(raw)
    found = restore(folder)
    assert found.step == 1
    assert "checkpoints/000000002.json is not a valid manifest" in found.skipped[0]


def test_data_that_is_no_safetensors_is_passed_over(folder):
    save_all(folder, 2)
    path = only(folder, "state-000000002-*")
    path.write_bytes(b"not arrays")
    digest = hashlib.sha256(b"not arrays").hexdigest()
    found = rewrite(folder, lambda body: body["state"].update(size=10, sha256=digest))
    assert found.step == 1
    assert f"{path.name} does not hold arrays" in found.skipped[0]
