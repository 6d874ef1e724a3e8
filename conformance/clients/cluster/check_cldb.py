"""A JVM that starts as a CLDB does, with both stores: the right key without a PIN, and the milliseconds it costs."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from node import SO_PIN, Failed, Node, appliances, need

HERE = Path(__file__).resolve().parent
ROUNDS = 7
STEPS = ("provider", "keystore", "key", "decrypt", "all")
Figures = dict[str, float]


def compile_start(folder: Path) -> Path:
    subprocess.run(["javac", "-d", folder, HERE / "CldbStart.java"], check=True, timeout=120)
    return folder


def start(node: Node, classes: Path, arguments: Sequence[object]) -> Figures:
    """Start the JVM once; return milliseconds by step. Raises Failed where the key is not the recorded one."""
    output = node.run("java", "-XX:+UseSerialGC", "-cp", classes, "CldbStart", *arguments)
    if "the CLDB key is the recorded one" not in output:
        raise Failed(output)
    found = dict(re.findall(r"(\w+) (\d+)", output.splitlines()[0]))
    return {step: int(found[step]) / 1000 for step in STEPS}


def arguments_of(node: Node, store: str) -> list[object]:
    checksum = re.search(r"CLDB:.*?SHA-256 checksum: ([0-9A-F]{64})", node.mrhsm("info", f"-{store}"), re.DOTALL)
    if checksum is None:
        raise Failed("mrhsm info shows no checksum of the CLDB key")
    return ["token", node.provider(), node.tokens / node.serial / "cldb.key.enc", checksum[1]]


def without_library(node: Node, classes: Path) -> list[object]:
    """Make a KEK in a plain file and a blob under it: the same work without us."""
    store, blob = node.home / "kek", node.home / "blob"
    checksum = node.run("java", "-cp", classes, "CldbStart", "seal", store, blob).strip()
    return ["plain", store, blob, checksum]


def no_pin_is_configured(node: Node) -> None:
    pin = (node.tokens / node.serial / "user.pin").read_text().split()[-1]
    for secret in (pin, SO_PIN):
        if secret in node.provider().read_text():
            raise Failed("a PIN stands in the JVM's settings")


def median(rounds: Sequence[Figures]) -> Figures:
    return {step: statistics.median(figures[step] for figures in rounds) for step in STEPS}


def measured(folder: Path, rounds: int = ROUNDS) -> dict[str, Figures]:
    """Return the median milliseconds of each step, for each store and without the library."""
    classes = compile_start(folder / "classes")
    figures: dict[str, Figures] = {}
    for store in ("file", "kmip"):
        with appliances(folder / "group", 1) if store == "kmip" else nullcontext([]) as group:
            node = Node(folder / store)
            node.init(group)
            no_pin_is_configured(node)
            words = arguments_of(node, store)
            figures[store] = median([start(node, classes, words) for _ in range(rounds)])
            if "none" not in figures:
                words = without_library(node, classes)
                figures["none"] = median([start(node, classes, words) for _ in range(rounds)])
    return figures


def main() -> int:
    need("java", "javac")
    with tempfile.TemporaryDirectory(prefix="mrhsm-cldb-") as name:
        figures = measured(Path(name))
    print(f"{'milliseconds, median of ' + str(ROUNDS):<34}" + "".join(f"{step:>10}" for step in STEPS))
    for store, title in (("none", "plain file, no library"), ("file", "file store"), ("kmip", "KMIP store")):
        print(f"{title:<34}" + "".join(f"{figures[store][step]:10.1f}" for step in STEPS))
    added = {store: figures[store]["all"] - figures["none"]["all"] for store in ("file", "kmip")}
    print(f"the library adds {added['file']:.0f} ms (file store), {added['kmip']:.0f} ms (KMIP store) to the start")
    return 0


if __name__ == "__main__":
    sys.exit(main())
