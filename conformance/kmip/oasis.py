"""The OASIS profile cases: their XML as TTLV, by code that shares nothing with the codec but PyKMIP's numbers."""

from __future__ import annotations

import datetime
import enum
import re
import struct
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from kmip.core import enums

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "kmip"
FILES = sorted(FOLDER.rglob("*.xml"))

TYPES = {
    name: i
    for i, name in enumerate(
        (
            "Structure",
            "Integer",
            "LongInteger",
            "BigInteger",
            "Enumeration",
            "Boolean",
            "TextString",
            "ByteString",
            "DateTime",
            "Interval",
            "DateTimeExtended",
        ),
        1,
    )
}
NOW = 1_700_000_000


def plain(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", name.upper())


TAGS = {plain(name): tag.value for name, tag in enums.Tags.__members__.items()}
VALUES = {
    plain(name): {plain(member): value.value for member, value in kind.__members__.items()}
    for name, kind in vars(enums).items()
    if isinstance(kind, type) and issubclass(kind, enum.Enum)
}
VALUES["MASKGENERATORHASHINGALGORITHM"] = VALUES["HASHINGALGORITHM"]
VALUES["ATTRIBUTEREFERENCE"] = TAGS
VALUES["UNIQUEIDENTIFIER"] = {"IDPLACEHOLDER": 1}
VALUES["PKCS11FUNCTION"] = {"CINITIALIZE": 1, "CFINALIZE": 2, "CGETINFO": 3}
VALUES["PKCS11RETURNCODE"] = {"OK": 0}
# The names of the XML encoding that PyKMIP spells otherwise.
VALUES["CRYPTOGRAPHICALGORITHM"]["DES3"] = enums.CryptographicAlgorithm.TRIPLE_DES.value
VALUES["OBJECTTYPE"]["OPAQUEOBJECT"] = enums.ObjectType.OPAQUE_DATA.value
VALUES["RNGALGORITHM"]["ANSIX931"] = enums.RNGAlgorithm.ANSI_X931.value


def number(text: str, names: dict[str, int]) -> int:
    """Read an integer, a hexadecimal one, an enumeration's name, or the names of a mask."""
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    if text.startswith("0x"):
        return int(text, 16)
    return sum(names[plain(word)] for word in text.split())


def date(text: str) -> int:
    if found := re.fullmatch(r"\$NOW([+-]\d+)?", text):
        return NOW + int(found[1] or 0)
    return int(datetime.datetime.fromisoformat(text).timestamp())


def content(element: ET.Element, attribute: str) -> bytes:
    """Return the value of a leaf."""
    text = element.get("value", "")
    named = VALUES.get(plain(attribute if element.tag == "AttributeValue" else element.tag), {})
    match element.get("type"):
        case "Integer":
            return struct.pack("!i", number(text, named))
        case "Enumeration" | "Interval":
            return struct.pack("!I", number(text, named))
        case "LongInteger":
            return struct.pack("!q", int(text))
        case "Boolean":
            return struct.pack("!Q", {"true": 1, "false": 0}[text])
        case "TextString":
            return text.encode()
        case "BigInteger":
            return bytes.fromhex(text)
        case "ByteString":
            return text.encode() if text.startswith("$") else bytes.fromhex(text)
        case "DateTime":
            return struct.pack("!q", date(text))
    raise AssertionError(f"{element.tag} has the type {element.get('type')}")


def ttlv(element: ET.Element, attribute: str = "") -> bytes:
    kind = element.get("type", "Structure")
    if kind == "Structure":
        named = element.find("AttributeName")
        attribute = attribute if named is None else named.get("value", "")
        value = b"".join(ttlv(inner, attribute) for inner in element)
    else:
        value = content(element, attribute)
    header = struct.pack("!II", TAGS[plain(element.tag)] << 8 | TYPES[kind], len(value))
    return header + value + bytes(-len(value) % 8)


def messages(file: Path) -> Iterator[ET.Element]:
    """Yield the RequestMessage and ResponseMessage elements of a case, in turn."""
    yield from ET.parse(file).getroot()
