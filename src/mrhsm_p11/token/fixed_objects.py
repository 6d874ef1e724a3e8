"""Objects that are there without being stored: nothing makes, changes or destroys them through PKCS #11."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NoReturn

from mrhsm_p11.config import Config
from mrhsm_p11.constants import CKA, CKO, CKP
from mrhsm_p11.errors import ActionProhibited
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import Attributes, ObjectGone, Record, Store, Value

FIXED: dict[int, Value] = {CKA.DESTROYABLE: False, CKA.MODIFIABLE: False, CKA.COPYABLE: False, CKA.TOKEN: True}

# The profiles whose conditions this library meets; conformance/pkcs11/profiles.py plays their test cases.
PROFILES = (
    CKP.BASELINE_PROVIDER,
    CKP.EXTENDED_PROVIDER,
    CKP.AUTHENTICATION_TOKEN,
    CKP.PUBLIC_CERTIFICATES_TOKEN,
)
# Classes of which no server and no file has objects; of hardware features and validations there are none at all.
CLASSES = (CKO.PROFILE, CKO.MECHANISM, CKO.HW_FEATURE, CKO.VALIDATION)


class FixedObjects(Store):
    """Records and the values of those that have one, by unique identifier."""

    def __init__(self, records: Iterable[Record], values: Mapping[str, bytes]) -> None:
        self._records = {record.uid: record for record in records}
        self._values = values

    def insert(self, attributes: Attributes, material: Secret) -> NoReturn:
        raise ActionProhibited("such objects are not made through PKCS #11")

    def generate(self, attributes: Attributes) -> NoReturn:
        raise ActionProhibited("such objects are not made through PKCS #11")

    def search(self, wanted: Attributes) -> Iterable[Record]:
        return self._records.values()

    def load(self, uid: str) -> Record:
        try:
            return self._records[uid]
        except KeyError:
            raise ObjectGone(uid) from None

    def material(self, uid: str) -> Secret:
        self.load(uid)
        return Secret(self._values.get(uid, b""))

    def delete(self, uid: str) -> NoReturn:
        raise ActionProhibited("such objects are not destroyed through PKCS #11")


class Capabilities(FixedObjects):
    """What the token tells of itself: an object for each profile and for each mechanism."""

    def __init__(self, config: Config) -> None:
        from mrhsm_p11.token import usage

        super().__init__([*map(_profile, PROFILES), *(_mechanism(row.type) for row in usage.offered(config))], {})

    def search(self, wanted: Attributes) -> Iterable[Record]:
        """Return none unless their class, or the attribute that only they have, is wanted.

        So the standard says of mechanism objects; of profile objects see the decision "Profiles are found by name".
        """
        asked = wanted.get(CKA.CLASS) in CLASSES or not wanted.keys().isdisjoint((CKA.PROFILE_ID, CKA.MECHANISM_TYPE))
        return self._records.values() if asked else ()


def _profile(profile: int) -> Record:
    attributes = {**FIXED, CKA.CLASS: CKO.PROFILE, CKA.PRIVATE: False, CKA.LABEL: "", CKA.PROFILE_ID: profile}
    return Record(f"l-profile-{profile:x}", attributes)


def _mechanism(mechanism: int) -> Record:
    return Record(f"l-mechanism-{mechanism:x}", {CKA.CLASS: CKO.MECHANISM, CKA.MECHANISM_TYPE: mechanism})
