"""What an X.509 certificate says, read from its DER: as much as PKCS #11 attributes need, tolerant of the rest."""

from __future__ import annotations

import hashlib

from mrhsm_p11.constants import CKA
from mrhsm_p11.crypto import der

_UTC_TIME = 0x17
_GENERALIZED_TIME = 0x18
_VERSION = 0xA0


def attributes(certificate: bytes) -> dict[int, bytes]:
    """Return the attributes that the certificate determines, CKA_VALUE among them. Raises ValueError."""
    signed, _algorithm, _signature = der.elements(der.only(certificate, der.SEQUENCE))
    fields = [der.encode(tag, content) for tag, content in der.elements(_sequence(signed))]
    if fields and fields[0][0] == _VERSION:
        del fields[0]
    if len(fields) < 6:
        raise ValueError("a certificate lacks an element")
    serial_number, _, issuer, validity, subject, public_key = fields[:6]
    times = [_date(*element) for element in der.elements(der.only(validity, der.SEQUENCE))]
    if len(times) != 2 or serial_number[0] != der.INTEGER:
        raise ValueError("a certificate's serial number or validity is malformed")
    for name in (issuer, subject, public_key):
        der.only(name, der.SEQUENCE)
    return {
        CKA.VALUE: certificate,
        CKA.CHECK_VALUE: hashlib.sha1(certificate, usedforsecurity=False).digest()[:3],
        CKA.SUBJECT: subject,
        CKA.ISSUER: issuer,
        CKA.SERIAL_NUMBER: serial_number,
        CKA.START_DATE: times[0],
        CKA.END_DATE: times[1],
        CKA.PUBLIC_KEY_INFO: public_key,
    }


def _sequence(element: tuple[int, bytes]) -> bytes:
    if element[0] != der.SEQUENCE:
        raise ValueError("another element where a SEQUENCE is due")
    return element[1]


def _date(tag: int, content: bytes) -> bytes:
    if tag == _UTC_TIME:  # RFC 5280: years 50 to 99 are 19xx
        content = (b"19" if content[:2] >= b"50" else b"20") + content
    elif tag != _GENERALIZED_TIME:
        raise ValueError("a certificate's validity is no time")
    date = content[:8]
    if len(date) != 8 or not date.isdigit():
        raise ValueError("a certificate's validity is no time")
    return date
