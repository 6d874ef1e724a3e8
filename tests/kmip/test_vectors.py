"""Every request and response of the OASIS profile cases decodes into our structures and encodes to the same bytes.

The XML is turned to TTLV by code of its own, conformance/kmip/oasis.py.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

from mrhsm_p11.kmip import codec
from mrhsm_p11.kmip.messages import RequestMessage, ResponseMessage
from mrhsm_p11.kmip.structure import Structure

PROJECT = Path(__file__).resolve().parents[2]
FILES = sorted((PROJECT.parent / "shared" / "vectors" / "kmip").rglob("*.xml"))
pytestmark = pytest.mark.skipif(not FILES, reason="the OASIS profile cases are not beside the project")
KINDS = {"RequestMessage": RequestMessage, "ResponseMessage": ResponseMessage}


@pytest.fixture
def oasis(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(PROJECT / "conformance" / "kmip")
    yield importlib.import_module("oasis")
    del sys.modules["oasis"]


def irregular(value: object) -> Iterator[Structure]:
    """Yield the structures within a value that hold items they have no field for, or in another order.

    Not those of which nothing is known: payloads of operations that are none of ours.
    """
    if isinstance(value, tuple):
        for one in value:
            yield from irregular(one)
    elif isinstance(value, Structure):
        if (value.unknown or value.order) and type(value) is not Structure:
            yield value
        for f in fields(value):
            yield from irregular(getattr(value, f.name))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_case_decodes_and_encodes_identically(file: Path, oasis: ModuleType) -> None:
    count = 0
    for element in oasis.messages(file):
        encoding = oasis.ttlv(element)
        decoded = codec.decode(KINDS[element.tag], encoding)
        header = decoded.request_header if isinstance(decoded, RequestMessage) else decoded.response_header
        # With the version: nothing in the message may be what we think came later.
        assert bytes(codec.encode(decoded, header.protocol_version.version)) == encoding
        assert not list(irregular(decoded))
        count += 1
    assert count >= 2


def test_no_message_was_missed(oasis: ModuleType) -> None:
    first = [file for file in FILES if file.parent.name in ("v1.0", "v1.4")]
    # 4 more stand in a comment of CS-BC-M-GCM-3-14.
    assert len(first) == 125
    assert sum(1 for file in first for _ in oasis.messages(file)) == 1712
