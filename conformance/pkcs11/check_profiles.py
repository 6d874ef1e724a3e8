"""The test cases of the OASIS PKCS #11 profiles, which the token claims; see profiles.py."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from outcome import Outcome
from part import main
from places import Absent, Place
from workshop import PROJECT, Workshop

PLAYER = Path(__file__).with_name("profiles.py")
VECTORS = PROJECT.parent / "shared" / "vectors" / "pkcs11-profiles"


def suite(place: Place, _: Workshop) -> Outcome:
    if not VECTORS.is_dir():
        raise Absent(f"the OASIS profile cases are not in {VECTORS}")
    done = place.run(sys.executable, PLAYER, place.module, VECTORS, "--pin", place.pins.user)
    counts = re.findall(r"^\S+: (\d+) passed, (\d+) failed$", done.stdout, re.MULTILINE)
    if not counts:
        raise RuntimeError(done.stdout[-1000:])
    failures = re.findall(r"^\S+ \d+ C_\w+: .*$", done.stdout, re.MULTILINE)
    passed, failed = (sum(map(int, column)) for column in zip(*counts, strict=True))
    return Outcome("", "", passed=passed, failed=failed, failures=tuple(failures))


if __name__ == "__main__":
    sys.exit(main("OASIS profiles", suite))
