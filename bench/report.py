"""Draw what a run has found: tables, plots, README's part.

python bench/report.py     draws bench/results/ again from its figures.json
"""

from __future__ import annotations

import re
from pathlib import Path

import plots
import results
import tables
from results import BARE, FOLDER, HERE, Results
from subjects import SOFTHSM_NAME

PLOTS = {"ratio.svg": plots.ratio_plot, "threads.svg": plots.thread_plot, "sizes.svg": plots.size_plot}
README = HERE.parent / "README.md"
BEGIN, END = "<!-- bench: make bench writes this -->", "<!-- end of bench -->"


def page(found: Results) -> str:
    """Return bench/results/README.md."""
    machine = "\n".join(f"- {name}: {value}" for name, value in found.machine.items())
    how = (
        f"Each library in a process of its own, keys on the token, {found.rounds} rounds in which every cell is given "
        f"to each library in turn, {found.milliseconds:g} ms each; medians over the rounds. {BARE} alone does the same "
        "work in the process of our first column, with contexts prepared: no PKCS #11 library can be faster. "
        "`make bench` writes this page, the plots, [all figures](all.csv) and README's plot."
    )
    parts = {
        f"Beside {SOFTHSM_NAME}": "![](ratio.svg)\n\n" + _softhsm(found),
        f"Beside {BARE} alone": tables.ratios(found, BARE),
        "Threads": "![](threads.svg)\n\n" + tables.scaling(found),
        "Sizes": "![](sizes.svg)",
        "Spread and processor time": tables.percentiles(found),
        "Start": tables.starts(found) if found.starts else "Not measured.",
        "Searches": tables.searches(found) if found.searches else "Not measured.",
        "Memory of the measurement's processes": tables.memory(found),
        "The machine": machine,
    }
    sections = "\n\n".join(f"## {title}\n\n{text}" for title, text in parts.items())
    return f"# Figures\n\n{how}\n\n{sections}\n"


def _softhsm(found: Results) -> str:
    return tables.ratios(found, SOFTHSM_NAME) if SOFTHSM_NAME in found.cells else f"{SOFTHSM_NAME} was not there."


def draw(found: Results, folder: Path) -> None:
    """Write the page, the plots and the CSV."""
    (folder / "README.md").write_text(page(found))
    (folder / "all.csv").write_text(tables.everything(found))
    for name, plot in PLOTS.items():
        if SOFTHSM_NAME in found.cells:
            (folder / name).write_text(plot(found))


def renew_readme(found: Results) -> None:
    """Put the plot of ratios, and what machine it is of, between README's marks."""
    text = README.read_text()
    shown = (
        f"![Times as fast as {SOFTHSM_NAME}, by operation and size](bench/results/ratio.svg)\n\n"
        f"Measured in one run on {found.machine['processor']} ([all figures](bench/results/README.md))."
    )
    between = re.compile(re.escape(BEGIN) + r".*?" + re.escape(END), re.S)
    if not between.search(text):
        raise ValueError(f"{README.name} lacks {BEGIN}")
    README.write_text(between.sub(lambda _: f"{BEGIN}\n\n{shown}\n\n{END}", text))


def main() -> None:
    found = results.load(FOLDER)
    draw(found, FOLDER)
    renew_readme(found)


if __name__ == "__main__":
    main()
