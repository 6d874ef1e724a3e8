"""Write the table of products in docs/vendors/README.md from kmip/profiles.py.

python tools/vendor_table.py
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from mrhsm_p11.kmip.profiles import DEFAULT, MINIMUM, ROWS, Profile
from mrhsm_p11.kmip.vocabulary import Operation, Version

PAGE = Path(__file__).resolve().parent.parent / "docs" / "vendors" / "README.md"
BEGIN, END = "<!-- profiles: tools/vendor_table.py writes this -->", "<!-- end of profiles -->"
_WORDS = {True: "yes", False: "no", None: "?"}


def _tells(name: str) -> Callable[[Profile], str]:
    return lambda row: _WORDS[getattr(row, name)]


def _has(operation: Operation) -> Callable[[Profile], str]:
    return lambda row: _WORDS[row.offers(operation)]


def _versions(row: Profile) -> str:
    return _span(row.versions) if row.versions else "?"


def _span(versions: tuple[Version, ...]) -> str:
    texts = [f"{major}.{minor}" for major, minor in versions]
    ones = [text for text in texts if text.startswith("1.")]
    if len(ones) > 2:
        texts = [f"{ones[0]} to {ones[-1]}", *texts[len(ones) :]]
    return ", ".join(texts)


def _members(name: str) -> Callable[[Profile], str]:
    return lambda row: ", ".join(member.name for member in getattr(row, name)) or "?"


def _more(row: Profile) -> str:
    return f"{len(row.operations)}{'' if row.complete else ' or more'}"


LINES: tuple[tuple[str, Callable[[Profile], str]], ...] = (
    ("called in Query", lambda row: f"`{row.answers}`" if row.answers else "?"),
    ("KMIP", _versions),
    ("operations", _more),
    ("Query", _has(Operation.QUERY)),
    ("Get Attributes", _has(Operation.GET_ATTRIBUTES)),
    ("Add Attribute", _has(Operation.ADD_ATTRIBUTE)),
    ("Re-key", _has(Operation.REKEY)),
    ("Encrypt", _has(Operation.ENCRYPT)),
    ("batches", _tells("batches")),
    ("Activation Date in Create", _tells("activation_date")),
    ("Revoke before Destroy", _tells("revoke_first")),
    ("Get of active keys only", _tells("reads_active_only")),
    ("destroyed keys stay listed", _tells("keeps_destroyed")),
    ("Application Specific Information", _tells("information")),
    ("custom attributes `x-`", _tells("custom")),
    ("Names unique", _tells("unique_names")),
    ("only these objects", _members("objects")),
    ("only these formats", _members("formats")),
    ("wraps in Get by", _members("wrap_methods")),
    ("may demand a user name", _tells("username")),
    ("which must be the certificate's", _tells("username_of_certificate")),
)


def table() -> str:
    """Return the table: a product a column, a fact a line, and the sources below."""
    rows = {name: row for name, row in ROWS.items() if name != DEFAULT}
    lines = [
        f"Operations: {', '.join(sorted(one.name.replace('_', ' ').title() for one in MINIMUM))}, and more.",
        "",
        "| | " + " | ".join(f"`{name}`" for name in rows) + " |",
        "|---" * (len(rows) + 1) + "|",
    ]
    lines += [f"| {title} | " + " | ".join(map(tell, rows.values())) + " |" for title, tell in LINES]
    lines += ["", *(f"- `{name}`, {row.title}: " + "; ".join(map(_linked, row.sources)) for name, row in rows.items())]
    return "\n".join(lines)


def _linked(source: str) -> str:
    return re.sub(r"https://\S+", lambda found: f"<{found[0]}>", source)


def page() -> str:
    """Return the text of the page with a new table."""
    before, rest = PAGE.read_text().split(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(page())
