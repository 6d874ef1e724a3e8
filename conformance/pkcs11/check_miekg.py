"""The tests of Go's github.com/miekg/pkcs11, from Debian's source package."""

from __future__ import annotations

import json
import shutil
import sys

from outcome import Outcome
from part import main
from places import LABEL, Pins, Place, need, need_file
from workshop import Workshop

PACKAGE = "golang-github-miekg-pkcs11-dev"
SOURCE = "/usr/share/gocode/src/github.com/miekg/pkcs11/go.mod"
KEY = "conformance key"


def suite(place: Place, workshop: Workshop) -> Outcome:
    go = need("go")
    source = place.folder / "pkcs11"
    shutil.copytree(need_file(PACKAGE, SOURCE).parent, source)
    if not place.mrhsm:  # the tests name a configuration file of their own
        shutil.copy(place.extra["SOFTHSM2_CONF"], source / "softhsm2.conf")
    tool = (need("pkcs11-tool"), "--module", place.module, "--token-label", LABEL, "--login", "--pin", place.pins.user)
    place.good(*tool, "--keypairgen", "--key-type", "rsa:2048", "--id", "01", "--label", KEY)
    done = place.run(
        *(go, "test", "-json", "-count=1", "-timeout", "300s", "."),
        cwd=source,
        limit_s=600,
        GOCACHE=str(workshop.folder / "go"),
        GOFLAGS="-mod=mod",
        GOTOOLCHAIN="local",
        GOPROXY="off",
        SOFTHSM_LIB=str(place.module),
        SOFTHSM_TOKENLABEL=LABEL,
        SOFTHSM_PRIVKEYLABEL=KEY,
        SOFTHSM_PIN=place.pins.user,
    )
    return _read(done.stdout)


def _read(output: str) -> Outcome:
    """Return what `go test -json` says: an event a line; a test that began and did not end has crashed."""
    events = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    said: dict[str, str] = {}
    results: dict[str, str] = {}
    for event in events:
        name = event.get("Test", "")
        if not name:
            continue
        results.setdefault(name, "crashed")
        if event["Action"] == "output":
            said[name] = said.get(name, "") + event["Output"]
        elif event["Action"] in ("pass", "fail", "skip"):
            results[name] = event["Action"]
    if not results:
        return Outcome("", "", crashed=1, failures=(f"no test ran: {output.strip()[-400:]}",))
    bad = [name for name, result in results.items() if result in ("fail", "crashed")]
    counts = [list(results.values()).count(word) for word in ("pass", "fail", "skip", "crashed")]
    return Outcome(
        "",
        "",
        passed=counts[0],
        failed=counts[1],
        skipped=counts[2],
        crashed=counts[3],
        failures=tuple(f"{name}: {' '.join(said.get(name, '').split())[:300]}" for name in bad),
        skips={
            f"{name}: {said.get(name, '').strip()[:120]}": 1 for name, result in results.items() if result == "skip"
        },
    )


if __name__ == "__main__":
    sys.exit(main("miekg pkcs11", suite, pins=Pins("1234", "1234")))
