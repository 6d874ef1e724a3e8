"""Run the C hosts of tests/host with builds of the library that show mistakes: one line a host, "clean" or the fault.

    python tools/sanitize.py [address|valgrind] [HOST ...]

address: the library and the host by gcc's AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer, Python with
malloc(); valgrind: both by memcheck. Each host also runs with the library in a process of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import build_ffi
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import tokens
from mrhsm_p11.tokendir.files import TokenDirectory
from mrhsm_p11.tokendir.tokens import UserPin

HOSTS = ROOT / "tests" / "host"
RULES = ROOT / "tools" / "sanitize"
FOUND = 99  # the exit code of a run in which something was found
LIMIT_S = 600

# What each host is run with; a host without a row runs once, with the library alone.
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "exits": tuple(
        f"{how} {what}"
        for how in ("return", "exit", "thread", "quick", "direct", "handler", "final", "late")
        for what in ("busy", "waiting")
    ),
    "forks": tuple(
        f"{way} 2" for way in ("idle", "busy", "passing", "nested", "exec", "vfork", "spawn", "exit", "early")
    ),
    "humble": ("65534",),
    "leave": ("", "thread", "early", "thread early", "joined", "joined early"),
    "load": ("lazy", "now", "lazy global", "lazy reload"),
    "many": ("threads 100", "restarts 20", "reloads 10", "cancelled 40"),
    "stuck": ("wait",),
    "unseen": ("", "ignore", "adopt"),
}
# What cannot run: (tool, host) -> why.
IMPOSSIBLE = {
    ("address", "humble"): "LeakSanitizer looks at a process that may look at itself",
    ("valgrind", "humble"): "another user cannot write memcheck's report",
}
# Threads run on while these end, or are left out by a fork with all that their stacks held: LeakSanitizer cannot stop
# or find them all, and then sees leaks that are none, or fails.
LEAVE_THREADS = frozenset({"exits", "forks", "leave", "stuck"})


class Tool(NamedTuple):
    """What finds mistakes and writes them to files in `reports`; its name is a build of the library."""

    name: str
    reports: Path
    options: tuple[str, ...]
    command: tuple[str, ...]  # before the host's
    environment: dict[str, str]


def tool(name: str) -> Tool:
    """Return one of the two tools."""
    reports = ROOT / "build" / name / "reports"
    if name == "valgrind":
        suppressions = f"--suppressions={RULES / 'valgrind.supp'}"
        command = ("valgrind", "-q", "--num-callers=30", f"--error-exitcode={FOUND}", f"--log-file={reports}/%p")
        return Tool(name, reports, ("-g", "-O1"), (*command, suppressions), {})
    runtime = subprocess.run(["cc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True).stdout
    every = f"log_path={reports}/it:exitcode={FOUND}"
    return Tool(
        name,
        reports,
        build_ffi.BUILDS["address"].options,
        (),
        {
            # the library's own process is no program of ours: there the runtime must be loaded first
            "LD_PRELOAD": str(Path(runtime.strip()).resolve()),
            "ASAN_OPTIONS": f"{every}:detect_leaks=1:fast_unwind_on_malloc=0:malloc_context_size=8",
            "UBSAN_OPTIONS": f"{every}:print_stacktrace=1",
            "LSAN_OPTIONS": f"suppressions={RULES / 'leaks.supp'}:print_suppressions=0",
        },
    )


def compile_host(name: str, options: Sequence[str], folder: Path) -> Path:
    """Compile a program of tests/host; return it."""
    lists = "\n".join(build_ffi.function_list_struct(struct) for struct in build_ffi.FUNCTION_LISTS)
    (folder / "function_list.h").write_text(lists)
    program = folder / name
    places = [f"-I{build_ffi.CDEF}", f"-I{folder}"]
    command = ["cc", *options, *places, "-pthread", str(HOSTS / f"{name}.c"), "-o", str(program), "-ldl", "-lm"]
    subprocess.run(command, check=True, timeout=LIMIT_S)
    return program


@contextlib.contextmanager
def home(isolation: str) -> Iterator[Path]:
    """Make a MAPR_HOME with one token that opens without PIN."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "conf" / "tokens").mkdir(mode=0o700, parents=True)
        if isolation:
            (place / "conf" / "maprhsm.conf").write_text(f'[library]\nisolation = "{isolation}"\n')
        directory = TokenDirectory(place / "conf" / "tokens")
        tokens.create_token(directory, "sanitize", Secret(b"so pin 1234"), user_pin=UserPin.random(), store="file")
        yield place


def first_line(reports: Path) -> str:
    """Return what the first report says, "" without one."""
    for report in sorted(reports.iterdir()):
        lines = [line.split("== ", 1)[-1].strip() for line in report.read_text(errors="replace").splitlines()]
        told = [line for line in lines if line.startswith(("ERROR", "SUMMARY")) or "runtime error" in line]
        if said := next(iter(told or filter(None, lines)), ""):
            return said
    return ""


def run(it: Tool, program: Path, library: Path, arguments: str, isolation: str) -> str:
    """Run a host once; return "clean", or what was found."""
    shutil.rmtree(it.reports, ignore_errors=True)
    it.reports.mkdir(parents=True)
    with home(isolation) as place:
        environment = {**os.environ, "ASAN_OPTIONS": "", "MAPR_HOME": str(place), **it.environment}
        environment.pop("MRHSM_CONF", None)
        if program.name in LEAVE_THREADS:
            environment["ASAN_OPTIONS"] += ":detect_leaks=0:fast_unwind_on_malloc=1"
        command = [*it.command, program, library, *arguments.split()]
        try:
            ended = subprocess.run(
                command, check=False, capture_output=True, text=True, timeout=LIMIT_S, env=environment, errors="replace"
            )
        except subprocess.TimeoutExpired:
            return f"did not end in {LIMIT_S} s"
    if found := first_line(it.reports):
        return found
    if ended.returncode:
        return f"exit code {ended.returncode}: {(ended.stderr or ended.stdout)[-200:]!r}"
    return "clean"


def try_host(it: Tool, name: str, library: Path, folder: Path) -> bool:
    """Run a host in each of its ways, up to the first fault; print one line."""
    if why := IMPOSSIBLE.get((it.name, name)):
        print(f"{it.name:9} {name:12} not run: {why}", flush=True)
        return True
    program = compile_host(name, it.options, folder)
    runs = [(arguments, isolation) for isolation in ("", "process") for arguments in ARGUMENTS.get(name, ("",))]
    for arguments, isolation in runs:
        if (found := run(it, program, library, arguments, isolation)) != "clean":
            way = f"{arguments}{' isolated' if isolation else ''}".strip()
            print(f"{it.name:9} {name:12} {way}: {found}", flush=True)
            return False
    print(f"{it.name:9} {name:12} clean ({len(runs)} runs)", flush=True)
    return True


def main(words: Sequence[str]) -> int:
    """Return 0 where all is clean."""
    every = sorted(path.stem for path in HOSTS.glob("*.c"))
    chosen = [name for name in words if name in every] or every
    clean = True
    with tempfile.TemporaryDirectory() as folder:
        for it in map(tool, [name for name in words if name in build_ffi.BUILDS] or build_ffi.BUILDS):
            library = build_ffi.build_apart(it.name)
            for name in chosen:
                clean &= try_host(it, name, library, Path(folder))
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
