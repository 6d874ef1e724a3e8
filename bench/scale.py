"""The tables of docs/scale.md: what many processes cost a group of appliances, from what few were seen to cost.

python bench/scale.py     writes them again
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from results import FOLDER, HERE
from tables import markdown

FIGURES = "processes.json"
PAGE = HERE.parent / "docs" / "scale.md"
BEGIN, END = "<!-- scale: bench/scale.py writes this -->", "<!-- end of scale -->"
CLIENTS = (10, 1000, 100_000)

# What the estimate assumes; the page says so.
KEYS, OPERATIONS_PER_S = 3, 10
CACHE_S, IDLE_S = 300.0, 45.0
SHORTENED = 0.9  # the mean of what chance leaves of cache_seconds
SERVERS, BOOT_S = 4, 60.0


class Costs(NamedTuple):
    """What one process was seen to cost."""

    messages_at_start: float
    connections_at_start: float
    messages_a_refresh: float  # of one key


class Load(NamedTuple):
    """What a number of clients costs all servers together."""

    messages_per_s: float
    uncached_per_s: float
    connections_per_s: float
    connections: float
    start_messages: float
    start_connections: float


def costs(crowd: dict[str, Any]) -> Costs:
    """Return what one process of a crowd cost; each used one key."""
    processes = crowd["processes"]
    refreshes = crowd["later_s"] / (crowd["cache_s"] * SHORTENED)
    return Costs(
        crowd["messages_at_start"] / processes,
        crowd["connections_at_start"] / processes,
        crowd["messages_later"] / processes / refreshes,
    )


def load(clients: int, one: Costs) -> Load:
    """Estimate a cluster of clients; the formulas stand in docs/scale.md."""
    period_s = CACHE_S * SHORTENED
    return Load(
        messages_per_s=clients * KEYS * one.messages_a_refresh / period_s,
        uncached_per_s=clients * OPERATIONS_PER_S,
        connections_per_s=clients / period_s,
        connections=clients * IDLE_S / period_s,
        start_messages=clients * (one.messages_at_start + KEYS - 1),
        start_connections=clients * one.connections_at_start,
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def estimate(one: Costs) -> str:
    """Return the table of clusters."""
    loads = {clients: load(clients, one) for clients in CLIENTS}
    rows = {
        "messages a second, keys cached": [each.messages_per_s for each in loads.values()],
        "of them at each server": [each.messages_per_s / SERVERS for each in loads.values()],
        "messages a second without cache, or keys kept at the appliance": [
            each.uncached_per_s for each in loads.values()
        ],
        "what the cache saves": [each.uncached_per_s / each.messages_per_s for each in loads.values()],
        "new connections a second": [each.connections_per_s for each in loads.values()],
        "connections that stand": [each.connections for each in loads.values()],
        "all start at once: messages": [each.start_messages for each in loads.values()],
        "all start at once: connections": [each.start_connections for each in loads.values()],
        f"at each server, starts spread over {BOOT_S:g} s: connections a second": [
            each.start_connections / SERVERS / BOOT_S for each in loads.values()
        ],
    }
    body = [[name, *(_number(value) + ("x" if "saves" in name else "") for value in row)] for name, row in rows.items()]
    return markdown(["clients", *(f"{clients:,}" for clients in CLIENTS)], body)


def crowd_text(crowd: dict[str, Any]) -> str:
    """Say what many processes did and met."""
    least, middle, most = crowd["served_ms"]
    return markdown(
        [f"{crowd['processes']} processes at once, one appliance", "seen"],
        [
            ["calls refused before all were served", str(crowd["refused"])],
            ["first result after: fastest, median, slowest", f"{least:.0f}, {middle:.0f}, {most:.0f} ms"],
            ["all served after", f"{crowd['all_served_s']:.1f} s"],
            ["messages until then", str(crowd["messages_at_start"])],
            ["connections until then", str(crowd["connections_at_start"])],
            [f"operations in the {crowd['seconds']:g} s, failed", f"{crowd['operations']:,}, {crowd['failures']}"],
            [f"messages after all were served, cache_seconds = {crowd['cache_s']}", str(crowd["messages_later"])],
            ["of them in the busiest second", str(crowd["most_in_a_second"])],
            ["new connections after all were served", str(crowd["connections_later"])],
        ],
    )


def memory_text(memory: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return what a process takes, by how many run."""
    rows = [
        [f"{name}, {count} processes", *(f"{figures[kind]:.1f} MB" for kind in ("RSS", "PSS", "USS"))]
        for name, by_count in memory.items()
        for count, figures in by_count.items()
    ]
    return markdown(["a process, mean", "RSS", "PSS", "USS"], rows)


def renew() -> None:
    """Write the page's tables from processes.json."""
    found = json.loads((FOLDER / FIGURES).read_text())
    one = costs(found["crowd"])
    seen = (
        f"One process: {one.messages_at_start:.3g} messages and {one.connections_at_start:.3g} connections until its "
        f"first result, {one.messages_a_refresh:.2g} messages for each renewal of a key."
    )
    parts = [memory_text(found["memory_mb"]), crowd_text(found["crowd"]), seen, estimate(one)]
    text = PAGE.read_text()
    between = re.compile(re.escape(BEGIN) + r".*?" + re.escape(END), re.S)
    if not between.search(text):
        raise ValueError(f"{PAGE.name} lacks {BEGIN}")
    body = "\n\n".join(parts)
    PAGE.write_text(between.sub(lambda _: f"{BEGIN}\n\n{body}\n\n{END}", text))


if __name__ == "__main__":
    renew()
