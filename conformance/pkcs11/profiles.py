"""Play the test cases of the OASIS PKCS #11 profiles against a module, call by call, through its C ABI.

    profiles.py MODULE VECTORS [--pin PIN]

The first slot must hold an empty token whose user PIN is PIN (none: the protected path). The objects that a case needs
are made first. A call and its answer are one step; a step passes if the answer is the script's. Where the script shows
what only its author's token can know, `EXCEPTIONS` says what is compared instead.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tests"))
from p11 import CKError, Cryptoki

from mrhsm_p11.constants import CKA, CKC, CKF, CKM, CKO, CKR, CKU

EXCEPTIONS = {
    "Info SlotInfo TokenInfo": "theirs is made up, the scripts say: strings must be padded with blanks, "
    "and the slot must hold a token",
    "MechanismList MechanismInfo": "a token may have more mechanisms, sizes and uses: those shown must be among them",
    "MODULUS": "the scripts' private key is not published: a key of the same size is made, lengths are compared",
    "Signature": "for the same reason: the signature must verify with the public key that was found",
}
ROOTS_LABEL = "Mozilla Builtin Roots\0"
KEY_BITS = 2048
Element = ElementTree.Element


@dataclass(slots=True)
class Step:
    """One call of a script: what became of it. `wrong` is empty if it passed."""

    script: str
    number: int
    function: str
    wrong: str = ""


@dataclass(slots=True)
class Player:
    """Plays one script."""

    p11: Cryptoki
    pin: str | None
    bound: dict[str, int] = field(default_factory=dict)
    modulus: bytes = b""

    def play(self, script: Path) -> Iterator[Step]:
        """Yield each step; after one that failed the rest is still tried."""
        elements = list(ElementTree.fromstring(script.read_text()))
        for number, (request, response) in enumerate(zip(elements[::2], elements[1::2], strict=True), 1):
            step = Step(script.stem, number, request.tag)
            try:
                assert request.tag == response.tag, "the script is out of step"
                self._one(request, response)
            except (AssertionError, CKError, KeyError) as error:
                step.wrong = f"{type(error).__name__}: {error}"
            yield step

    def _one(self, request: Element, response: Element) -> None:
        expected = getattr(CKR, response.attrib["rv"])
        rv, answer = CKR.OK, None
        try:
            answer = CALLS[request.tag](self, request)
        except CKError as error:
            rv = error.rv
        assert rv == expected, f"CKR_{CKR.name(rv)}"
        if rv == CKR.OK and (compare := COMPARED.get(request.tag)) is not None:
            compare(self, response, answer)

    def number(self, element: Element, child: str) -> int:
        """Return a number that a request names: bound before, or literal."""
        text = element.find(child).attrib["value"]  # type: ignore[union-attr]
        return self.bound[text] if text.startswith("${") else int(text)

    def bind(self, element: Element, name: str, value: int) -> None:
        """Remember a number for the variable that an answer shows in its place."""
        text = element.attrib[name]
        assert text.startswith("${"), text
        self.bound[text] = value


def _template(request: Element) -> dict[int, Any]:
    """Return a search template."""
    found: dict[int, Any] = {}
    for attribute in request.findall("Template/Attribute"):
        kind, text = getattr(CKA, attribute.attrib["type"]), attribute.attrib["value"]
        found[kind] = text == "TRUE" if text in ("TRUE", "FALSE") else text
        if kind == CKA.CLASS:
            found[kind] = getattr(CKO, text)
    return found


def _flags(text: str) -> int:
    return sum(getattr(CKF, name) for name in text.split("|"))


# ---- calls: from a request to the natural answer


def _slot_list(player: Player, request: Element) -> list[int]:
    return player.p11.slots(token_present=request.find("TokenPresent").attrib["value"] == "true")  # type: ignore[union-attr]


def _open_session(player: Player, request: Element) -> int:
    flags = _flags(request.find("Flags").attrib["value"])  # type: ignore[union-attr]
    return player.p11.open_session(player.number(request, "SlotID"), rw=bool(flags & CKF.RW_SESSION))


def _login(player: Player, request: Element) -> None:
    role = getattr(CKU, request.find("UserType").attrib["value"])  # type: ignore[union-attr]
    player.p11.login(player.number(request, "Session"), player.pin, role)


def _find_objects(player: Player, request: Element) -> list[int]:
    most = int(request.find("Object").attrib["length"])  # type: ignore[union-attr]
    array, count = player.p11.new("CK_ULONG[]", most), player.p11.new("CK_ULONG *")
    player.p11.call("C_FindObjects", player.number(request, "Session"), array, most, count)
    return list(array[0 : count[0]])


def _attributes(player: Player, request: Element) -> list[bytes | int]:
    """Return each value, or its length where the script gives no room for it."""
    wanted = request.findall("Template/Attribute")
    array = player.p11.new("CK_ATTRIBUTE[]", len(wanted))
    room = [player.p11.new("CK_BYTE[]", int(one.attrib.get("length", "0")) + 1) for one in wanted]
    for entry, one, place in zip(array, wanted, room, strict=True):
        entry.type, entry.ulValueLen = getattr(CKA, one.attrib["type"]), int(one.attrib.get("length", "0"))
        if entry.ulValueLen:
            entry.pValue = player.p11.ffi.cast("void *", place)
    session, handle = player.number(request, "Session"), player.number(request, "Object")
    player.p11.call("C_GetAttributeValue", session, handle, array, len(wanted))
    values = zip(array, room, strict=True)
    return [bytes(player.p11.ffi.buffer(r, e.ulValueLen)) if e.pValue else int(e.ulValueLen) for e, r in values]


def _sign_init(player: Player, request: Element) -> None:
    kind = getattr(CKM, request.find("Mechanism/Type").attrib["value"])  # type: ignore[union-attr]
    player.p11.init("Sign", player.number(request, "Session"), kind, player.number(request, "Key"))


def _sign(player: Player, request: Element) -> tuple[bytes, bytes]:
    data = bytes.fromhex(request.find("Data").attrib["value"])  # type: ignore[union-attr]
    room = int(request.find("Signature").attrib["length"])  # type: ignore[union-attr]
    session = player.number(request, "Session")
    return data, player.p11.into_room("C_Sign", room, session, *player.p11.encoded(data))


def _mechanism_info(player: Player, request: Element) -> dict[str, Any]:
    kind = getattr(CKM, request.find("Type").attrib["value"])  # type: ignore[union-attr]
    return player.p11.mechanism_info(player.number(request, "SlotID"), kind)


def _raw_info(player: Player, name: str, kind: str, *arguments: int) -> Any:
    struct = player.p11.new(f"{kind} *")
    player.p11.call(name, *arguments, struct)
    return struct


CALLS: dict[str, Callable[[Player, Element], Any]] = {
    "C_Initialize": lambda player, _: player.p11.initialize(None),
    "C_Finalize": lambda player, _: player.p11.finalize(),
    "C_GetInfo": lambda player, _: _raw_info(player, "C_GetInfo", "CK_INFO"),
    "C_GetSlotList": _slot_list,
    "C_GetSlotInfo": lambda p, r: _raw_info(p, "C_GetSlotInfo", "CK_SLOT_INFO", p.number(r, "SlotID")),
    "C_GetTokenInfo": lambda p, r: _raw_info(p, "C_GetTokenInfo", "CK_TOKEN_INFO", p.number(r, "SlotID")),
    "C_GetMechanismList": lambda player, request: player.p11.mechanisms(player.number(request, "SlotID")),
    "C_GetMechanismInfo": _mechanism_info,
    "C_OpenSession": _open_session,
    "C_CloseSession": lambda player, request: player.p11.close_session(player.number(request, "Session")),
    "C_CloseAllSessions": lambda player, request: player.p11.close_all_sessions(player.number(request, "SlotID")),
    "C_Login": _login,
    "C_Logout": lambda player, request: player.p11.logout(player.number(request, "Session")),
    "C_FindObjectsInit": lambda player, request: player.p11.call(
        "C_FindObjectsInit", player.number(request, "Session"), *player.p11.template(_template(request))
    ),
    "C_FindObjects": _find_objects,
    "C_FindObjectsFinal": lambda p, request: p.p11.call("C_FindObjectsFinal", p.number(request, "Session")),
    "C_GetAttributeValue": _attributes,
    "C_SignInit": _sign_init,
    "C_Sign": _sign,
}


# ---- answers: what must be as the script has it


def _same_slots(player: Player, response: Element, slots: list[int]) -> None:
    shown = response.find("SlotList")
    assert shown is not None
    if "length" in shown.attrib:
        player.bind(shown, "length", len(slots))
    for element, slot in zip(shown.findall("SlotID"), slots, strict=False):
        player.bind(element, "value", slot)
    assert len(shown.findall("SlotID")) <= len(slots)


def _same_objects(player: Player, response: Element, handles: list[int]) -> None:
    shown = response.find("Object")
    assert shown is not None
    places = shown.findall("Object")
    assert len(places) == len(handles), f"{len(handles)} objects"
    for element, handle in zip(places, handles, strict=True):
        player.bind(element, "value", handle)


def _same_attributes(player: Player, response: Element, values: list[bytes | int]) -> None:
    for shown, value in zip(response.findall("Template/Attribute"), values, strict=True):
        kind, text = shown.attrib["type"], shown.attrib.get("value")
        if text is None:
            assert value == int(shown.attrib["length"]), f"{kind} has {value!r} bytes"
        elif kind == "MODULUS":
            assert isinstance(value, bytes)
            assert len(value) == len(bytes.fromhex(text))
            player.modulus = value
        elif kind == "LABEL":
            assert isinstance(value, bytes)
            assert value.rstrip(b"\0") == text.encode(), f"{value!r}"
        else:
            assert value == bytes.fromhex(text), f"{kind} differs"


def _same_signature(player: Player, response: Element, answer: tuple[bytes, bytes]) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    data, signature = answer
    assert len(signature) == len(bytes.fromhex(response.find("Signature").attrib["value"]))  # type: ignore[union-attr]
    key = rsa.RSAPublicNumbers(65537, int.from_bytes(player.modulus)).public_key()
    key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())


def _same_mechanisms(player: Player, response: Element, kinds: list[int]) -> None:
    shown = response.find("MechanismList")
    assert shown is not None
    if "length" in shown.attrib:
        player.bind(shown, "length", len(kinds))
    missing = {one.attrib["value"] for one in shown.findall("Type")} - {CKM.name(kind) for kind in kinds}
    assert not missing, f"no {missing}"


def _same_mechanism(player: Player, response: Element, info: dict[str, Any]) -> None:
    wanted = _flags(response.find("MechanismInfo/Flags").attrib["value"])  # type: ignore[union-attr]
    assert info["flags"] & wanted == wanted, f"flags {info['flags']:#x}"
    assert info["ulMinKeySize"] <= info["ulMaxKeySize"]


def _sane(player: Player, response: Element, struct: Any) -> None:
    """Check the strings of an information structure, and that a slot holds its token."""
    for name, member in player.p11.ffi.typeof(struct).item.fields:
        if member.type.kind == "array" and name != "utcTime":
            text = bytes(player.p11.ffi.buffer(getattr(struct, name)))
            assert b"\0" not in text, f"{name} is not padded with blanks: {text!r}"
            text.decode()
    if response.find("SlotInfo") is not None:
        assert struct.flags & CKF.TOKEN_PRESENT
    if response.find("TokenInfo") is not None:
        assert struct.flags & CKF.TOKEN_INITIALIZED


COMPARED: dict[str, Callable[[Player, Element, Any], None]] = {
    "C_GetInfo": _sane,
    "C_GetSlotInfo": _sane,
    "C_GetTokenInfo": _sane,
    "C_GetSlotList": _same_slots,
    "C_OpenSession": lambda p, response, handle: p.bind(response.find("Session"), "value", handle),  # type: ignore[arg-type]
    "C_FindObjects": _same_objects,
    "C_GetAttributeValue": _same_attributes,
    "C_GetMechanismList": _same_mechanisms,
    "C_GetMechanismInfo": _same_mechanism,
    "C_Sign": _same_signature,
}


# ---- the objects that a script takes for granted


def provide(p11: Cryptoki, script: Path, pin: str | None) -> None:
    """Make what the script will look for, and nothing else; what another script left goes."""
    p11.initialize()
    session = p11.open_session(p11.slots(token_present=True)[0])
    p11.login(session, pin)
    for handle in p11.find(session, {CKA.TOKEN: True}):
        p11.destroy_object(session, handle)
    if script.stem.startswith("AUTH"):
        public = {CKA.TOKEN: True, CKA.LABEL: "testrsa-pub", CKA.MODULUS_BITS: KEY_BITS, CKA.PUBLIC_EXPONENT: b"\1\0\1"}
        private = {CKA.TOKEN: True, CKA.LABEL: "testrsa-pri", CKA.SIGN: True}
        p11.generate_key_pair(session, CKM.RSA_PKCS_KEY_PAIR_GEN, public, private)
    if script.stem.startswith("CERT"):
        der = max(
            (bytes.fromhex(found) for found in re.findall(r'value="(30[0-9a-f]{200,})"', script.read_text())), key=len
        )
        for place in range(5):
            p11.create_object(session, _certificate(der, ROOTS_LABEL if not place else f"root {place}"))
    p11.finalize()


def _certificate(der: bytes, label: str) -> dict[int, Any]:
    from cryptography import x509

    found = x509.load_der_x509_certificate(der)
    kind = {CKA.CLASS: CKO.CERTIFICATE, CKA.CERTIFICATE_TYPE: CKC.X_509, CKA.TOKEN: True, CKA.PRIVATE: False}
    return {**kind, CKA.LABEL: label, CKA.VALUE: der, CKA.SUBJECT: found.subject.public_bytes()}


def play_all(p11: Cryptoki, vectors: Path, pin: str | None) -> Iterator[Step]:
    """Yield the steps of every script in a folder."""
    for script in sorted(vectors.glob("*.xml")):
        provide(p11, script, pin)
        yield from Player(p11, pin).play(script)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("module", type=Path)
    parser.add_argument("vectors", type=Path)
    parser.add_argument("--pin")
    given = parser.parse_args()
    steps = list(play_all(Cryptoki(given.module), given.vectors, given.pin))
    for step in steps:
        if step.wrong:
            print(f"{step.script} {step.number} {step.function}: {step.wrong}")
    for script in sorted({step.script for step in steps}):
        mine = [step for step in steps if step.script == script]
        failed = sum(bool(step.wrong) for step in mine)
        print(f"{script}: {len(mine) - failed} passed, {failed} failed")
    return any(step.wrong for step in steps)


if __name__ == "__main__":
    sys.exit(main())
