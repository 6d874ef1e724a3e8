"""The decoder and bytes by chance: messages changed in a length, in a type, cut, mixed; and no messages at all.

MRHSM_FUZZ_MESSAGES says how many; MRHSM_FUZZ_SEED makes others.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import struct
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mrhsm_p11.kmip import codec
from mrhsm_p11.kmip.messages import RequestMessage, ResponseMessage
from mrhsm_p11.kmip.ttlv import TTLVError
from mrhsm_p11.kmip.vocabulary import ItemType

Message = type[RequestMessage] | type[ResponseMessage]
Chance = random.Random
COUNT = int(os.environ.get("MRHSM_FUZZ_MESSAGES", "6000"))
SEED = int(os.environ.get("MRHSM_FUZZ_SEED", "1"))
PROJECT = Path(__file__).resolve().parents[2]
FILES = sorted((PROJECT.parent / "shared" / "vectors" / "kmip").rglob("*.xml"))
pytestmark = pytest.mark.skipif(not FILES, reason="the OASIS profile cases are not beside the project")
KINDS: dict[str, Message] = {"RequestMessage": RequestMessage, "ResponseMessage": ResponseMessage}

HEADER = struct.Struct("!II")


Seeds = list[tuple[Message, bytes]]


@pytest.fixture
def seeds(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seeds]:
    """Give every message of the profile cases."""
    monkeypatch.syspath_prepend(PROJECT / "conformance" / "kmip")
    oasis = importlib.import_module("oasis")
    yield [(KINDS[one.tag], oasis.ttlv(one)) for file in FILES for one in oasis.messages(file)]
    del sys.modules["oasis"]


def headers(data: bytearray) -> list[int]:
    """Return where items begin, as far as the bytes still are such."""
    found, at = [], 0
    while at + 8 <= len(data):
        found.append(at)
        head, length = HEADER.unpack_from(data, at)
        at += 8 + (0 if head & 0xFF == ItemType.STRUCTURE else (length + 7) // 8 * 8)
    return found


def flip(data: bytearray, chance: Chance) -> None:
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(len(data))] = chance.randrange(256)


def length(data: bytearray, chance: Chance) -> None:
    at = chance.choice(headers(data))
    there = HEADER.unpack_from(data, at)[1]
    wrong = chance.choice([0, 1, there + 1, there - 1, there + 8, there - 8, len(data), 1 << 31, (1 << 32) - 1])
    struct.pack_into("!I", data, at + 4, wrong % (1 << 32))


def kind(data: bytearray, chance: Chance) -> None:
    data[chance.choice(headers(data)) + 3] = chance.choice([*range(13), 255])


def tag(data: bytearray, chance: Chance) -> None:
    """Make one item look like another of the same message."""
    first, second = chance.choice(headers(data)), chance.choice(headers(data))
    data[first : first + 3] = data[second : second + 3]


def cut(data: bytearray, chance: Chance) -> None:
    del data[chance.randrange(1, len(data)) :]


def repeat(data: bytearray, chance: Chance) -> None:
    """Put one item in once more, and let the message be longer by it."""
    at = chance.choice(headers(data)[1:])
    size = min(8 + (HEADER.unpack_from(data, at)[1] + 7) // 8 * 8, len(data) - at)
    data[at:at] = data[at : at + size]
    struct.pack_into("!I", data, 4, (len(data) - 8) % (1 << 32))


def bury(data: bytearray, chance: Chance) -> None:
    """Wrap an item's place in many structures."""
    at = chance.choice(headers(data))
    for _ in range(chance.choice([1, 31, 33, 400])):
        data[at:at] = HEADER.pack(0x420008 << 8 | ItemType.STRUCTURE, len(data) - at)


CHANGES: list[Callable[[bytearray, Chance], None]] = [flip, length, kind, tag, cut, repeat, bury]


def message(seeds: Seeds, chance: Chance) -> tuple[Message, bytearray]:
    cls, encoding = chance.choice(seeds)
    if chance.random() < 0.02:
        return cls, bytearray(chance.randbytes(chance.randrange(200)))
    data = bytearray(encoding)
    for _ in range(chance.choice([1, 1, 2, 4])):
        if len(headers(data)) > 1:
            chance.choice(CHANGES)(data, chance)
    return cls, data


def test_changed_messages_decode_to_what_encodes_or_are_refused(seeds: Seeds) -> None:
    chance = random.Random(SEED)
    refused = 0
    for number in range(COUNT):
        cls, data = message(seeds, chance)
        try:
            decoded = codec.decode(cls, data)
        except TTLVError:
            refused += 1
            continue
        again = codec.decode(cls, codec.encode(decoded))
        assert again == decoded, f"message {number} of seed {SEED}: {data.hex()}"
    assert COUNT // 10 < refused < COUNT, "nearly all or nearly none was refused: the changes are too wild or too tame"


def test_memory_is_in_proportion_to_the_message(seeds: Seeds) -> None:
    chance = random.Random(SEED)
    codec.decode(*seeds[0])
    tracemalloc.start()
    try:
        for _ in range(COUNT // 20):
            cls, data = message(seeds, chance)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            with contextlib.suppress(TTLVError):
                codec.decode(cls, data)
            peak = tracemalloc.get_traced_memory()[1] - before
            assert peak < 200 * len(data) + 1_000_000, f"{peak} bytes for a message of {len(data)}: {data.hex()}"
    finally:
        tracemalloc.stop()
