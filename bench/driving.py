"""The C driver: compiled, run in a process for each library, and given orders."""

from __future__ import annotations

import os
import select
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from plan import KEY_BYTES, Cell
from subjects import Subject

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
import build_ffi  # noqa: E402

ANSWER_S = 120.0  # RSA keys on a busy machine take their time
FILL_AT_ONCE = 500


class Measured(NamedTuple):
    """What an operation costs: the driver's answer, or the median of several."""

    per_second: float
    p50_ns: float
    p95_ns: float
    p99_ns: float
    cpu_ns: float
    first_ns: float
    count: float


def median(answers: Sequence[Measured]) -> Measured:
    """Return the median of each figure over the rounds."""
    return Measured(*(statistics.median(figures) for figures in zip(*answers, strict=True)))


def compiled(folder: Path) -> Path:
    """Compile the driver; return the program."""
    (folder / "function_list.h").write_text(build_ffi.function_list_struct("CK_FUNCTION_LIST"))
    program = folder / "driver"
    options = ["-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-pthread"]
    includes = [f"-I{HERE.parent / 'cdef'}", f"-I{folder}"]
    subprocess.run(["cc", *options, *includes, HERE / "driver.c", "-o", program, "-ldl"], check=True, timeout=120)
    return program


def started(program: Path, subject: Subject) -> dict[str, tuple[float, str]]:
    """Run one start in a new process; return name -> number, unit."""
    ended = subprocess.run(
        _command(program, "start", subject),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **subject.environ},
        timeout=ANSWER_S,
    )
    figures = {}
    for line in ended.stdout.splitlines():
        name, number, unit = line.rsplit(" ", 2)
        figures[name] = (float(number), unit)
    return figures


class Driver:
    """A process in which one library is loaded and logged in."""

    def __init__(self, program: Path, subject: Subject) -> None:
        self.subject = subject
        self._process = subprocess.Popen(
            _command(program, "serve", subject),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **subject.environ},
        )
        self._expect("ready")

    @property
    def pid(self) -> int:
        return self._process.pid

    def measure(self, cell: Cell, milliseconds: float, *, bare: bool = False) -> Measured | str:
        """Return what a cell costs, or the CKR with which the library refuses it."""
        verb = "bare" if bare else "measure"
        answer = self._ask(f"{verb} {cell.size or KEY_BYTES} {cell.threads} {milliseconds} {cell.operation}")
        word, *rest = answer.split()
        return Measured(*map(float, rest)) if word == "ok" else " ".join(rest)

    def fill(self, count: int) -> None:
        """Add token objects."""
        for start in range(0, count, FILL_AT_ONCE):
            answer = self._ask(f"fill {start} {min(count, start + FILL_AT_ONCE)}")
            if answer != "ok":
                raise RuntimeError(answer)

    def memory_mb(self) -> tuple[float, float]:
        """Return the peak and the present resident memory."""
        peak_kb, present_kb = map(float, self._ask("memory").split()[1:])
        return peak_kb / 1024, present_kb / 1024

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _ask(self, line: str) -> str:
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        pipe = self._process.stdout
        assert pipe
        if not select.select([pipe], [], [], ANSWER_S)[0]:
            raise RuntimeError(f"{self.subject.name}: no answer within {ANSWER_S:g} s")
        return pipe.readline().decode().strip()  # the driver writes whole lines

    def _expect(self, wanted: str) -> None:
        answer = self._answer()
        if answer != wanted:
            raise RuntimeError(f"{self.subject.name} did not start: {answer!r}")


def _command(program: Path, mode: str, subject: Subject) -> list[str | Path]:
    return [program, mode, subject.library, subject.label, subject.pin]
