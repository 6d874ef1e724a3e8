"""A PKCS #11 module whose keys live in a KMIP key manager."""

__version__ = "0.1.0"
