"""What a run has found, kept as figures.json."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from driving import Measured
from plan import Cell
from subjects import SOFTHSM_NAME

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "results"
BARE = "libcrypto"
FIGURES = "figures.json"


@dataclass
class Results:
    """Figures of one run. A cell that a library refuses has the text of the refusal."""

    rounds: int = 0
    milliseconds: float = 0.0
    machine: dict[str, str] = field(default_factory=dict)
    starts: dict[str, dict[str, tuple[float, float, str]]] = field(default_factory=dict)  # median, least, unit
    memory_mb: dict[str, tuple[float, float]] = field(default_factory=dict)  # peak, present
    cells: dict[str, dict[Cell, Measured | str]] = field(default_factory=dict)
    searches: dict[str, dict[Cell, Measured | str]] = field(default_factory=dict)  # size: the number of objects
    first_searches_ms: dict[str, dict[Cell, float]] = field(default_factory=dict)

    def take_starts(self, taken: Mapping[str, list[dict[str, tuple[float, str]]]]) -> None:
        """Keep median and least of each figure of a start."""
        for name, runs in taken.items():
            self.starts[name] = {}
            for figure, (_, unit) in runs[0].items():
                numbers = [run[figure][0] for run in runs]
                self.starts[name][figure] = (statistics.median(numbers), min(numbers), unit)

    def take_cells(self, found: Mapping[tuple[str, Cell], Measured | str]) -> None:
        for (name, cell), measured in found.items():
            self.cells.setdefault(name, {})[cell] = measured

    def take_searches(
        self,
        count: int,
        found: Mapping[tuple[str, Cell], Measured | str],
        *,
        first: Mapping[tuple[str, Cell], float],
    ) -> None:
        for (name, cell), measured in found.items():
            self.searches.setdefault(name, {})[cell._replace(size=count)] = measured
        for (name, cell), ns in first.items():
            self.first_searches_ms.setdefault(name, {})[cell._replace(size=count)] = ns / 1e6

    def measured(self, name: str, cell: Cell) -> Measured | None:
        """Return a figure, None for what was refused or not tried."""
        found = self.cells.get(name, {}).get(cell)
        return found if isinstance(found, Measured) else None

    def ratio(self, name: str, other: str, cell: Cell) -> float | None:
        """Return how many times as fast `name` is as `other`.

        One thread: by the median times, which a busy machine hardly touches; several: by operations a second.
        """
        ours, theirs = self.measured(name, cell), self.measured(other, cell)
        if not ours or not theirs:
            return None
        return theirs.p50_ns / ours.p50_ns if cell.threads == 1 else ours.per_second / theirs.per_second


def machine() -> dict[str, str]:
    """Describe the machine, without its name."""
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    memory = re.search(r"^MemTotal:\s*(\d+) kB$", Path("/proc/meminfo").read_text(), re.M)
    release = platform.freedesktop_os_release()
    return {
        "processor": f"{cpu[1] if cpu else platform.machine()}, {len(os.sched_getaffinity(0))} cores used",
        "memory": f"{int(memory[1]) / (1 << 20):.1f} GiB" if memory else "unknown",
        "system": f"{release.get('PRETTY_NAME', 'Linux')}, Linux {platform.release().split('-')[0]}",
        "Python": platform.python_version(),
        "libcrypto": _version("openssl", "version").partition(" (")[0],
        SOFTHSM_NAME: _version("softhsm2-util", "--version"),
        "compiler": _version("cc", "--version").splitlines()[0],
    }


def _version(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "absent"


# ---- kept as JSON: a cell as "operation|size|threads"


def _packed(table: Mapping[str, Mapping[Cell, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {"|".join(map(str, cell)): value for cell, value in row.items()} for name, row in table.items()}


def _cell(text: str) -> Cell:
    operation, size, threads = text.split("|")
    return Cell(operation, int(size), int(threads))


def _unpacked(table: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[Cell, Any]]:
    return {name: {_cell(key): value for key, value in row.items()} for name, row in table.items()}


def _measured(table: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[Cell, Measured | str]]:
    return {
        name: {cell: value if isinstance(value, str) else Measured(*value) for cell, value in row.items()}
        for name, row in _unpacked(table).items()
    }


def save(results: Results, folder: Path) -> None:
    """Write figures.json, numbers to four digits."""
    document = asdict(results)
    for name in ("cells", "searches", "first_searches_ms"):
        document[name] = _packed(getattr(results, name))
    text = json.dumps(document, default=str)
    short = json.loads(text, parse_float=lambda digits: float(f"{float(digits):.4g}"))
    (folder / FIGURES).write_text(json.dumps(short, indent=1) + "\n")


def load(folder: Path) -> Results:
    """Read figures.json."""
    document = json.loads((folder / FIGURES).read_text())
    for name in ("cells", "searches"):
        document[name] = _measured(document[name])
    document["first_searches_ms"] = _unpacked(document["first_searches_ms"])
    return Results(**document)
