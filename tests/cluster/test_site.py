from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from fix_cluster import CLDB_BYTES, Home

from mrhsm_p11.cluster.keys import CLDB, DARE
from mrhsm_p11.cluster.site import SiteFileRefused, cluster_name, has_legacy_key, legacy_key

HEX = CLDB_BYTES.hex().encode()
RAW = bytes(range(200, 232))


@pytest.mark.parametrize(
    "text",
    ["my.cluster.com secure=true n1:7222\nother n9:7222\n", "\n# comment\n  my.cluster.com n1\n", "my.cluster.com"],
)
def test_cluster_name_is_the_first_word(home: Home, text: str) -> None:
    (home.conf / "mapr-clusters.conf").write_text(text)
    assert cluster_name(home.conf) == "my.cluster.com"


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "names no cluster"), (b"# only\n", "names no cluster"), (b"\xff\xfe", "not text"), (b"a/b n1", "'a/b'")],
)
def test_cluster_name_refused(home: Home, content: bytes, says: str) -> None:
    (home.conf / "mapr-clusters.conf").write_bytes(content)
    with pytest.raises(SiteFileRefused, match=says):
        cluster_name(home.conf)


def test_cluster_name_without_the_file(home: Home) -> None:
    (home.conf / "mapr-clusters.conf").unlink()
    with pytest.raises(SiteFileRefused, match=r"mapr-clusters\.conf: No such file"):
        cluster_name(home.conf)


@pytest.mark.parametrize(
    ("content", "bytes_"),
    [
        (HEX, CLDB_BYTES),
        (HEX.upper() + b"\n", CLDB_BYTES),
        (base64.b64encode(CLDB_BYTES), CLDB_BYTES),
        (base64.b64encode(CLDB_BYTES) + b"\r\n", CLDB_BYTES),
        (RAW, RAW),
        (b"\n" * 32, b"\n" * 32),
    ],
    ids=["hex", "HEX", "base64", "base64 line", "raw", "raw line ends"],
)
def test_cldb_key_forms(home: Home, content: bytes, bytes_: bytes) -> None:
    (home.conf / "cldb.key").write_bytes(content)
    found = legacy_key(home.conf, CLDB)
    assert found is not None
    assert found.reveal() == bytes_


@pytest.mark.parametrize(
    ("content", "length"),
    [
        (b"", "0 bytes"),
        (RAW[:31], "31 bytes"),
        (RAW + b"\n", "33 bytes"),
        (HEX[:32], "32 bytes"),  # a 16-byte key in hex is no raw key
        (HEX[:-1], "63 bytes"),
        (base64.b64encode(RAW[:24]), "32 bytes"),
        (base64.b64encode(RAW * 2), "88 bytes"),
        (b"x" * 5000, "too many bytes"),
    ],
)
def test_cldb_key_refused_with_length_and_forms(home: Home, content: bytes, length: str) -> None:
    (home.conf / "cldb.key").write_bytes(content)
    with pytest.raises(SiteFileRefused) as refused:
        legacy_key(home.conf, CLDB)
    assert length in str(refused.value)
    assert "32 bytes in Base-64 or 64 hex digits or 32 raw bytes" in str(refused.value)


def test_dare_key_is_hex_only(home: Home) -> None:
    path = home.conf / "dare.master.key"
    path.write_bytes(HEX + b"\n")
    found = legacy_key(home.conf, DARE)
    assert found is not None
    assert found.reveal() == CLDB_BYTES
    wrong: Callable[[], object] = lambda: legacy_key(home.conf, DARE)  # noqa: E731
    for content in (RAW, base64.b64encode(CLDB_BYTES), HEX[:-2], b"\n"):
        path.write_bytes(content)
        with pytest.raises(SiteFileRefused, match=f"{len(content)} bytes, and the key must be 64 hex digits"):
            wrong()


def test_empty_dare_key_is_a_marker_and_an_absent_file_no_key(home: Home) -> None:
    assert legacy_key(home.conf, CLDB) is None
    assert legacy_key(home.conf, DARE) is None
    (home.conf / "dare.master.key").touch()
    assert not has_legacy_key(home.conf, DARE)
    assert legacy_key(home.conf, DARE) is None


def test_unreadable_key(home: Home) -> None:
    (home.conf / "cldb.key").mkdir()
    with pytest.raises(SiteFileRefused, match=r"cannot read .*cldb\.key: Is a directory"):
        legacy_key(home.conf, CLDB)
