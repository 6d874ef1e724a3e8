"""Load every tests/fix_*.py as a plug-in: fixtures live beside what they start, not in one long file."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

pytest_plugins = sorted(path.stem for path in HERE.glob("fix_*.py"))
