"""The tables of bench/results/README.md and all.csv, ratios first."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from driving import Measured
from plan import CELLS, THREADS, Cell, cell_text
from results import BARE, Results
from subjects import SOFTHSM_NAME

NONE = "–"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose first column is text and whose others are figures."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def time_text(ns: float) -> str:
    """Return a time in the unit that suits it."""
    for unit_ns, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if ns >= unit_ns:
            return f"{ns / unit_ns:.3g} {unit}"
    return f"{ns:.0f} ns"


def rate_text(per_second: float) -> str:
    for unit, letter in ((1e6, " M"), (1e3, " k")):
        if per_second >= unit:
            return f"{per_second / unit:.3g}{letter}"
    return f"{per_second:.3g}"


def ratio_text(ratio: float | None) -> str:
    """Return a ratio as in "12x"; two digits are all that such figures are worth."""
    if ratio is None:
        return NONE
    return f"{ratio:.2g}x" if ratio < 100 else f"{ratio:.0f}x"


def ours(results: Results) -> list[str]:
    """Return the names of our own columns."""
    return [name for name in results.cells if name not in (SOFTHSM_NAME, BARE)]


def cells(results: Results, threads: int) -> list[Cell]:
    """Return the cells of the run with so many threads, in the plan's order."""
    return [cell for cell in CELLS if cell.threads == threads and any(cell in row for row in results.cells.values())]


def _time(results: Results, name: str, cell: Cell) -> str:
    measured = results.measured(name, cell)
    return time_text(measured.p50_ns) if measured else NONE


def ratios(results: Results, other: str) -> str:
    """Return how many times as fast as another, with the median time of one operation."""
    names = [name for name in results.cells if name not in (other, BARE)]
    rows = []
    for cell in cells(results, 1):
        if results.measured(other, cell) is None:
            continue
        columns = [f"**{ratio_text(results.ratio(name, other, cell))}** {_time(results, name, cell)}" for name in names]
        rows.append(
            [cell_text(cell), *(c.replace(f"**{NONE}** {NONE}", NONE) for c in columns), _time(results, other, cell)]
        )
    return markdown(["one thread", *names, other], rows)


def scaling(results: Results) -> str:
    """Return, for the first column of ours, operations a second by threads, with the ratio to the others."""
    name = ours(results)[0]
    others = [other for other in (SOFTHSM_NAME, BARE) if other in results.cells]
    rows = []
    for base in cells(results, 1):
        columns = []
        for threads in THREADS:
            cell = base._replace(threads=threads)
            measured = results.measured(name, cell)
            shares = " / ".join(ratio_text(results.ratio(name, other, cell)) for other in others)
            columns.append(f"**{shares}** {rate_text(measured.per_second)}" if measured else "")
        if sum(map(bool, columns)) > 1:
            rows.append([cell_text(base), *columns])
    return markdown([f"{name}, beside {' / '.join(others)}", *(f"{n} thr" for n in THREADS)], rows)


def percentiles(results: Results) -> str:
    """Return p50, p95, p99 and the processor's time of one operation, first column of ours and SoftHSM2."""
    names = [ours(results)[0], *(name for name in (SOFTHSM_NAME,) if name in results.cells)]
    rows = []
    for cell in cells(results, 1):
        row = [cell_text(cell)]
        for name in names:
            measured = results.measured(name, cell)
            figures = (measured.p50_ns, measured.p95_ns, measured.p99_ns, measured.cpu_ns) if measured else ()
            row.append(" / ".join(map(time_text, figures)) or NONE)
        rows.append(row)
    return markdown(["p50 / p95 / p99 / CPU", *names], rows)


def starts(results: Results) -> str:
    """Return what a start costs: median (least)."""
    names = list(results.starts)
    figures = next(iter(results.starts.values()))
    rows = []
    for figure in figures:
        found = [results.starts[name][figure] for name in names]
        rows.append([figure, *(f"{middle:.3g} ({least:.3g}) {unit}" for middle, least, unit in found)])
    return markdown(["median (least)", *names], rows)


def searches(results: Results) -> str:
    """Return a search by objects: median, and the first of a process."""
    names = list(results.searches)
    keys = sorted(
        {cell for row in results.searches.values() for cell in row}, key=lambda cell: (cell.operation, cell.size)
    )
    rows = []
    for cell in keys:
        row = [f"{cell.operation} of {cell.size:,}"]
        for name in names:
            measured = results.searches[name].get(cell)
            first = results.first_searches_ms[name].get(cell)
            good = isinstance(measured, Measured) and first is not None
            row.append(f"{time_text(measured.p50_ns)} ({time_text(first * 1e6)})" if good else NONE)
        rows.append(row)
    return markdown(["median (first of the process)", *names], rows)


def memory(results: Results) -> str:
    """Return what the processes of the measurement took, with all their threads."""
    rows = [[name, f"{peak:.1f} MB", f"{present:.1f} MB"] for name, (peak, present) in results.memory_mb.items()]
    return markdown(["after all of it", "peak", "at the end"], rows)


def everything(results: Results) -> str:
    """Return every figure as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["subject", "operation", "size", "threads", *Measured._fields, "refused"])
    for name, row in results.cells.items():
        for cell, found in row.items():
            figures = [f"{x:.4g}" for x in found] if isinstance(found, Measured) else [""] * len(Measured._fields)
            writer.writerow([name, *cell, *figures, found if isinstance(found, str) else ""])
    return text.getvalue()
