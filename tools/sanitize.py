"""Run the C hosts of tests/host with builds of the library that show mistakes: one line a host.

    python tools/sanitize.py [address|valgrind|thread] [HOST ...]

address: the library and the host by gcc's AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer, Python with
malloc(); valgrind: both by memcheck, which also looks for what the library lost; thread: ThreadSanitizer, for hosts
that have no Python in them. What each host does is in sanitize_hosts.py; it must also end well and say what it should.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fix_appliance import Appliance, Certificates
from sanitize_hosts import HOSTS, LEAVE_THREADS, Host

import build_ffi
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import tokens
from mrhsm_p11.tokendir.files import TokenDirectory
from mrhsm_p11.tokendir.tokens import UserPin

SOURCES = ROOT / "tests" / "host"
RULES = ROOT / "tools" / "sanitize"
FOUND = 99  # the exit code of a run in which something was found
LIMIT_S = 600
OURS = frozenset({"libmrhsm_p11.c", *(path.name for path in (*build_ffi.CDEF.iterdir(), *SOURCES.iterdir()))})


class Tool(NamedTuple):
    """What finds mistakes and writes them to files in `reports`; its name is a build of the library, or "thread"."""

    name: str
    options: tuple[str, ...]
    command: tuple[str, ...] = ()  # before the host's
    environment: Mapping[str, str] = {}  # {reports} is the folder for reports


def tool(name: str) -> Tool:
    """Return one of the tools."""
    told = f"log_path={{reports}}/it:exitcode={FOUND}"
    if name == "valgrind":
        options = ("--num-callers=40", f"--error-exitcode={FOUND}", "--log-file={reports}/%p", "--fair-sched=yes")
        leaks = ("--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=none")
        suppressions = f"--suppressions={RULES / 'valgrind.supp'}"
        return Tool(name, ("-g", "-O1"), ("valgrind", "-q", *options, *leaks, suppressions))
    if name == "thread":
        options = ("-g", "-O1", "-fsanitize=thread", "-fno-sanitize-recover=all")
        unseen = f"suppressions={RULES / 'thread.supp'}"
        return Tool(name, options, environment={"TSAN_OPTIONS": f"{told}:{unseen}:halt_on_error=1"})
    runtime = subprocess.run(["cc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True).stdout
    return Tool(
        name,
        build_ffi.BUILDS["address"].options,
        environment={
            # the library's own process is no program of ours: there the runtime must be loaded first
            "LD_PRELOAD": str(Path(runtime.strip()).resolve()),
            "ASAN_OPTIONS": f"{told}:detect_leaks=1:fast_unwind_on_malloc=0:malloc_context_size=8",
            "UBSAN_OPTIONS": f"{told}:print_stacktrace=1",
            "LSAN_OPTIONS": f"suppressions={RULES / 'leaks.supp'}:print_suppressions=0",
        },
    )


TOOLS = ("address", "valgrind", "thread")


def compile_host(name: str, options: Sequence[str], folder: Path) -> Path:
    """Compile a program or a library of tests/host; return it."""
    lists = "\n".join(build_ffi.function_list_struct(struct) for struct in build_ffi.FUNCTION_LISTS)
    (folder / "function_list.h").write_text(lists)
    program = folder / name
    places = [f"-I{build_ffi.CDEF}", f"-I{folder}"]
    kind = ("-shared", "-fPIC") if HOSTS[name].loaded_by else ()
    command = ["cc", *options, *kind, *places, "-pthread", str(SOURCES / f"{name}.c"), "-o", str(program)]
    subprocess.run([*command, "-ldl", "-lm"], check=True, timeout=LIMIT_S)
    return program


# ---- what a host finds ----


class Way(NamedTuple):
    """One run of a host."""

    arguments: str
    store: str
    isolated: bool

    def __str__(self) -> str:
        return " ".join(filter(None, (self.arguments, self.store, "isolated" if self.isolated else "")))


def ways(host: Host) -> list[Way]:
    """Return the runs of a host."""
    modes = (False, True) if host.isolated else (False,)
    return [Way(*each) for each in itertools.product(host.runs, host.stores, modes)]


class Place(NamedTuple):
    """A MAPR_HOME with one token that opens without PIN, and the server that never answers, if its keys are there."""

    home: Path
    silent: socket.socket | None


@contextlib.contextmanager
def place_for(way: Way, appliance: Appliance) -> Iterator[Place]:
    """Make a place. The store silent is a key manager that takes connections and says nothing."""
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (home / "conf" / "tokens").mkdir(mode=0o700, parents=True)
        isolation, deadline_s = "process" if way.isolated else "foreign", 3 if way.store == "silent" else LIMIT_S
        settings = f'[library]\nisolation = "{isolation}"\n[network]\ndeadline_seconds = {deadline_s}\n'
        (home / "conf" / "maprhsm.conf").write_text(settings)
        connection, silent = appliance.connection(), None
        if way.store == "silent":
            silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            connection = dataclasses.replace(connection, port=silent.getsockname()[1])
        tokens.create_token(
            TokenDirectory(home / "conf" / "tokens"),
            "sanitize",
            Secret(b"so pin 1234"),
            user_pin=UserPin.random(),
            store="file" if way.store == "file" else "kmip",
            connection=None if way.store == "file" else connection,
        )
        yield Place(home, silent)


def asked_for(block: Sequence[str]) -> str:
    """Return the line of whoever asked for memory that was lost, "" where that is not the library or the host.

    The C library and OpenSSL, which allocate for others, do not count.
    """
    for line in block[1:]:
        if place := re.search(r"\((\S+):\d+\)$", line):
            if place[1] in OURS:
                return line
        elif not re.search(r"\(in .*/(libc|libcrypto|libssl|ld-linux)[^/]*\)$", line):
            return ""
    return ""


def finding(report: Path, *, leaks: bool) -> str:
    """Return what a report says, "" where that is nothing."""
    lines = [re.sub(r"^==\d+==\s?", "", line).strip() for line in report.read_text(errors="replace").splitlines()]
    for _, group in itertools.groupby(lines, bool):
        block = list(group)
        if " definitely lost in loss record " in block[0]:
            if leaks and (who := asked_for(block)):
                return f"{block[0]}: {who}"
        elif block[0]:
            told = [
                line for line in block if line.startswith(("ERROR", "WARNING", "SUMMARY")) or "runtime error" in line
            ]
            return next(iter(told), block[0])
    return ""


def talk(running: subprocess.Popen[str], silent: socket.socket | None, lines: int) -> None:
    """Give a host its lines: at once, or when it waits for the silent server."""
    assert running.stdin
    connections = []
    if silent:
        silent.settimeout(LIMIT_S)
        connections.append(silent.accept()[0])
    with contextlib.suppress(OSError):  # it has ended
        running.stdin.write("\n" * lines)
        running.stdin.close()
    running.wait()
    for connection in connections:
        connection.close()


def environment_of(it: Tool, host: Host, reports: Path, program: Path, library: Path) -> dict[str, str]:
    """Return the environment of a run, but for the place."""
    told = {name: value.format(reports=reports) for name, value in it.environment.items()}
    environment = {**os.environ, "HOST_LIMIT_S": str(LIMIT_S / 2), "ASAN_OPTIONS": "", **told}
    environment.pop("MRHSM_CONF", None)
    if program.name in LEAVE_THREADS:
        environment["ASAN_OPTIONS"] += ":detect_leaks=0:fast_unwind_on_malloc=1"
    if host.loaded_by:
        settings = reports.with_suffix(".cnf")
        settings.write_text(OPENSSL.format(engine=program))
        environment |= {"OPENSSL_CONF": str(settings), "ENGINE_USES": str(library)}
    return environment


OPENSSL = """openssl_conf = all
[all]
engines = engines
[engines]
one = one
[one]
engine_id = reentrant
dynamic_path = {engine}
"""


class Bench(NamedTuple):
    """What all runs share."""

    it: Tool
    library: Path
    appliance: Appliance
    folder: Path  # of programs and reports


def run(bench: Bench, host: Host, program: Path, way: Way) -> str:
    """Run a host once; return "" where all was well, or what was found."""
    it, reports = bench.it, Path(tempfile.mkdtemp(dir=bench.folder))
    environment = environment_of(it, host, reports, program, bench.library)
    started = program.with_name(host.loaded_by) if host.loaded_by else program
    first = () if host.alone else (str(bench.library),)
    command = [*(word.format(reports=reports) for word in it.command), str(started), *first, *way.arguments.split()]
    with place_for(way, bench.appliance) as place, (reports.with_suffix(".said")).open("w+") as said:
        environment["MAPR_HOME"] = str(place.home)
        running = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=said, stderr=said, text=True, env=environment, start_new_session=True
        )
        threading.Thread(target=talk, args=(running, place.silent, host.lines), daemon=True).start()
        try:
            running.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            return f"did not end in {LIMIT_S} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)  # with the children that it left
            running.wait()
        said.seek(0)
        output = said.read()
    for report in sorted(reports.iterdir()):
        # a child of fork() has lost what the stacks of other threads held
        if found := finding(report, leaks=report.name == str(running.pid)):
            return found
    missing = [line for line in host.says if not re.search(rf"^{line}\b", output, re.M)]
    if running.returncode or missing:
        return f"exit code {running.returncode}, did not say {missing}: {output[-300:]!r}"
    return ""


def try_host(bench: Bench, name: str) -> bool:
    """Run a host in each of its ways; print one line, with the first fault."""
    host, it = HOSTS[name], bench.it
    if why := host.not_run.get(it.name):
        print(f"{it.name:9} {name:14} not run: {why}", flush=True)
        return True
    program = compile_host(name, it.options, bench.folder)
    if host.loaded_by:
        compile_host(host.loaded_by, it.options, bench.folder)
    begun, left_out = time.monotonic(), host.left_out.get(it.name)
    all_ways = [way for way in ways(host) if left_out not in way.arguments.split()]
    with ThreadPoolExecutor(os.cpu_count()) as runners:
        found = list(runners.map(lambda way: run(bench, host, program, way), all_ways))
    faults = [f"{way}: {fault}" for way, fault in zip(all_ways, found, strict=True) if fault]
    verdict = f"{len(faults)} not clean, the first {faults[0]}" if faults else "clean"
    print(f"{it.name:9} {name:14} {len(all_ways):3} runs {time.monotonic() - begun:5.0f} s  {verdict}", flush=True)
    return not faults


def main(words: Sequence[str]) -> int:
    """Return 0 where all is clean."""
    wrong = [word for word in words if word not in (*TOOLS, *HOSTS)]
    if wrong:
        print(f"no tool and no host: {wrong[0]}", file=sys.stderr)
        return 2
    chosen = [name for name in HOSTS if name in words] or list(HOSTS)
    clean = True
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "certificates").mkdir()
        (folder / "appliance").mkdir()
        appliance = Appliance(folder / "appliance", Certificates(folder / "certificates"))
        appliance.start()
        stack.callback(appliance.stop)
        for it in map(tool, [name for name in TOOLS if name in words] or TOOLS):
            without_python = it.name == "thread"
            library = Path() if without_python else build_ffi.build_apart(it.name)
            (folder / it.name).mkdir()
            bench = Bench(it, library, appliance, folder / it.name)
            for host in chosen:
                if HOSTS[host].alone or not without_python:
                    clean &= try_host(bench, host)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
