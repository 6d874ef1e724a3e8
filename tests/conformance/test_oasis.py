"""The replay of the OASIS profile cases tells passed, failed and refused apart."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from fix_appliance import Appliance

from mrhsm_p11.kmip.client import Client
from mrhsm_p11.kmip.pool import Pool
from mrhsm_p11.kmip.transport import Endpoint, Identity
from mrhsm_p11.secret import Secret

FOLDER = Path(__file__).resolve().parents[2] / "conformance" / "kmip"

CASE = """<KMIP>
<RequestMessage>
  <RequestHeader>
    <ProtocolVersion>
      <ProtocolVersionMajor type="Integer" value="1"/><ProtocolVersionMinor type="Integer" value="4"/>
    </ProtocolVersion>
    <BatchCount type="Integer" value="1"/>
  </RequestHeader>
  <BatchItem>
    <Operation type="Enumeration" value="{operation}"/>
    <RequestPayload>{asked}</RequestPayload>
  </BatchItem>
</RequestMessage>
<ResponseMessage>
  <ResponseHeader>
    <ProtocolVersion>
      <ProtocolVersionMajor type="Integer" value="1"/><ProtocolVersionMinor type="Integer" value="4"/>
    </ProtocolVersion>
    <TimeStamp type="DateTime" value="$NOW"/>
    <BatchCount type="Integer" value="1"/>
  </ResponseHeader>
  <BatchItem>
    <Operation type="Enumeration" value="{operation}"/>
    <ResultStatus type="Enumeration" value="{status}"/>
    {answered}
  </BatchItem>
</ResponseMessage>
</KMIP>
"""
KEY = """<ObjectType type="Enumeration" value="SymmetricKey"/><TemplateAttribute>
  <Attribute><AttributeName type="TextString" value="Cryptographic Algorithm"/>
    <AttributeValue type="Enumeration" value="AES"/></Attribute>
  <Attribute><AttributeName type="TextString" value="Cryptographic  Length"/>
    <AttributeValue type="Integer" value="{bits}"/></Attribute>
  <Attribute><AttributeName type="TextString" value="Cryptographic Usage Mask"/>
    <AttributeValue type="Integer" value="Encrypt Decrypt"/></Attribute></TemplateAttribute>"""
MADE = """<ResponsePayload><ObjectType type="Enumeration" value="{kind}"/>
  <UniqueIdentifier type="TextString" value="$UNIQUE_IDENTIFIER_0"/></ResponsePayload>"""
NONE = '<UniqueIdentifier type="TextString" value="none such"/>'
CASES = {
    "PASSED": ("Create", KEY.format(bits=256), "Success", MADE.format(kind="SymmetricKey")),
    "FAILED": ("Create", KEY.format(bits=256), "Success", MADE.format(kind="PublicKey")),
    "REFUSED": ("Create", KEY.format(bits=13), "Success", MADE.format(kind="SymmetricKey")),
    "PASSED, a refusal": ("Destroy", NONE, "OperationFailed", ""),
    "FAILED, no refusal": ("Create", KEY.format(bits=256), "OperationFailed", ""),
    "REFUSED by us": ("Poll", "", "Success", ""),
}


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module("replay")
    del sys.modules["replay"], sys.modules["oasis"]


@pytest.mark.parametrize("name", CASES)
def test_what_becomes_of_a_case(replay: ModuleType, appliance: Appliance, tmp_path: Path, name: str) -> None:
    operation, asked, status, answered = CASES[name]
    file = tmp_path / "CASE-M-1-14.xml"
    file.write_text(CASE.format(operation=operation, asked=asked, status=status, answered=answered))
    certificates = appliance.certificates
    identity = Identity(
        certificates.ca.read_bytes(),
        certificates.certificate("client").read_bytes(),
        Secret(certificates.key("client").read_bytes()),
    )
    pool = Pool([Endpoint(appliance.host, appliance.port)], identity, None)
    result = replay.replay(file, Client(pool))
    pool.close()
    assert result.outcome.name == name.replace(",", " ").split(maxsplit=1)[0], result
    assert (result.version, bool(result.why)) == ("1.4", not name.startswith("PASSED"))
