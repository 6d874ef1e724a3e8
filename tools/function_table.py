"""Write docs/functions.md: every function of the header, and what it answers here.

    python tools/function_table.py

A function is supported where a handler stands behind it; NOTES say what a reader would not expect, and why a function
without a handler has none.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))
import build_ffi
from mrhsm_p11.abi import entry

PAGE = ROOT / "docs" / "functions.md"
HEAD = """\
# Functions

Every function of PKCS #11 2.40, 3.0 and 3.2, in the order of the function lists. `tools/function_table.py` writes this
page from `cdef/pkcs11f.h` and the handlers in `src/mrhsm_p11/functions/`; mechanisms are C_GetMechanismList's matter.

"""
_NOT_PARALLEL = "CKR_FUNCTION_NOT_PARALLEL, as the standard asks: nothing runs in parallel"
_NOT_ASYNCHRONOUS = "no call goes on after it has returned: CKR_OPERATION_NOT_INITIALIZED"
NOTES = {
    "C_GetInterfaceList": "answered before C_Initialize; 3.2, 3.1, 3.0, 2.40",
    "C_GetInterface": "answered before C_Initialize; the default is 3.2; never CKF_INTERFACE_FORK_SAFE",
    "C_GetFunctionList": "answered before C_Initialize; 2.40's list",
    "C_GetOperationState": "digests; CKR_STATE_UNSAVEABLE for other operations (adr/0009)",
    "C_SetOperationState": "within the login that saved the state",
    "C_SeedRandom": "takes the seed and needs it not: the system's generator seeds itself",
    "C_GetFunctionStatus": _NOT_PARALLEL,
    "C_CancelFunction": _NOT_PARALLEL,
    "C_WaitForSlotEvent": "tokens that another process makes or removes, seen within half a second",
    "C_LoginUser": "as C_Login; users have no names: CKR_ARGUMENTS_BAD for one",
    "C_GetSessionValidationFlags": "no flags: there are no validation objects",
    "C_AsyncComplete": _NOT_ASYNCHRONOUS,
    "C_AsyncGetID": _NOT_ASYNCHRONOUS,
    "C_AsyncJoin": "no call goes on after it has returned: CKR_SAVED_STATE_INVALID",
    "C_DecryptMessageNext": "the plaintext comes with the last part, when the tag has been checked",
    "C_WrapKeyAuthenticated": "generated IVs are random; counters are refused, which would begin at zero each time",
}
# Without a handler, and why.
UNSUPPORTED: dict[str, str] = {}


def supported() -> set[str]:
    """Return the functions that do something."""
    handlers = entry.find_handlers(entry.modules(entry.MODULES + entry.LATER))
    return set(handlers) | build_ffi.WITHOUT_PYTHON


def page() -> str:
    """Return the text of docs/functions.md."""
    does = supported()
    prototypes = build_ffi.prototypes()
    counts = [
        f"{since}: {sum(p.name in does for p in prototypes if p.since == since)} of "
        f"{sum(p.since == since for p in prototypes)} supported"
        for since in sorted({p.since for p in prototypes}, key=prototypes_order)
    ]
    rows = [
        f"| {p.name} | {p.since} | {'yes' if p.name in does else 'no'} "
        f"| {NOTES.get(p.name, '') if p.name in does else 'CKR_FUNCTION_NOT_SUPPORTED: ' + UNSUPPORTED[p.name]} |"
        for p in prototypes
    ]
    lines = [", ".join(counts) + ".", "", "| function | since | supported | |", "|---|---|---|---|", *rows]
    return HEAD + "\n".join(line.replace("|  |", "| |") for line in lines) + "\n"


def prototypes_order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


if __name__ == "__main__":
    PAGE.write_text(page())
