"""graphene's own test suite, from a checkout called graphene, with the package from npm."""

from __future__ import annotations

import json
import shutil
import sys

import mocha
from outcome import Outcome
from part import main
from places import LABEL, Place, need
from workshop import Workshop

PACKAGES = ("graphene-pk11@2.3.6", "typescript@5.5.4", "ts-node@10.9.2", "@types/node@22", "@types/mocha@10")


def suite(place: Place, workshop: Workshop) -> Outcome:
    source = workshop.checkout("graphene") / "test"
    packages = workshop.node("graphene", *PACKAGES, mocha.MOCHA)
    shutil.copytree(workshop.checkout("graphene") / "vendor", place.folder / "test" / "vendor")
    tests = place.folder / "test"
    for path in source.glob("*.ts"):
        (tests / path.name).write_text(path.read_text().replace('"../src"', '"graphene-pk11"'))
    (tests / "config.ts").write_text(f"export default {json.dumps(_expected(place, packages))};\n")
    settings = {"compilerOptions": {"module": "commonjs", "esModuleInterop": True, "target": "es2022"}}
    (tests / "tsconfig.json").write_text(json.dumps(settings))
    return mocha.run(place, packages, tests, "-r", "ts-node/register/transpile-only", "--extension", "ts")


def _expected(place: Place, packages: object) -> dict[str, object]:
    """Return what the suite compares with: it wants to be told whom it talks to."""
    ask = """
        const {PKCS11} = require("pkcs11js"); const p = new PKCS11(); p.load(process.argv[1]); p.C_Initialize();
        const text = (value) => typeof value === "string" ? value.trim() : typeof value === "bigint" ? 0 : value;
        const info = p.C_GetInfo(), slots = p.C_GetSlotList(true), token = p.C_GetTokenInfo(slots[0]);
        console.log(JSON.stringify({info, slots: slots.length, token}, (_, value) => text(value)));
        p.C_Finalize();
    """
    done = place.run(need("node"), "-e", ask, place.module, NODE_PATH=f"{packages}/node_modules")
    said = json.loads(done.stdout)
    token = said["token"]
    return {
        "init": {"lib": str(place.module), "libName": "PKCS11", "pin": place.pins.user, "vendor": ""},
        "controlValues": {
            "module": {key: said["info"][key] for key in ("manufacturerID", "libraryDescription")},
            "slot": {
                "slotIndex": 0,
                "token": {
                    "flags": token["flags"],
                    "label": LABEL,
                    "manufacturerID": token["manufacturerID"],
                    "serialNumber": token["serialNumber"],
                    "minPinLen": token["minPinLen"],
                },
            },
            "slotsCount": said["slots"],
        },
    }


if __name__ == "__main__":
    sys.exit(main("graphene", suite))
