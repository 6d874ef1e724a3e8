"""docs/functions.md says what the header and the handlers say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from p11 import build_ffi

ROOT = Path(build_ffi.__file__).parent


@pytest.fixture(scope="module")
def table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("function_table", ROOT / "tools" / "function_table.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(table: ModuleType) -> None:
    assert table.PAGE.read_text() == table.page(), "run tools/function_table.py"


def test_each_function_without_a_handler_has_a_reason(table: ModuleType) -> None:
    names = {p.name for p in build_ffi.prototypes()}
    assert names - table.supported() == set(table.UNSUPPORTED)
    assert set(table.NOTES) <= table.supported()
