"""Real servers that fork after they loaded their keys from the token: the short form of conformance's part."""

from __future__ import annotations

import pytest
from fix_conformance import Load


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("program", "isolated"), [("Apache", False), ("Apache", True), ("nginx", False)])
def test_a_server_is_reloaded_under_load(
    load: Load, monkeypatch: pytest.MonkeyPatch, program: str, isolated: bool
) -> None:
    part, places, prefork = load("check_prefork"), load("places"), load("prefork")
    monkeypatch.setattr(part, "RELOADS", 2)
    monkeypatch.setattr(part, "HANDSHAKES", 12)
    try:
        for needed in (prefork.KINDS[program].program, "openssl", "pkcs11-tool"):
            places.need(needed)
        places.need_file("libengine-pkcs11-openssl", "/usr/lib/*/engines-3/pkcs11.so")
    except places.Absent as error:
        pytest.skip(str(error))
    with places.fresh("file") as place:
        _, keys = part.make_keys(place)
        failed = part.Story(prefork.KINDS[program], place).reloaded(keys, isolated)
    assert not [what for what in failed if "ALERT" in what.upper()], failed  # a connection may be cut by any reload
