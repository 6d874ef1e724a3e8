"""Three plots as SVG. Log axes, bars and lines are all that is wanted: no plotting library is worth its size here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape

from plan import SIZES, THREADS, Cell, cell_text, size_text
from results import BARE, Results
from subjects import SOFTHSM_NAME
from tables import ours, ratio_text

COLOURS = ("#0b6e4f", "#1f78b4", "#8fc9b0", "#a6cee3", "#6a3d9a")  # our columns, in their order
OTHERS = {SOFTHSM_NAME: "#d95f02", BARE: "#444444"}
STYLE = "text{font:12px sans-serif;fill:#222}.s{font-size:11px;fill:#555}.t{font-size:15px;font-weight:bold}"
SLOW = "kept at the appliance"  # a round trip each: no bar would show beside the others

# What the plot of ratios shows: cells of one thread.
RATIOS = tuple(
    Cell(operation, size, 1)
    for operation, size in (
        *(("AES-CBC-PAD", 16), ("AES-CBC-PAD", 1024), ("AES-CBC-PAD", 1 << 20)),
        *(("AES-GCM", 16), ("AES-GCM", 1024), ("AES-GCM", 1 << 20)),
        *(("HMAC-SHA256", 16), ("HMAC-SHA256", 1024), ("HMAC-SHA256", 1 << 20)),
        *(("SHA-256", 16), ("SHA-256", 1 << 20), ("random", 16), ("wrap", 0), ("unwrap", 0)),
        *(("sign RSA-2048", 0), ("sign P-256", 0), ("generate AES", 0), ("session info", 0), ("3 attributes", 0)),
    )
)
PANELS = (("AES-CBC-PAD", 16), ("AES-CBC-PAD", 1 << 20), ("HMAC-SHA256", 1024), ("sign RSA-2048", 0))
SIZED = ("AES-CBC-PAD", "AES-GCM", "HMAC-SHA256", "SHA-256")


def colours(results: Results) -> dict[str, str]:
    """Return the colour of each column that is drawn."""
    shown = [name for name in ours(results) if SLOW not in name]
    return {**dict(zip(shown, COLOURS, strict=False)), **{k: v for k, v in OTHERS.items() if k in results.cells}}


class Drawing:
    """An SVG picture under construction."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._parts: list[str] = []

    def text(self, x: float, y: float, text: str, *, kind: str = "", anchor: str = "start") -> None:
        self._parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>')

    def line(self, x: float, y: float, to_x: float, to_y: float, colour: str = "#ddd", width: float = 1) -> None:
        place = f'x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"'
        self._parts.append(f'<line {place} stroke="{colour}" stroke-width="{width}"/>')

    def bar(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
        self._parts.append(f'<rect {place} fill="{colour}"/>')

    def path(self, points: Iterable[tuple[float, float]], colour: str) -> None:
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for place in places.split():
            x, y = place.split(",")
            self._parts.append(f'<circle cx="{x}" cy="{y}" r="2.5" fill="{colour}"/>')

    def legend(self, x: float, y: float, names: dict[str, str]) -> None:
        for name, colour in names.items():
            self.bar(x, y - 10, 12, 12, colour)
            self.text(x + 17, y, name)
            x += 34 + 6.6 * len(name)

    def svg(self) -> str:
        size = f'width="{self.width}" height="{self.height}" viewBox="0 0 {self.width} {self.height}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{STYLE}</style>'
        ground = '<rect width="100%" height="100%" fill="#fff"/>'
        return "\n".join([head, ground, *self._parts, "</svg>"]) + "\n"


def log_scale(values: Sequence[float], start: float, end: float) -> tuple[Callable[[float], float], list[float]]:
    """Return what places a value between two edges, and the powers of ten among the values."""
    low = 10.0 ** math.floor(math.log10(min(values)))
    high = 10.0 ** math.ceil(math.log10(max(values) * 1.0001))
    span = math.log10(high / low)

    def place(value: float) -> float:
        return start + (end - start) * math.log10(value / low) / span

    return place, [low * 10.0**power for power in range(round(span) + 1)]


def ratio_plot(results: Results) -> str:
    """Draw our columns as bars beside SoftHSM2, which is 1, and libcrypto as a mark."""
    names = {name: colour for name, colour in colours(results).items() if name != SOFTHSM_NAME}
    bars = [name for name in names if name != BARE]
    rows = [(cell, {n: r for n in names if (r := results.ratio(n, SOFTHSM_NAME, cell))}) for cell in RATIOS]
    rows = [(cell, found) for cell, found in rows if found]
    thick, left, top = 9, 180, 74
    step = thick * len(bars) + 9
    drawing = Drawing(860, top + step * len(rows) + 40)
    bottom = top + step * len(rows)
    place, ticks = log_scale([1.0, *(ratio for _, found in rows for ratio in found.values())], left, 790)
    drawing.text(
        20, 24, "Times as fast as SoftHSM2 (= 1x), median of one operation, one thread; more is better", kind="t"
    )
    drawing.legend(20, 50, names)
    for tick in ticks:
        drawing.line(place(tick), top - 8, place(tick), bottom)
        drawing.text(place(tick), bottom + 18, f"{tick:g}x", kind="s", anchor="middle")
    for number, (cell, found) in enumerate(rows):
        y = top + step * number
        drawing.text(left - 10, y + thick * len(bars) / 2 + 4, cell_text(cell), anchor="end")
        for index, name in enumerate(bars):
            if name in found:
                start, end = sorted((place(1.0), place(found[name])))
                drawing.bar(start, y + thick * index, max(end - start, 1), thick - 1, names[name])
                drawing.text(end + 4, y + thick * (index + 1) - 1, ratio_text(found[name]), kind="s")
        if BARE in found:
            drawing.line(place(found[BARE]), y - 2, place(found[BARE]), y + thick * len(bars) + 1, names[BARE], 2.5)
    drawing.line(place(1.0), top - 8, place(1.0), bottom, OTHERS[SOFTHSM_NAME], 2)
    return drawing.svg()


def _panels(
    results: Results,
    title: str,
    panels: Sequence[tuple[str, dict[str, list[tuple[float, float]]]]],
    xs: Sequence[float],
    x_text: Callable[[float], str],
) -> str:
    """Draw lines in panels side by side, both axes logarithmic; a panel is a title and name -> points."""
    names = colours(results)
    width, height, top = 300, 240, 96
    drawing = Drawing(40 + width * len(panels), top + height + 40)
    drawing.text(20, 24, title, kind="t")
    drawing.legend(20, 50, names)
    for number, (name, lines) in enumerate(panels):
        left = 70 + width * number
        values = [y for points in lines.values() for _, y in points]
        if not values:
            continue
        x_place = {x: left + (width - 90) * index / max(1, len(xs) - 1) for index, x in enumerate(xs)}
        y_place, ticks = log_scale(values, top + height, top)
        drawing.text(left, top - 14, name)
        for tick in ticks:
            drawing.line(left, y_place(tick), left + width - 90, y_place(tick))
            drawing.text(
                left - 6,
                y_place(tick) + 4,
                f"{tick:.0e}".replace("e+0", "e").replace("e-0", "e-"),
                kind="s",
                anchor="end",
            )
        for x in xs:
            drawing.text(x_place[x], top + height + 18, x_text(x), kind="s", anchor="middle")
        for line, points in lines.items():
            drawing.path([(x_place[x], y_place(y)) for x, y in points], names[line])
    return drawing.svg()


def thread_plot(results: Results) -> str:
    """Draw operations a second by threads."""
    panels = []
    for operation, size in PANELS:
        lines = {}
        for name in colours(results):
            found = [(n, results.measured(name, Cell(operation, size, n))) for n in THREADS]
            lines[name] = [(float(n), measured.per_second) for n, measured in found if measured]
        panels.append((cell_text(Cell(operation, size, 1)), lines))
    return _panels(results, "Operations a second, by threads", panels, list(map(float, THREADS)), lambda x: f"{x:g}")


def size_plot(results: Results) -> str:
    """Draw microseconds of an operation by size."""
    panels = []
    for operation in SIZED:
        lines = {}
        for name in colours(results):
            found = [(size, results.measured(name, Cell(operation, size, 1))) for size in SIZES]
            lines[name] = [(float(size), measured.p50_ns / 1e3) for size, measured in found if measured]
        panels.append((operation, lines))
    title = "Microseconds an operation, by size, one thread; less is better"
    return _panels(results, title, panels, list(map(float, SIZES)), lambda x: size_text(int(x)).replace(" ", ""))
