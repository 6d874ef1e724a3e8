"""Beyond one process: memory of each further one, and many that start at once against one appliance.

    python bench/processes.py [--processes N] [--seconds S] [--to FOLDER]

Writes bench/results/processes.json, and from it the tables of docs/scale.md. With --to, the JSON goes there and the
page stays as it is. The appliance is the trial appliance (PyKMIP in one Python process): what counts is how many
messages and connections it sees, not how long it takes over them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import results
import scale
from driving import Driver, compiled
from plan import Cell
from subjects import LABEL, LIBRARY, NO_PIN, SOFTHSM_NAME, Appliances, Subject, appliances, makings, ours, softhsm

from fix_faults import FaultProxy  # isort: skip - on the path since `subjects`

COUNTS = (1, 4, 16)
PROCESSES, SECONDS = 64, 45.0
CACHE_S = 10  # short, so that several refreshes are seen
ONE = Cell("AES-CBC-PAD", 16, 1)
END_S = 120.0


def memory_of(pid: int) -> dict[str, float]:
    """Return resident, proportional and unshared memory of a process, in MB."""
    kb: Counter[str] = Counter()
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, number, *_ = line.split()
        kb[name.rstrip(":")] = int(number)
    found = {"RSS": kb["Rss"], "PSS": kb["Pss"], "USS": kb["Private_Clean"] + kb["Private_Dirty"]}
    return {name: number / 1024 for name, number in found.items()}


def measure_memory(program: Path, subject: Subject) -> dict[str, dict[str, float]]:
    """Return the memory of a process, mean of so many that run together and have each used a key."""
    found = {}
    with ExitStack() as stack:
        drivers: list[Driver] = []
        for count in COUNTS:
            while len(drivers) < count:
                driver = Driver(program, subject)
                stack.callback(driver.close)
                answer = driver.measure(ONE, 1.0)
                if isinstance(answer, str):
                    raise RuntimeError(f"{subject.name}: {answer}")
                drivers.append(driver)
            each = [memory_of(driver.pid) for driver in drivers]
            found[str(count)] = {kind: statistics.mean(one[kind] for one in each) for kind in each[0]}
    return found


def busiest_second(log: str, skip: int) -> int:
    """Return the most messages that came within one second of the clock, the first `skip` left out."""
    seconds = [line.partition(",")[0] for line in log.splitlines() if re.search(r" mrhsm-appliance \d\.\d \S+$", line)]
    return max(Counter(seconds[skip:]).values(), default=0)


class Crowd:
    """Many processes that wait for the same moment."""

    def __init__(self, program: Path, environ: dict[str, str], processes: int, seconds: float) -> None:
        command = [program, "follow", LIBRARY, LABEL, NO_PIN, str(seconds)]
        self._members = [
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environ}
            )
            for _ in range(processes)
        ]
        for member in self._members:
            assert member.stdout
            member.stdout.readline()

    def go(self) -> None:
        for member in self._members:
            assert member.stdin
            member.stdin.write("go\n")
            member.stdin.flush()

    def served(self) -> list[str]:
        """Wait until each has its first result, and return their words. Raises RuntimeError for one that gave up."""
        words = [member.stdout.readline().strip() for member in self._members if member.stdout]
        if not all(each.startswith("served ") for each in words):
            raise RuntimeError(f"{words.count('')} processes were never served")
        return words

    def ended(self) -> list[str]:
        return [member.communicate(timeout=END_S)[0].strip() for member in self._members]

    def close(self) -> None:
        for member in self._members:
            member.kill()  # those that have ended do not mind
            member.wait()


def measure_crowd(program: Path, folder: Path, servers: Appliances, processes: int, seconds: float) -> dict[str, Any]:
    """Start many processes at once, let them use a key of the appliance on and on, and count what it sees."""
    server = servers.start("crowd")
    proxy = FaultProxy(server.host, server.port)
    connection = replace(server.connection(), port=proxy.port)
    subject = ours(folder, "crowd", f"[keys]\ncache_seconds = {CACHE_S}\n", connection=connection)
    Driver(program, subject).close()  # which makes the keys
    before, connections = len(server.requests()), proxy.accepted
    with closing(Crowd(program, subject.environ, processes, seconds)) as crowd:
        began = time.monotonic()
        crowd.go()
        served = crowd.served()
        all_served_s = time.monotonic() - began
        at_start, connected = server.requests(before), proxy.accepted - connections
        ended = [words.split() for words in crowd.ended()]
    whole_s = time.monotonic() - began
    later = server.requests(before + len(at_start))
    proxy.close()
    times = [float(words.split()[1]) for words in served]
    return {
        "processes": processes,
        "seconds": seconds,
        "cache_s": CACHE_S,
        "all_served_s": all_served_s,
        "served_ms": [min(times), statistics.median(times), max(times)],
        "refused": sum(int(words.split()[2]) for words in served),
        "operations": sum(int(words[1]) for words in ended),
        "failures": sum(int(words[2]) for words in ended),
        "slowest_ms": max(float(words[3]) for words in ended),
        "messages_at_start": len(at_start),
        "connections_at_start": connected,
        "kinds_at_start": Counter(at_start).most_common(),
        "messages_later": len(later),
        "connections_later": proxy.accepted - connections - connected,
        "kinds_later": Counter(later).most_common(),
        "later_s": whole_s - all_served_s,
        "most_in_a_second": busiest_second(server.log.read_text(), skip=before + len(at_start)),
    }


def measure(folder: Path, servers: Appliances, processes: int, seconds: float) -> dict[str, Any]:
    program = compiled(folder)
    memory = {}
    for name in ("file store", "KMIP, cached", SOFTHSM_NAME):
        subject = makings()[name](folder, servers, name) if name != SOFTHSM_NAME else softhsm(folder)
        if subject:
            memory[name] = measure_memory(program, subject)
    return {"memory_mb": memory, "crowd": measure_crowd(program, folder, servers, processes, seconds)}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--processes", type=int, default=PROCESSES)
    options.add_argument("--seconds", type=float, default=SECONDS)
    options.add_argument("--to", type=Path)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name, appliances(Path(name)) as servers:
        found = measure(Path(name), servers, given.processes, given.seconds)
    folder = given.to or results.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / scale.FIGURES).write_text(json.dumps(found, indent=1) + "\n")
    if given.to is None:
        scale.renew()


if __name__ == "__main__":
    main()
