"""A JVM that starts as a CLDB does, once with each store; conformance/clients/cluster measures it."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import pytest
from fix_clients import need

PART = Path(__file__).parents[2] / "conformance" / "clients" / "cluster"


@pytest.fixture(scope="module")
def cldb() -> ModuleType:
    need("java")
    need("javac")
    sys.path.insert(0, str(PART))
    try:
        spec = importlib.util.spec_from_file_location("check_cldb", PART / "check_cldb.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(PART))
    return module


@pytest.fixture(scope="module")
def classes(cldb: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = cldb.compile_start(tmp_path_factory.mktemp("classes"))
    return folder


@pytest.mark.parametrize("store", ["file", "kmip"])
def test_start(cldb: ModuleType, classes: Path, tmp_path: Path, store: str) -> None:
    with cldb.appliances(tmp_path / "group", 1) if store == "kmip" else nullcontext([]) as group:
        node = cldb.Node(tmp_path / "home")
        node.init(group)
        cldb.no_pin_is_configured(node)
        words = cldb.arguments_of(node, store)
        assert cldb.start(node, classes, words)["all"] > 0
        wrong = [*words[:3], "0" * 64]
        with pytest.raises(cldb.Failed, match="ANOTHER KEY THAN RECORDED"):
            cldb.start(node, classes, wrong)
        (node.tokens / node.serial / "user.pin").unlink()  # a host that may not log in does not start
        with pytest.raises(cldb.Failed, match="Exception in thread"):
            cldb.start(node, classes, words)
