"""Attribute values as JSON and back, without loss: the form in which the file store keeps them.

Booleans, numbers and text stand for themselves, a list is a tuple, an object with the one member "b" is bytes in
Base-64, with "a" the attributes of a template by decimal type.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping

from mrhsm_p11.store.base import Attributes, Value
from mrhsm_p11.tokendir.codec import Json, Malformed


def to_json(attributes: Attributes) -> dict[str, Json]:
    return {str(cka): _one_to_json(value) for cka, value in attributes.items()}


def from_json(document: object) -> dict[int, Value]:
    """Read what `to_json` made. Raises Malformed."""
    if not isinstance(document, Mapping):
        raise Malformed("attributes are not an object")
    try:
        return {int(cka): _one_from_json(value) for cka, value in document.items()}
    except ValueError as error:
        raise Malformed(f"an attribute is not readable: {error}") from None


def _one_to_json(value: Value) -> Json:
    if isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, bytes):
        return {"b": binascii.b2a_base64(value, newline=False).decode()}
    if isinstance(value, tuple):
        return list(value)
    return {"a": to_json(value)}


def _one_from_json(value: object) -> Value:
    if isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, list) and all(type(item) is int for item in value):
        return tuple(value)
    if isinstance(value, dict) and len(value) == 1:
        if isinstance(content := value.get("b"), str):
            return binascii.a2b_base64(content, strict_mode=True) if content else b""
        if "a" in value:
            return from_json(value["a"])
    raise Malformed("a value of no known kind")
