"""What a host waits for: start, first login, first operations, and the cost of a call, beside SoftHSM2.

    python bench/start.py [RUNS]

Runs the same C program RUNS times (default 15) for each library, in turns, in new processes, each with a file-store
token of its own in a temporary folder; prints medians. "unattended" logs in with NULL, the PIN being in user.pin;
"chosen PIN" goes through the slow derivation that a PIN of a person needs.
"""

from __future__ import annotations

import compileall
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mrhsm_p11
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import tokens
from mrhsm_p11.tokendir.files import TokenDirectory
from mrhsm_p11.tokendir.pinfile import UserPin

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
import build_ffi  # noqa: E402

LABEL, PIN, SO_PIN = "bench", "user pin 5678", "so pin 1234"
SOFTHSM = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so")
GROWTH = "growth "

Figures = dict[str, tuple[float, str]]  # name -> number, unit


@dataclass(frozen=True, slots=True)
class Subject:
    """One library with a token."""

    name: str
    library: Path
    pin: str
    environ: dict[str, str]


def compiled(folder: Path) -> Path:
    """Compile start.c; return the program."""
    (folder / "function_list.h").write_text(build_ffi.function_list_struct("CK_FUNCTION_LIST"))
    program = folder / "start"
    command: list[str | Path] = [
        "cc",
        "-O2",
        "-Wall",
        f"-I{HERE.parent / 'cdef'}",
        f"-I{folder}",
        HERE / "start.c",
        "-o",
        program,
        "-ldl",
    ]
    subprocess.run(command, check=True)
    return program


def ours(folder: Path, name: str, user_pin: UserPin, pin: str) -> Subject:
    """Make a file-store token of ours in a new MAPR_HOME."""
    home = folder / name.replace(" ", "-")
    for part in ("conf", "logs"):
        (home / part).mkdir(parents=True)
    directory = TokenDirectory(home / "conf" / "tokens", create=True)
    tokens.create_token(directory, LABEL, Secret(SO_PIN.encode()), user_pin=user_pin, store="file")
    library = Path(mrhsm_p11.__file__).with_name("libmrhsm_p11.so")
    return Subject(name, library, pin, {"MAPR_HOME": str(home)})


def softhsm(folder: Path) -> Subject | None:
    """Make a token of SoftHSM2, where it is installed."""
    library = next((Path(path) for path in SOFTHSM if Path(path).exists()), None)
    tool = shutil.which("softhsm2-util")
    if library is None or tool is None:
        return None
    (folder / "softhsm").mkdir()
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder / 'softhsm'}\nlog.level = ERROR\n")
    environ = {"SOFTHSM2_CONF": str(configuration)}
    command = [tool, "--init-token", "--free", "--label", LABEL, "--so-pin", SO_PIN, "--pin", PIN]
    subprocess.run(command, check=True, env={**os.environ, **environ}, stdout=subprocess.DEVNULL)
    return Subject("SoftHSM2", library, PIN, environ)


@contextmanager
def subjects() -> Iterator[tuple[Path, list[Subject]]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = [
            ours(folder, "unattended", UserPin.random(), "-"),
            ours(folder, "chosen PIN", UserPin(Secret(PIN.encode())), PIN),
        ]
        other = softhsm(folder)
        yield compiled(folder), made + ([other] if other else [])


def measure(program: Path, subject: Subject) -> Figures:
    """Run the program once; resident memory becomes growth since before dlopen."""
    ended = subprocess.run(
        [program, subject.library, LABEL, subject.pin],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **subject.environ},
        timeout=60,
    )
    figures: Figures = {}
    for line in ended.stdout.splitlines():
        name, number, unit = line.rsplit(" ", 2)
        figures[name] = (float(number), unit)
    before, _ = figures.pop(f"{GROWTH}before")
    return {
        name: ((number - before) / 1024, "MB") if name.startswith(GROWTH) else (number, unit)
        for name, (number, unit) in figures.items()
    }


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    # As pip does for an installed package; hosts never write bytecode.
    compileall.compile_dir(str(Path(mrhsm_p11.__file__).parent), quiet=1)
    with subjects() as (program, all_subjects):
        taken: dict[str, list[Figures]] = {subject.name: [] for subject in all_subjects}
        for _ in range(runs):
            for subject in all_subjects:
                taken[subject.name].append(measure(program, subject))
    print(f"median of {runs} (least)".ljust(30), *(name.rjust(22) for name in taken))
    for name, (_, unit) in next(iter(taken.values()))[0].items():
        cells = []
        for figures in taken.values():
            numbers = [each[name][0] for each in figures]
            cells.append(f"{statistics.median(numbers):.2f} ({min(numbers):.2f}) {unit}".rjust(22))
        print(name.ljust(30), *cells)


if __name__ == "__main__":
    main()
