"""Objects keep their attributes at each product that has a profile, as the trial appliance imitates it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fix_appliance import Appliance
from fix_kmip_store import KmipPlace
from fix_stores import aes_key, data_object, ec_pair, kept

from mrhsm_p11 import deadline
from mrhsm_p11.config import PROFILES, Config
from mrhsm_p11.constants import CKA
from mrhsm_p11.errors import CryptokiError
from mrhsm_p11.kmip.profiles import ROWS
from mrhsm_p11.kmip.vocabulary import ObjectType
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import KeyState, ObjectGone

PATIENT = Config(cache_seconds=0.0, connect_s=60.0)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("profile", PROFILES)
def test_objects_keep_their_attributes(
    make_kmip_place: Callable[..., KmipPlace], make_appliance: Callable[..., Appliance], profile: str
) -> None:
    row = ROWS[profile]
    version = next((f"{a}.{b}" for a, b in reversed(row.versions) if a == 1), "1.4")
    place = make_kmip_place(make_appliance(imitate=profile), kmip_version=version, config=PATIENT)
    secret = aes_key(LABEL="twin", ID=b"\1\2", EXTRACTABLE=False, LOCAL=True)
    public, private = ec_pair(LABEL="pair", ID=b"p")
    with deadline.limit(120):
        store = place.open()
        twins = [store.generate({**secret, CKA.VALUE_LEN: 32}).uid for _ in range(2)]
        halves = [record.uid for record in store.insert_pair(public, private)]
        again = place.open()
        assert {record.uid for record in again.search({})} == {*twins, *halves}
        for uid in twins:
            record = again.load(uid)
            assert kept(record, secret) == secret
            assert record.state is KeyState.ACTIVE
            assert len(again.material(uid)) == 32
        for uid, (given, material) in zip(halves, (public, private), strict=True):
            assert kept(again.load(uid), given) == given
            assert again.material(uid) == material
        if row.objects and ObjectType.OPAQUE_DATA not in row.objects:
            with pytest.raises(CryptokiError):
                store.insert(data_object(LABEL="x"), Secret(b"a value"))
        else:
            value = store.insert(data_object(LABEL="x"), Secret(b"a value")).uid
            assert place.open().material(value) == Secret(b"a value")
        again.delete(twins[0])
        with pytest.raises(ObjectGone):
            place.open().load(twins[0])
