"""PyKCS11's own test suite, from its source distribution."""

from __future__ import annotations

import shutil
import sys

import unittests
from outcome import Outcome
from part import main
from places import Pins, Place
from workshop import Workshop

VERSION = "1.5.20"


def suite(place: Place, workshop: Workshop) -> Outcome:
    python = workshop.environment("pykcs11", f"PyKCS11=={VERSION}", "pytest", "asn1crypto")
    tests = place.folder / "test"
    shutil.copytree(workshop.sdist("PyKCS11", VERSION) / "test", tests)
    report = place.folder / "report.xml"
    command = (python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", tests)
    return unittests.read(report, place.run(*command, limit_s=600, PYKCS11LIB=str(place.module)).stdout)


if __name__ == "__main__":
    sys.exit(main("PyKCS11", suite, pins=Pins("1234", "123456")))
