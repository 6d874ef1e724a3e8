"""Every decision has a number of its own and stands in the list."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "adr"


def test_numbers_and_list() -> None:
    pages = sorted(page.name for page in FOLDER.glob("0*.md"))
    assert [int(name[:4]) for name in pages] == list(range(1, len(pages) + 1))
    listed = re.findall(r"^\| \[(\d{4})\]\((.*?)\) \| (.*) \|$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert [file for _, file, _ in listed] == pages
    for number, file, title in listed:
        assert file.startswith(number)
        assert (FOLDER / file).read_text().startswith(f"# {number}: {title}\n")
