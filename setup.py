"""Compile libmrhsm_p11.so and write the generated modules; everything else about the package is in pyproject.toml."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

sys.path.insert(0, str(Path(__file__).resolve().parent))  # a PEP 517 front end does not

import build_ffi


class BuildLibrary(build_ext):
    """Compile the one extension under a name without ABI tag: hosts are configured with its path."""

    def get_ext_filename(self, fullname: str) -> str:
        return os.path.join(*fullname.split(".")) + ".so"  # asked with and without the package part

    def build_extension(self, ext: Extension) -> None:
        build_ffi.complete(ext, Path(self.build_temp))
        super().build_extension(ext)


build_ffi.generate()
setup(ext_modules=[Extension("mrhsm_p11.libmrhsm_p11", sources=[])], cmdclass={"build_ext": BuildLibrary})
