"""PyKMIP's enumerations without PyKMIP: in a fresh process, and beside the real package."""

from __future__ import annotations

import enum
import subprocess
import sys
from pathlib import Path

import pytest
from kmip.core import enums

import mrhsm_p11
from mrhsm_p11.kmip import attributes, vocabulary

SOURCE = Path(mrhsm_p11.__file__).parents[1]


def run(program: str) -> None:
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], check=True, timeout=60, env={"PYTHONPATH": str(SOURCE)}
    )


def values(kind: type[enum.Enum]) -> dict[str, object]:
    return {name: member.value for name, member in kind.__members__.items()}


def test_every_enumeration_is_there_with_pykmips_values() -> None:
    for name, kind in vars(enums).items():
        if isinstance(kind, enum.EnumMeta) and name != "ItemType":
            assert values(getattr(vocabulary, name)) == values(kind)


def test_item_types_are_pykmips() -> None:
    ours = {name: value for name, value in vars(vocabulary.ItemType).items() if isinstance(value, int)}
    assert ours == {member.name: member.value for member in enums.ItemType}


def test_nothing_of_the_package_is_left_behind() -> None:
    run(
        "import sys, mrhsm_p11.kmip.client\n"
        "heavy = {'kmip', 'sqlalchemy', 'ssl', 'socket', 'logging', 'asyncio'}\n"
        "loaded = sorted(m for m in sys.modules if m.split('.')[0] in heavy)\n"
        "assert not loaded, loaded"
    )


def test_the_package_can_be_imported_after() -> None:
    run("import mrhsm_p11.kmip.client, kmip\nassert kmip.enums.State.ACTIVE.value == 2 and kmip.KmipClient")


def test_the_package_can_be_imported_before() -> None:
    run("import kmip, mrhsm_p11.kmip.client as c\nassert c.ObjectType.SYMMETRIC_KEY.value == 2")


def test_without_pykmip_the_error_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="PyKMIP is not installed"):
        vocabulary._load_enumerations()


def test_attribute_table_has_every_attribute_that_pykmip_names() -> None:
    known = {name: row.kinds[0][0] for name, row in attributes.attribute_rows().items()}
    assert {member.value for member in enums.AttributeType} - known.keys() == {"Custom Attribute"}
    named = {name: tag.value for name, tag in enums.attribute_name_tag_table}
    assert {name: tag for name, tag in named.items() if name not in ("Attribute", "Custom Attribute")} == known


def test_attributes_are_of_the_versions_that_pykmip_knows_them_of() -> None:
    for version in enums.KMIPVersion:
        number = divmod(round(version.value * 10), 10)
        rows = attributes.attribute_rows().items()
        ours = {name for name, row in rows if (row.since or (1, 0)) <= number <= (row.until or number)}
        theirs = {n for n, tag in enums.attribute_name_tag_table if enums.is_attribute(tag, kmip_version=version)}
        assert theirs - ours == {"Custom Attribute" if number < vocabulary.KMIP_2 else "Attribute"}
        assert not ours - theirs


def test_names_and_masks() -> None:
    bit = vocabulary.CryptographicUsageMask
    assert vocabulary.mask(bit.ENCRYPT, bit.DECRYPT, bit.ENCRYPT) == 12
    assert vocabulary.reason_name(1) == "ITEM_NOT_FOUND"
    assert vocabulary.reason_name(0x80000001) == "0x80000001"
    assert vocabulary.tag_name(0x420094) == "UNIQUE_IDENTIFIER"
    assert vocabulary.tag_name(0x540001) == "0x540001"
