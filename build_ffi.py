"""Turn cdef/ into everything that repeats it.

cdef/pkcs11t.h holds the types and constants, cdef/pkcs11f.h the prototypes; nothing else in the repository lists
either. `python build_ffi.py` writes the generated Python modules next to the hand-written ones.
"""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
CDEF = HERE / "cdef"
PACKAGE = HERE / "src" / "mrhsm_p11"

_DEFINE = re.compile(r"^#define (CK[A-Z]?|CRYPTOKI)_(\w+) (0x[0-9A-Fa-f]+)UL$", re.M)


def constants() -> dict[str, dict[str, int]]:
    """Return the constants of pkcs11t.h by prefix: {"CKR": {"OK": 0, ...}, ...}."""
    families: dict[str, dict[str, int]] = {}
    for prefix, name, value in _DEFINE.findall((CDEF / "pkcs11t.h").read_text()):
        families.setdefault(prefix, {})[name] = int(value, 16)
    return families


def constants_module() -> str:
    """Return the text of mrhsm_p11/constants.py.

    Plain class attributes, not IntEnum: a thousand enum members cost 7 ms at each process start, these cost nothing.
    """
    lines = [
        '"""PKCS #11 constants: generated from cdef/pkcs11t.h by build_ffi.py, do not edit."""',
        "",
        "from mrhsm_p11._namespace import Namespace",
    ]
    for prefix, members in constants().items():
        lines += ["", "", f"class {prefix}(Namespace):"]
        lines += [f"    {name if name.isidentifier() else '_' + name} = 0x{value:X}" for name, value in members.items()]
    return "\n".join(lines) + "\n"


def generate() -> None:
    """Write the generated modules where they are imported from; untouched when already up to date."""
    for path, text in ((PACKAGE / "constants.py", constants_module()),):
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


if __name__ == "__main__":
    generate()
