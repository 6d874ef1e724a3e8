"""The built library: loaded into this process, or into C programs that are compiled on the spot."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from p11 import Cryptoki, build_ffi, rv_of

import mrhsm_p11
from mrhsm_p11.constants import CKR

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


@pytest.fixture(scope="session")
def library_path() -> Path:
    """The path of libmrhsm_p11.so in the installed package."""
    path = Path(mrhsm_p11.__file__).with_name("libmrhsm_p11.so")
    if not path.exists():
        pytest.fail(f"{path} has not been built (make setup)")
    return path


ISOLATED = os.environ.get("MRHSM_TEST_ISOLATION") == "process"  # serve every host of this run from outside


def token_home(home: Path) -> Path:
    """Make a MAPR_HOME with a token directory in which tokens may be made."""
    (home / "conf" / "tokens").mkdir(mode=0o700, parents=True, exist_ok=True)
    if ISOLATED:
        (home / "conf" / "maprhsm.conf").write_text('[library]\nisolation = "process"\n')
    return home


@pytest.fixture
def host_home(mapr_home: Path) -> Path:
    """A MAPR_HOME, in this process's environment, with a token directory in which tokens may be made."""
    return token_home(mapr_home)


@pytest.fixture
def cryptoki(library_path: Path, host_home: Path) -> Iterator[Cryptoki]:
    """The library in this process, not initialised, with an empty MAPR_HOME; finalised afterwards."""
    p11 = Cryptoki(library_path)
    yield p11
    assert rv_of(p11.finalize) in (CKR.OK, CKR.CRYPTOKI_NOT_INITIALIZED)


Host = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Compile tests/host/NAME.c; return the program, or the library where the name ends with .so."""
    folder = tmp_path_factory.mktemp("host")
    lists = "\n".join(build_ffi.function_list_struct(struct) for struct in build_ffi.FUNCTION_LISTS)
    (folder / "function_list.h").write_text(lists)
    compiler = shutil.which("cc") or shutil.which("gcc")

    def build(name: str) -> Path:
        program = folder / name
        if not program.exists():
            assert compiler, "no C compiler"
            source = HERE / "host" / f"{name.removesuffix('.so')}.c"
            options = ["-g", "-O1", "-Wall", "-Werror", f"-I{ROOT / 'cdef'}", f"-I{folder}", "-pthread"]
            options += ["-shared", "-fPIC"] if name.endswith(".so") else ["-rdynamic"]
            subprocess.run([compiler, *options, source, "-o", program, "-ldl", "-lm"], check=True, timeout=60)
        return program

    return build


@pytest.fixture
def host(compiled: Callable[[str], Path], library_path: Path, host_home: Path) -> Host:
    """Run a C program of tests/host with the library's path and further arguments; its output is text."""

    def run(
        name: str, *arguments: str, environ: Mapping[str, str] | None = None, library: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [compiled(name), library or library_path, *arguments]
        environment = dict(os.environ) if environ is None else dict(environ)
        limit_s = 60 * int(os.environ.get("MRHSM_HOSTS_LONGER", "1"))
        return subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=limit_s)

    return run


class Talking:
    """A C program of tests/host under way, which says lines and waits for lines; its errors go where ours go."""

    def __init__(self, command: list[str | Path]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def lines(self, count: int) -> list[str]:
        """Return the next lines; fewer where the program ends."""
        assert self.process.stdout
        return [line.strip() for line in itertools.islice(self.process.stdout, count)]

    def go_on(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def finish(self) -> list[str]:
        """Say that no more lines come; return what it says till its end, which must be good."""
        output, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, output
        return output.splitlines()


@pytest.fixture
def talking(compiled: Callable[[str], Path], library_path: Path, host_home: Path) -> Iterator[Callable[..., Talking]]:
    """Start a C program of tests/host with the library's path and further arguments."""
    started: list[Talking] = []

    def start(name: str, *arguments: str) -> Talking:
        started.append(Talking([compiled(name), library_path, *arguments]))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate()


@pytest.fixture
def doctored(library_path: Path, tmp_path: Path) -> Callable[[str, str | None], Path]:
    """Copy the package, with text added to one of its modules, or without that module; return the copy's library.

    C hosts only: a Python host would import the package that it knows.
    """

    def copy(module: str, added: str | None) -> Path:
        package = tmp_path / "site" / "mrhsm_p11"
        shutil.copytree(library_path.parent, package, ignore=shutil.ignore_patterns("__pycache__"))
        if added is None:
            (package / module).unlink()
        else:
            with (package / module).open("a") as file:
                file.write(added)
        return package / library_path.name

    return copy
