"""What the stores that keep the bytes themselves do alike: make a random key, tell what a search may leave out."""

from __future__ import annotations

from mrhsm_p11.constants import CKA
from mrhsm_p11.crypto import secret_keys
from mrhsm_p11.errors import AttributeValueInvalid, TemplateIncomplete
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import Attributes, Record, Value

KEY_MOST_BYTES = 1 << 20


def random_key(attributes: Attributes) -> tuple[dict[int, Value], Secret]:
    """Make a random secret key of CKA_VALUE_LEN bytes; return what its record keeps, and the key.

    The length is left out of the record: it comes from the material. Raises TemplateIncomplete, AttributeValueInvalid.
    """
    kept = dict(attributes)
    key_bytes = kept.pop(CKA.VALUE_LEN, None)
    if key_bytes is None:
        raise TemplateIncomplete("a secret key needs CKA_VALUE_LEN")
    if not isinstance(key_bytes, int) or not 0 < key_bytes <= KEY_MOST_BYTES:
        raise AttributeValueInvalid(f"a secret key has 1 to {KEY_MOST_BYTES} bytes")
    key_type = kept.get(CKA.KEY_TYPE)
    return kept, secret_keys.make(key_type if isinstance(key_type, int) else None, key_bytes)


def may_match(record: Record, wanted: Attributes) -> bool:
    """Tell whether an object could be wanted: an attribute that its record lacks may come from the material."""
    return all(record.attributes.get(cka, value) == value for cka, value in wanted.items())
