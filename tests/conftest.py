"""Load every tests/fix_*.py as a plug-in: fixtures live beside what they start, not in one long file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

PLUGINS = sorted(path.stem for path in HERE.glob("fix_*.py"))
pytest.register_assert_rewrite("p11", "raw_kmip", *PLUGINS)  # they import each other, before pytest gets to them
pytest_plugins = PLUGINS
