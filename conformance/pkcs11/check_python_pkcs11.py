"""python-pkcs11's own test suite, from its source distribution."""

from __future__ import annotations

import sys

import unittests
from outcome import Outcome
from part import main
from places import LABEL, Place
from workshop import Workshop

VERSION = "0.10.1"


def suite(place: Place, workshop: Workshop) -> Outcome:
    python = workshop.environment(
        "python-pkcs11", f"python-pkcs11=={VERSION}", "pytest", "parameterized", "cryptography", "oscrypto"
    )
    tests = workshop.sdist("python-pkcs11", VERSION) / "tests"
    report = place.folder / "report.xml"
    settings = {
        "PKCS11_MODULE": str(place.module),
        "PKCS11_TOKEN_LABEL": LABEL,
        "PKCS11_TOKEN_PIN": place.pins.user,
        "PKCS11_TOKEN_SO_PIN": place.pins.so,
    }
    command = (python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", tests)
    return unittests.read(report, place.run(*command, limit_s=600, cwd=tests.parent.parent, **settings).stdout)


if __name__ == "__main__":
    sys.exit(main("python-pkcs11", suite))
