"""Whose bytes stay at the key manager, and what is known of such keys without them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from mrhsm_p11.constants import CKA, CKO
from mrhsm_p11.crypto import families, material
from mrhsm_p11.errors import CryptokiError, KeyFunctionNotPermitted
from mrhsm_p11.kmip.attributes import Attribute, attribute
from mrhsm_p11.kmip.vocabulary import version_text
from mrhsm_p11.mapping.attributes import for_class
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import Attributes, Record, Value
from mrhsm_p11.store.kmip.connection import NotConfigured, Servers
from mrhsm_p11.store.kmip.records import Entry, kind_of
from mrhsm_p11.tokendir import custody as probed

if TYPE_CHECKING:
    from mrhsm_p11.crypto.base import KeptKey
    from mrhsm_p11.tokendir.files import TokenDirectory

KEPT = (CKO.SECRET_KEY, CKO.PRIVATE_KEY)
USES_KEYS = (1, 2)  # the version of KMIP that brought Encrypt and its like
MARKS = (1, 4)  # and Sensitive and Extractable
MARK_NAMES = ("Sensitive", "Extractable")


class Custody:
    """Custody "appliance" of one token's keys."""

    def __init__(self, servers: Servers, directory: TokenDirectory, serial: str) -> None:
        self._servers = servers
        self._directory = directory
        self._serial = serial

    def holds(self, record: Record) -> bool:
        """Tell whether an object's bytes do not leave the key manager."""
        return record.attributes.get(CKA.CLASS) in KEPT

    def require_attributes(self) -> None:
        """Raise NotConfigured: the one who calls has found that objects can be read by Get alone."""
        raise NotConfigured(
            'custody = "appliance" needs a key manager with Get Attributes: Get would hand out the keys'
        )

    def key(self, record: Record, refused: Callable[[], None]) -> KeptKey:
        """Return what asks for operations with a key. `refused` is called when the server does not let it be used."""
        from mrhsm_p11.store.kmip.remote import RemoteKey

        version = self._servers.version()
        if version < USES_KEYS:
            raise NotConfigured(
                f'custody = "appliance" needs KMIP 1.2 or later, not {version_text(version)}: '
                "set it with mrhsm set -kmipversion"
            )
        return RemoteKey(self._servers, record, probed.read(self._directory, self._serial), refused)

    def refuse(self, record: Record) -> None:
        """Raise KeyFunctionNotPermitted for a key whose bytes are asked for."""
        if self.holds(record):
            raise KeyFunctionNotPermitted("the key's bytes do not leave the key manager, and this needs them here")

    def marks(self, attributes: Attributes) -> list[Attribute]:
        """Return what tells a server of 1.4 that the bytes are to stay where they are."""
        if attributes.get(CKA.CLASS) not in KEPT or self._servers.version() < MARKS:
            return []
        return [attribute("Sensitive", True), attribute("Extractable", attributes.get(CKA.EXTRACTABLE) is True)]

    def prepared(self, attributes: Attributes, secret: Secret | None) -> Attributes:
        """Return a new object's attributes with what cannot be read of the key later: a private key's public half."""
        cls, key_type = kind_of(attributes)
        if cls not in KEPT:
            return attributes
        told: dict[int, Value] = {CKA.SENSITIVE: True}
        if cls == CKO.PRIVATE_KEY and secret is not None:
            public = material.public_derived(cls, key_type, secret).get(CKA.PUBLIC_KEY_INFO)
            if public is not None:
                told[CKA.PUBLIC_KEY_INFO] = public
        return {**attributes, **told}


def shown(entry: Entry) -> Entry:
    """Return a key as it is in this custody: sensitive whatever it was made as, with its public numbers."""
    cls, key_type = kind_of(entry.record.attributes)
    if cls not in KEPT:
        return entry
    attributes: dict[int, Value] = {**entry.record.attributes, CKA.SENSITIVE: True}
    public = attributes.get(CKA.PUBLIC_KEY_INFO)
    if cls == CKO.PRIVATE_KEY and isinstance(public, bytes):
        own = for_class(cls, key_type)
        try:
            numbers = families.key_form(key_type).public_attributes(public)
        except (ValueError, CryptokiError):
            numbers = {}
        attributes.update({cka: value for cka, value in numbers.items() if cka in own})
    return replace(entry, record=replace(entry.record, attributes=MappingProxyType(attributes)))
