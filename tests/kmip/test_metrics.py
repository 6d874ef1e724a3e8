"""Counters of a process, and the file that tells of them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fix_appliance import Appliance
from fix_tokens import USER_PIN, TokenOnDisk
from p11 import Cryptoki

from mrhsm_p11.config import Config
from mrhsm_p11.constants import CKA
from mrhsm_p11.deadline import Deadline
from mrhsm_p11.kmip import metrics
from mrhsm_p11.kmip.attributes import CryptographicParameters
from mrhsm_p11.kmip.client import Client
from mrhsm_p11.kmip.errors import KMIPError, OperationFailed
from mrhsm_p11.kmip.vocabulary import BlockCipherMode, CryptographicAlgorithm, PaddingMethod
from mrhsm_p11.store.kmip.connection import make_pool


def value(text: str, name: str, **labels: str) -> float:
    """Return the one value of a series."""
    wanted = ",".join(f'{label}="{content}"' for label, content in ({"pid": str(os.getpid())} | labels).items())
    (found,) = re.findall(rf"^{re.escape(f'{name}{{{wanted}}}')} (\S+)$", text, re.MULTILINE)
    return float(found)


@pytest.fixture
def client(appliance: Appliance, tmp_path: Path) -> Client:
    return Client(make_pool(appliance.connection(), Config(metrics_file=str(tmp_path / "mrhsm-%p.prom"))))


def test_calls_are_counted_by_operation_and_server(client: Client, appliance: Appliance, tmp_path: Path) -> None:
    for _ in range(3):
        client.discover_versions(deadline=Deadline(10))
    with pytest.raises(OperationFailed):
        client.get("no such object", deadline=Deadline(10))
    client.pool.close()
    file = tmp_path / f"mrhsm-{os.getpid()}.prom"
    text = file.read_text()
    server = f"127.0.0.1:{appliance.port}"
    discover, get = ({"operation": name, "server": server} for name in ("DISCOVER_VERSIONS", "GET"))
    assert value(text, "mrhsm_kmip_call_seconds_count", **discover) == 3
    assert value(text, "mrhsm_kmip_call_seconds_bucket", **discover, le="+Inf") == 3
    assert 0 < value(text, "mrhsm_kmip_call_seconds_sum", **discover) < 30
    assert value(text, "mrhsm_kmip_errors_total", **discover) == 0
    assert value(text, "mrhsm_kmip_errors_total", **get) == 1
    assert value(text, "mrhsm_kmip_server_paused", server=server) == 0
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_what_is_computed_is_counted_by_its_method(client: Client, appliance: Appliance) -> None:
    server = f"127.0.0.1:{appliance.port}"
    cbc = CryptographicParameters(block_cipher_mode=BlockCipherMode.CBC, padding_method=PaddingMethod.PKCS5)
    mac = CryptographicParameters(cryptographic_algorithm=CryptographicAlgorithm.HMAC_SHA256)
    for ask in (
        lambda: client.encrypt("no such key", b"data", cbc, deadline=Deadline(60)),
        lambda: client.encrypt("no such key", b"data", cbc, deadline=Deadline(60)),
        lambda: client.mac("no such key", b"data", mac, deadline=Deadline(60)),
    ):
        with pytest.raises(OperationFailed):
            ask()
    assert client.pool.meters is not None
    text = client.pool.meters.text()
    for operation, method, calls in (("ENCRYPT", "CBC PKCS5", 2), ("MAC", "HMAC_SHA256", 1)):
        labels = {"operation": operation, "method": method, "server": server}
        assert value(text, "mrhsm_kmip_call_seconds_count", **labels) == calls
        assert value(text, "mrhsm_kmip_errors_total", **labels) == calls


def test_hedged_reads_are_counted_by_the_late_server(tmp_path: Path) -> None:
    meters = metrics.Meters(tmp_path / "x", os.getpid())
    for _ in range(2):
        meters.hedge("a:1")
    assert value(meters.text(), "mrhsm_kmip_hedged_reads_total", server="a:1") == 2


def test_the_file_is_right_after_finalize(
    library_path: Path,
    mapr_home: Path,
    make_token: Callable[..., TokenOnDisk],
    make_appliance: Callable[..., Appliance],
) -> None:
    server = make_appliance()
    token = make_token("a token", store="kmip", connection=server.connection())
    (mapr_home / "conf" / "maprhsm.conf").write_text(f'[log]\nmetrics = "{mapr_home}/logs/%p.prom"\n')
    p11 = Cryptoki(library_path)
    p11.initialize()
    session = p11.open_session(token.slot_id)
    p11.login(session, USER_PIN)
    for _ in range(2):
        assert p11.find(session, {CKA.TOKEN: True, CKA.LABEL: "none"}) == []
    p11.finalize()
    text = (mapr_home / "logs" / f"{os.getpid()}.prom").read_text()
    labels = {"operation": "LOCATE", "server": f"127.0.0.1:{server.port}"}
    assert value(text, "mrhsm_kmip_call_seconds_count", **labels) == 2
    assert value(text, "mrhsm_kmip_errors_total", **labels) == 0


def test_a_server_that_failed_is_shown(appliance: Appliance, tmp_path: Path) -> None:
    nobody = replace(appliance.connection(), port=1)
    client = Client(make_pool(nobody, Config(metrics_file=str(tmp_path / "x"))))
    with pytest.raises(KMIPError):
        client.discover_versions(deadline=Deadline(10))
    assert client.pool.meters is not None
    assert value(client.pool.meters.text(), "mrhsm_kmip_server_paused", server="127.0.0.1:1") == 1


def test_times_fall_into_their_slots(tmp_path: Path) -> None:
    meters = metrics.Meters(tmp_path / "x", os.getpid())
    for seconds in (0.0005, 0.001, 0.3, 99.0):
        meters.count("GET", "kms", seconds, good=True)
    series = {"operation": "GET", "server": "kms"}
    counts = [value(meters.text(), "mrhsm_kmip_call_seconds_bucket", **series, le=str(b)) for b in metrics.BOUNDS_S]
    assert counts == [2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3]


def test_a_call_writes_the_file_when_it_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("mrhsm_p11.kmip.metrics.time.monotonic", lambda: now[0])
    meters = metrics.Meters(tmp_path / "x", 1)
    meters.count("GET", "kms", 0.1, good=True)
    assert not (tmp_path / "x").exists()
    now[0] += metrics.EVERY_S
    meters.count("GET", "kms", 0.1, good=True)
    assert "mrhsm_kmip_call_seconds_count" in (tmp_path / "x").read_text()


@pytest.mark.parametrize("where", ["no/folder/x", "a folder"])
def test_a_file_that_cannot_be_written_fails_no_call(appliance: Appliance, tmp_path: Path, where: str) -> None:
    client = Client(make_pool(appliance.connection(), Config(metrics_file=str(tmp_path / where))))
    (tmp_path / "a folder").mkdir()
    client.discover_versions(deadline=Deadline(10))
    client.pool.close()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_nothing_is_counted_unasked(appliance: Appliance) -> None:
    assert make_pool(appliance.connection(), Config()).meters is None
