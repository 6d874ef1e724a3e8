"""Certificates as OpenSSL writes them on one line: names, dates, algorithms."""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.x509.oid import NameOID, PublicKeyAlgorithmOID

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_SHORT_NAMES = {
    NameOID.COUNTRY_NAME: "C",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.LOCALITY_NAME: "L",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.COMMON_NAME: "CN",
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.SURNAME: "SN",
    NameOID.GIVEN_NAME: "GN",
    NameOID.INITIALS: "initials",
    NameOID.TITLE: "title",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.STREET_ADDRESS: "street",
    NameOID.POSTAL_CODE: "postalCode",
    NameOID.DN_QUALIFIER: "dnQualifier",
    NameOID.PSEUDONYM: "pseudonym",
    NameOID.GENERATION_QUALIFIER: "generationQualifier",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.USER_ID: "UID",
    NameOID.ORGANIZATION_IDENTIFIER: "organizationIdentifier",
    NameOID.UNSTRUCTURED_NAME: "unstructuredName",
}

_ALGORITHMS = {
    PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5: "rsaEncryption",
    PublicKeyAlgorithmOID.RSASSA_PSS: "rsassaPss",
    PublicKeyAlgorithmOID.EC_PUBLIC_KEY: "id-ecPublicKey",
    PublicKeyAlgorithmOID.DSA: "dsaEncryption",
    PublicKeyAlgorithmOID.ED25519: "ED25519",
    PublicKeyAlgorithmOID.ED448: "ED448",
}


def one_line(name: x509.Name) -> str:
    """Return /C=US/ST=... in the order of the certificate; bytes that are not printable ASCII as \\xHH."""
    return "".join(f"/{_SHORT_NAMES.get(part.oid, part.oid.dotted_string)}={_text(part.value)}" for part in name)


def public_key_algorithm(certificate: x509.Certificate) -> str:
    """Return the name of the public key's algorithm, which is what the manual shows as Signature Algorithm."""
    oid = certificate.public_key_algorithm_oid
    return _ALGORITHMS.get(oid, oid.dotted_string)


def moment(when: datetime.datetime) -> str:
    """Return a date as `Aug  5 05:23:00 2029 GMT`."""
    return f"{_MONTHS[when.month - 1]} {when.day:2d} {when:%H:%M:%S} {when.year} GMT"


def _text(value: str | bytes) -> str:
    raw = value.encode() if isinstance(value, str) else value
    return "".join(chr(byte) if 0x20 <= byte <= 0x7E else f"\\x{byte:02X}" for byte in raw)
