"""Every type of key pair and domain parameters in every store, read back by another process and on another host."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pytest
from fix_stores import StoreUnderTest

from mrhsm_p11.constants import CKA, CKM, CKO, CKP
from mrhsm_p11.crypto import engine, material
from mrhsm_p11.mapping.attributes import for_class, supported
from mrhsm_p11.mapping.mechanisms import ROWS
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import Record, Store, Value
from mrhsm_p11.token import rules
from mrhsm_p11.token.objects import Object
from mrhsm_p11.token.rules import Origin

if TYPE_CHECKING:
    from fix_appliance import Server
    from fix_kmip_store import KmipPlace

HAS_KMIP = importlib.util.find_spec("fix_kmip_store") is not None
STORES = ["memory_store", "file_store", *(["kmip_store"] if HAS_KMIP else [])]


def curve(oid: str) -> dict[int, Value]:
    return {CKA.EC_PARAMS: bytes.fromhex(oid)}


def group(mechanism: int, bits: int) -> dict[int, Value]:
    row = ROWS[mechanism]
    made = engine.generate_parameters(row, {CKA.PRIME_BITS: bits})
    seen = material.derived(CKO.DOMAIN_PARAMETERS, row.key_types[0], made)
    return {cka: value for cka, value in seen.items() if cka not in (CKA.PRIME_BITS, CKA.SUBPRIME_BITS)}


# name -> mechanism that makes the pair, what its public template says
PAIRS: dict[str, tuple[int, dict[int, Value]]] = {
    "RSA": (CKM.RSA_PKCS_KEY_PAIR_GEN, {CKA.MODULUS_BITS: 1024}),
    "P-256": (CKM.EC_KEY_PAIR_GEN, curve("06082a8648ce3d030107")),
    "secp256k1": (CKM.EC_KEY_PAIR_GEN, curve("06052b8104000a")),
    "brainpoolP512r1": (CKM.EC_KEY_PAIR_GEN, curve("06092b240303020801010d")),
    "Ed25519": (CKM.EC_EDWARDS_KEY_PAIR_GEN, curve("06032b6570")),
    "Ed448": (CKM.EC_EDWARDS_KEY_PAIR_GEN, curve("06032b6571")),
    "X25519": (CKM.EC_MONTGOMERY_KEY_PAIR_GEN, curve("06032b656e")),
    "X448": (CKM.EC_MONTGOMERY_KEY_PAIR_GEN, curve("06032b656f")),
    "DSA": (CKM.DSA_KEY_PAIR_GEN, group(CKM.DSA_PARAMETER_GEN, 1024)),
    "DH": (CKM.DH_PKCS_KEY_PAIR_GEN, group(CKM.DH_PKCS_PARAMETER_GEN, 2048)),
    "ML-KEM-768": (CKM.ML_KEM_KEY_PAIR_GEN, {CKA.PARAMETER_SET: CKP.ML_KEM_768}),
    "ML-KEM-1024": (CKM.ML_KEM_KEY_PAIR_GEN, {CKA.PARAMETER_SET: CKP.ML_KEM_1024}),
    "ML-DSA-44": (CKM.ML_DSA_KEY_PAIR_GEN, {CKA.PARAMETER_SET: CKP.ML_DSA_44}),
    "ML-DSA-87": (CKM.ML_DSA_KEY_PAIR_GEN, {CKA.PARAMETER_SET: CKP.ML_DSA_87}),
}
names = pytest.mark.parametrize("name", PAIRS)


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest) -> StoreUnderTest:
    found: StoreUnderTest = request.getfixturevalue(request.param)
    return found


def completed(cls: int, key_type: int, mechanism: int, **more: Value) -> dict[int, Value]:
    """Return what the token layer says of a new object."""
    values: dict[int, Value] = {CKA.CLASS: cls, CKA.KEY_TYPE: key_type, CKA.TOKEN: True, CKA.LABEL: "a label"}
    return rules.complete(values | {getattr(CKA, k): v for k, v in more.items()}, Origin.GENERATE, None, mechanism)


def require_same(store: Store, record: Record, given: Mapping[int, Value], secret: Secret) -> None:
    found = store.load(record.uid)
    assert not found.foreign
    assert {cka: found.attributes.get(cka) for cka in given} == given
    assert store.material(record.uid) == secret
    assert any(one.uid == record.uid for one in store.search({CKA.LABEL: "a label"}))
    shown = Object(1, store, found)
    cls, key_type = given[CKA.CLASS], given[CKA.KEY_TYPE]
    assert isinstance(cls, int)
    assert isinstance(key_type, int)
    of_material = material.derived(cls, key_type, secret)
    for cka in for_class(cls, key_type):
        if cka in of_material:
            assert shown.value(cka) == of_material[cka]
    if cls != CKO.DOMAIN_PARAMETERS:
        assert len(shown.value(CKA.ID)) == 20  # type: ignore[arg-type]  # SHA-1 of the public key, by default


def test_every_type_of_pair_is_here() -> None:
    made = {ROWS[mechanism].key_types[0] for mechanism, _ in PAIRS.values()}
    assert made == {key_type for key_type in range(0x80) if supported(CKO.PRIVATE_KEY, key_type)}


@names
def test_pairs_survive(place: StoreUnderTest, name: str) -> None:
    mechanism, template = PAIRS[name]
    row = ROWS[mechanism]
    spki, pkcs8 = engine.generate_pair(row, template, {})
    public = completed(CKO.PUBLIC_KEY, row.key_types[0], mechanism)
    private = completed(CKO.PRIVATE_KEY, row.key_types[0], mechanism, SENSITIVE=False, EXTRACTABLE=True)
    records = place.open().insert_pair((public, spki), (private, pkcs8))
    for store in (place.open(), place.open()):
        for record, given, secret in zip(records, (public, private), (spki, pkcs8), strict=True):
            require_same(store, record, given, secret)


@pytest.mark.parametrize("mechanism", [CKM.DSA_PARAMETER_GEN, CKM.DH_PKCS_PARAMETER_GEN])
def test_domain_parameters_survive(place: StoreUnderTest, mechanism: int) -> None:
    row = ROWS[mechanism]
    made = engine.generate_parameters(row, {CKA.PRIME_BITS: 1024 if row.family == "dsa" else 2048})
    given = completed(CKO.DOMAIN_PARAMETERS, row.key_types[0], mechanism)
    assert given[CKA.LOCAL] is True
    record = place.open().insert(given, made)
    require_same(place.open(), record, given, made)


@pytest.mark.skipif(not HAS_KMIP, reason="no KMIP store")
@names
def test_another_host_reads_pairs_from_the_server_alone(
    make_kmip_place: Callable[..., KmipPlace], appliance: Server, name: str
) -> None:
    kmip_place = make_kmip_place(appliance)
    mechanism, template = PAIRS[name]
    row = ROWS[mechanism]
    spki, pkcs8 = engine.generate_pair(row, template, {})
    public = completed(CKO.PUBLIC_KEY, row.key_types[0], mechanism)
    private = completed(CKO.PRIVATE_KEY, row.key_types[0], mechanism)
    records = kmip_place.open().insert_pair((public, spki), (private, pkcs8))
    elsewhere = kmip_place.open("elsewhere")
    require_same(elsewhere, records[0], public, spki)
    require_same(elsewhere, records[1], private, pkcs8)
