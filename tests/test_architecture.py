"""Imports run downwards, as docs/architecture.md says."""

import ast
import importlib.util
from pathlib import Path

LAYERS = ["cli", "study", "train", "algorithms", "middle", "compute", "base"]
PLACE = {
    **dict.fromkeys(["nets", "targets", "replay", "topology", "methods", "envs"], "middle"),
    **dict.fromkeys(
        ["checks", "config", "config_file", "errors", "files", "presets", "spec"], "base"
    ),
}
PACKAGE = Path(importlib.util.find_spec("sparl").origin).parent


def layer(part):
    return LAYERS.index(PLACE.get(part, part))


def imports():
    """Every import of one part of the package by another."""
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts == ("__init__",):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            for name in names:
                if name.startswith("sparl."):
                    yield parts[0], name.split(".")[1], path.name


def test_imports_run_downwards():
    found = list(imports())
    assert len(found) > 100
    upwards = [edge for edge in found if layer(edge[1]) < layer(edge[0])]
    assert upwards == []


def test_envs_are_known_to_train_alone():
    users = {user for user, used, _ in imports() if used == "envs"}
    assert users == {"envs", "train"}


def test_only_train_and_study_touch_a_run():
    users = {user for user, used, _ in imports() if used == "train"}
    assert users == {"train", "study", "cli"}
