"""The main program of the isolated process: this interpreter loads the library and serves one host (cdef/isolate.c)."""

from __future__ import annotations

import ctypes
import importlib
import itertools
import os
from pathlib import Path
from typing import NoReturn

CONTROL = 3  # the one descriptor that comes from the host
PLACES = ("MAPR_HOME", "MRHSM_CONF")
HANDLES = 1 << 32  # what one process has to itself: a handle of an earlier one is of no use with a later one


def main(library: str, processes_before: int) -> NoReturn:
    """Serve until the host finalizes or ends. Raises what keeps the library from being loaded."""
    if not any(_is_relative(os.environ.get(name, "")) for name in PLACES):
        os.chdir("/")  # the host may want to unmount where it was started
    if ctypes.CDLL(library).mrhsm_p11_start_isolated():
        _serve(processes_before)
    os._exit(0)


def _serve(processes_before: int) -> None:
    from mrhsm_p11.abi import isolation
    from mrhsm_p11.token import provider

    provider.Provider.handles = itertools.count(processes_before * HANDLES + 1)

    native = importlib.import_module("mrhsm_p11.abi._native")  # which only the library brings
    native.lib.serve_host(CONTROL, isolation.fill(native.ffi, native.lib))


def _is_relative(path: str) -> bool:
    return bool(path) and not Path(path).is_absolute()
