"""Programs with a Python inside use the token from there: gdb, vim, and uwsgi with four workers, reloaded under load.

Their Python may be of our version, of another build or of another version: what it encrypts must be what openssl does.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from outcome import Outcome
from part import main
from places import LABEL, Absent, Place, need
from services import free_port
from steps import Steps
from token_user import VECTOR
from workers import WORKERS, started
from workshop import Workshop, newer_python

SCRIPT = Path(__file__).with_name("token_user.py")
KEY, VALUE, TEXT = "sealing", bytes(range(32)), b"what is sealed"
RELOADS = int(os.environ.get("MRHSM_RELOADS", "5"))
REQUESTS = 100  # before and after each
ASKING = 6  # threads
UWSGI = "uwsgi==2.0.31"
# What the process that forks does with the application: loads it, has it use the token, leaves it to the workers.
USED = "used before the fork"
WHEN = {"early": (), USED: (), "lazy": ("--lazy-apps",)}


def suite(place: Place, workshop: Workshop) -> Outcome:
    steps = Steps()
    sealed = _key_made(place)
    for program, command in (("gdb", _gdb), ("vim", _vim)):
        steps.step(program, lambda command=command: _used_once(place, sealed, command(place)))
    for name, least in (("of our version", None), ("newer", (3, 12))):
        for when, options in WHEN.items():
            for threads in (1, 4):
                server = Uwsgi(place, least, (*options, *(("--threads", str(threads)) if threads > 1 else ())))
                step = f"uwsgi, Python {name}, {when}, {threads} threads"
                steps.step(step, lambda server=server, when=when: server.story(workshop, sealed, when == USED))
    return steps.outcome()


def _key_made(place: Place) -> str:
    """Put a key into the token; return what it makes of the text, as OpenSSL says."""
    for name, content in (("key", VALUE), ("text", TEXT)):
        (place.folder / name).write_bytes(content)
    tool = (need("pkcs11-tool"), "--module", place.module, "--token-label", LABEL, "--login", "--pin", place.pins.user)
    kind = ("--type", "secrkey", "--key-type", "AES:32", "--usage-decrypt", "--label", KEY)
    place.good(*tool, "--write-object", place.folder / "key", *kind)
    cipher = ("enc", "-aes-256-cbc", "-K", VALUE.hex(), "-iv", VECTOR.hex(), "-in", "text", "-out", "sealed")
    place.good(need("openssl"), *cipher)
    return (place.folder / "sealed").read_bytes().hex()


def _settings(place: Place, **more: str) -> dict[str, str]:
    return {"MODULE": str(place.module), "PIN": place.pins.user, "KEY": KEY, **more}


def _used_once(place: Place, sealed: str, command: tuple[object, ...]) -> None:
    made = place.folder / "made"
    made.unlink(missing_ok=True)
    said = place.good(*command, **_settings(place, ONCE=str(made)))
    assert made.exists(), said[-400:]
    assert made.read_text().split() == [sealed, sealed], f"{made.read_text()} {said[-400:]}"


def _gdb(_: Place) -> tuple[object, ...]:
    return need("gdb"), "-batch", "-nx", "-ex", f"source {SCRIPT}"


def _vim(place: Place) -> tuple[object, ...]:
    for program in ("vim.nox", "vim"):
        with contextlib.suppress(Absent):
            vim = need(program)
            if "+python3" in place.run(vim, "--version").stdout:
                return vim, "-u", "NONE", "-i", "NONE", "-N", "-e", "-s", "-V1", "-c", f"py3file {SCRIPT}", "-c", "qa!"
    raise Absent("no vim with Python is installed (Debian: vim-nox)")


class Asking:
    """Threads that ask a server all the time while the block runs.

    `done` counts answers by process, `failed` what is none; `cut` are connections that a worker took and, as it was
    told to go, closed unread: any client of a server that is reloaded asks again.
    """

    def __init__(self, port: int, sealed: str) -> None:
        self.done: Counter[int] = Counter()
        self.failed: Counter[str] = Counter()
        self.cut = 0
        self._port, self._sealed = port, sealed
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask_all_the_time) for _ in range(ASKING)]

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def count(self) -> int:
        return self.done.total() + self.failed.total()

    def _ask_all_the_time(self) -> None:
        while not self._over.is_set():
            try:
                pid, made = self._ask()
            except ConnectionResetError:
                self.cut += 1
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.failed[f"{type(error).__name__} {error}"] += 1
            else:
                self.done[pid] += 1
                if made != self._sealed:
                    self.failed[f"sealed {made}"] += 1

    def _ask(self) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", "/")
            answer = connection.getresponse()
            pid, made = answer.read().decode().split()
        return int(pid), made


@dataclass(frozen=True)
class Uwsgi:
    """uwsgi in one place, built for our Python or for one of at least a version."""

    place: Place
    least: tuple[int, int] | None
    options: tuple[str, ...]

    def story(self, workshop: Workshop, sealed: str, load_first: bool) -> None:
        """Ask, reload, ask again, stop; every answer must be right. Raises AssertionError, Absent."""
        python = newer_python(self.least) if self.least else sys.executable
        named = "uwsgi" + (".".join(map(str, self.least)) if self.least else "")
        uwsgi = workshop.environment(named, UWSGI, python=python).with_name("uwsgi")
        settings = _settings(self.place, **({"LOAD_FIRST": "1"} if load_first else {}))
        port = free_port()
        command = [str(uwsgi), "--http-socket", f"127.0.0.1:{port}", "--master", "--die-on-term", "--need-app"]
        command += ["--workers", str(WORKERS), "--wsgi-file", str(SCRIPT), "--callable", "application", *self.options]
        command += ["--disable-logging", "--listen", "64"]
        with (
            started(self.place, port, "uwsgi", signal.SIGHUP, command, **settings) as server,
            Asking(port, sealed) as load,
        ):
            for _ in range(RELOADS):
                server.until(_more(load), "there are not so many answers")
                server.reload()
            server.until(_more(load), "there are not so many answers")
            served = len(server.helpers())
        print(
            f"{self.place.name}: {named} {self.options} {'used first' * load_first}: {RELOADS} reloads, "
            f"{load.done.total()} answers of {len(load.done)} processes, {load.cut} cut, {load.failed.total()} failed",
            flush=True,
        )
        assert load.cut <= RELOADS * WORKERS * ASKING, f"{load.cut} connections were cut"
        assert not load.failed, f"{dict(load.failed)}; {server.said()[-600:]}"
        assert len(load.done) > WORKERS * RELOADS / 2, f"only {len(load.done)} workers have answered"
        foreign = self.least is not None and self.place.mrhsm
        assert bool(served) == foreign, f"{served} processes of the library for {WORKERS} workers"


def _more(load: Asking) -> Callable[[], bool]:
    wanted = load.count() + REQUESTS
    return lambda: load.count() >= wanted


if __name__ == "__main__":
    sys.exit(main("Python inside", suite))
