"""What suites are run with: virtual environments, sources and node packages, made once in a folder and kept there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from places import Absent, need

PROJECT = Path(__file__).resolve().parents[2]
_LIMIT_S = 600.0


@dataclass(frozen=True)
class Workshop:
    """`folder` keeps what was made; `sources` holds checkouts of suites whose packages leave the tests out."""

    folder: Path
    sources: Path | None

    def environment(self, name: str, *packages: str, python: str = sys.executable) -> Path:
        """Return the Python of a virtual environment with these packages. Raises Absent."""
        place = self.folder / "venv" / name
        interpreter = place / "bin" / "python"
        if not (place / "made").exists():
            shutil.rmtree(place, ignore_errors=True)
            _make([python, "-m", "venv", str(place)])
            _make([str(interpreter), "-m", "pip", "install", "-q", "--upgrade", "pip"])
            if packages:
                _make([str(interpreter), "-m", "pip", "install", "-q", *packages])
            (place / "made").touch()
        return interpreter

    def sdist(self, package: str, version: str) -> Path:
        """Return the unpacked source distribution of a Python package. Raises Absent."""
        place = self.folder / "sdist" / f"{package}-{version}"
        if not place.exists():
            loaded = self.folder / "loaded"
            loaded.mkdir(parents=True, exist_ok=True)
            pip = [str(self.environment("plain")), "-m", "pip", "download", "-q", "--no-deps", "--no-binary", package]
            _make([*pip, "-d", str(loaded), f"{package}=={version}"])
            stem = f"{package.replace('-', '_').lower()}-{version}"
            (archive,) = (path for path in loaded.iterdir() if path.name.lower().startswith(stem))
            with tarfile.open(archive) as tar:
                tar.extractall(place, filter="data")
        (inner,) = place.iterdir()
        return inner

    def node(self, name: str, *packages: str) -> Path:
        """Return a folder with these npm packages in node_modules. Raises Absent."""
        place = self.folder / "node" / name
        if not (place / "made").exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            (place / "package.json").write_text("{}\n")
            _make([need("npm"), "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(place), *packages])
            (place / "made").touch()
        return place

    def checkout(self, name: str) -> Path:
        """Return a suite's checkout. Raises Absent."""
        if self.sources is None or not (self.sources / name).is_dir():
            raise Absent(f"its tests are in no package: -sources must name a folder with a checkout called {name}")
        return self.sources / name


def newer_python(least: tuple[int, int]) -> str:
    """Return a Python of at least this version that has a shared library, as ours needs. Raises Absent."""
    for candidate in _pythons():
        tell = "import sys, sysconfig; print(*sys.version_info[:2], sysconfig.get_config_var('Py_ENABLE_SHARED'))"
        done = subprocess.run([candidate, "-c", tell], capture_output=True, text=True, timeout=20, check=False)
        words = done.stdout.split()
        if not done.returncode and (int(words[0]), int(words[1])) >= least and words[2] == "1":
            return candidate
    raise Absent(f"no Python of version {least[0]}.{least[1]} or later with a shared libpython is installed")


def _pythons() -> Iterator[str]:
    yield sys.executable
    for minor in range(12, 16):
        found = shutil.which(f"python3.{minor}")
        if found:
            yield found
    versions = Path(os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))) / "versions"
    yield from (str(path) for path in sorted(versions.glob("3.1[2-9]*/bin/python")))


def _make(command: list[str]) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LIMIT_S, check=False
    )
    if done.returncode:
        raise Absent(f"{Path(command[0]).name} {command[-1]} failed: {(done.stderr or done.stdout).strip()[-400:]}")
