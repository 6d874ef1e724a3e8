"""The table of products: complete, sourced, and telling them apart."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from fix_appliance import StockAppliance

from mrhsm_p11.config import PROFILES, Config
from mrhsm_p11.deadline import Deadline
from mrhsm_p11.kmip import profiles
from mrhsm_p11.kmip.client import Client
from mrhsm_p11.kmip.profiles import MINIMUM, ROWS
from mrhsm_p11.kmip.vocabulary import Operation, QueryFunction
from mrhsm_p11.store.kmip.connection import make_pool


def test_settings_know_the_rows() -> None:
    assert tuple(ROWS) == PROFILES


@pytest.mark.parametrize("name", ROWS)
def test_each_row_has_its_sources(name: str) -> None:
    row = ROWS[name]
    assert row.sources
    assert all(len(source) > 20 for source in row.sources)
    assert list(row.versions) == sorted(row.versions)
    assert len(MINIMUM - row.operations) <= 1
    assert not (row.complete and row.offers(Operation.ADD_ATTRIBUTE))
    if row.answers:
        assert profiles.recognised(row.answers) == name


def test_a_word_is_of_one_row() -> None:
    words = [(word, name) for name, row in ROWS.items() for word in row.words]
    for word, name in words:
        assert word == word.lower()
        assert [other for text, other in words if text in word] == [name] * len([t for t, _ in words if t in word])


@pytest.mark.parametrize(
    ("vendor", "name"),
    [
        ("", "default"),
        ("Oracle Key Vault", "default"),  # not every vault is HashiCorp's
        ("Utimaco ESKM 8.4", "eskm"),
        ("VORMETRIC Data Security Manager", "dsm"),
        ("cosmian", "cosmian"),
    ],
)
def test_who_is_recognised(vendor: str, name: str) -> None:
    assert profiles.recognised(vendor) == name


def test_what_is_not_listed_is_absent_only_from_a_complete_list() -> None:
    assert ROWS["pykmip"].offers(Operation.REKEY) is False
    assert ROWS["eskm"].offers(Operation.QUERY) is None
    assert ROWS["vault"].offers(Operation.QUERY) is True


def test_pykmip_is_what_its_row_says(stock_appliance: StockAppliance) -> None:
    """The one product that there is to compare a row with."""
    client = Client(make_pool(stock_appliance.connection(), Config(connect_s=60.0)))
    told = client.query([QueryFunction.QUERY_SERVER_INFORMATION], deadline=Deadline(60))
    assert told.vendor_identification == ROWS["pykmip"].answers
    assert set(client.discover_versions(deadline=Deadline(60))) == set(ROWS["pykmip"].versions)
    listed = client.query([QueryFunction.QUERY_OPERATIONS], deadline=Deadline(60)).operation
    assert set(listed) <= ROWS["pykmip"].operations
    client.pool.close()


def test_the_page_is_up_to_date() -> None:
    tool = Path(__file__).parents[2] / "tools" / "vendor_table.py"
    spec = importlib.util.spec_from_file_location("vendor_table", tool)
    assert spec
    assert spec.loader
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    assert table.PAGE.read_text() == table.page(), "run tools/vendor_table.py"
