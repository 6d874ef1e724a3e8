"""pkcs11js's own test suite, from a checkout called pkcs11js, with the package from npm."""

from __future__ import annotations

import re
import sys

import mocha
from outcome import Outcome
from part import main
from places import Place
from workshop import Workshop

VERSION = "2.1.7"


def suite(place: Place, workshop: Workshop) -> Outcome:
    text = (workshop.checkout("pkcs11js") / "test" / "test.js").read_text()
    packages = workshop.node("pkcs11js", f"pkcs11js@{VERSION}", mocha.MOCHA)
    tests = place.folder / "test"
    tests.mkdir()
    text = text.replace('require("../")', 'require("pkcs11js")')
    text = re.sub(r'softHsmLib = "/usr/lib/softhsm/[^"]*"', f'softHsmLib = "{place.module}"', text)
    (tests / "test.js").write_text(text.replace('pin = "12345"', f'pin = "{place.pins.user}"'))
    # pkcs11js frees what it never set when a template is wrong, and crashes now and then: new memory is zero with this.
    return mocha.run(place, packages, tests, MALLOC_PERTURB_="255")


if __name__ == "__main__":
    sys.exit(main("pkcs11js", suite))
