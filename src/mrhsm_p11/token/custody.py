"""What is told of mechanisms where key bytes stay at the key manager: what serves such keys, or needs none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrhsm_p11 import answers
from mrhsm_p11.constants import CKF
from mrhsm_p11.crypto.families import KEY_FORMS

if TYPE_CHECKING:
    from mrhsm_p11.config import Config
    from mrhsm_p11.mapping.mechanisms import MechanismRow
    from mrhsm_p11.token.slots import Slot
    from mrhsm_p11.tokendir.custody import Served

KEYLESS = CKF.DIGEST | CKF.GENERATE | CKF.GENERATE_KEY_PAIR
# What a public key does, whose bytes anyone may have.
PUBLIC = CKF.ENCRYPT | CKF.VERIFY | CKF.VERIFY_RECOVER | CKF.WRAP | CKF.ENCAPSULATE | CKF.MESSAGE_VERIFY
_USES = (
    *(KEYLESS, PUBLIC, CKF.DECRYPT, CKF.SIGN, CKF.SIGN_RECOVER, CKF.UNWRAP, CKF.DERIVE, CKF.DECAPSULATE),
    *(CKF.MESSAGE_ENCRYPT, CKF.MESSAGE_DECRYPT, CKF.MESSAGE_SIGN),
)
USES = 0
for _flags in _USES:
    USES |= _flags
ALONG = {CKF.ENCRYPT: CKF.WRAP, CKF.DECRYPT: CKF.UNWRAP}  # a key that encrypts data wraps keys of a session too


def served(config: Config, slot: Slot) -> Served | None:
    """Return what the slot's key managers were seen to do, None where the bytes are used here or nothing is known."""
    if config.custody != "appliance" or slot.token is None:
        return None
    from mrhsm_p11.tokendir import custody

    answers.changed()  # `mrhsm doctor` may write it at any time: what follows from it is not told again
    return custody.read(slot.token.directory, slot.token.serial)


def told_flags(row: MechanismRow, seen: Served | None) -> int:
    """Return the flags of C_GetMechanismInfo; 0 for a mechanism that is not to be listed."""
    if seen is None:
        return row.told_flags
    uses = KEYLESS | (PUBLIC if KEY_FORMS.keys() & set(row.key_types) else 0)
    for (mechanism, flag), way in seen.items():
        if mechanism == row.type and way >= 0:
            uses |= flag | ALONG.get(flag, 0)
    uses &= row.flags
    if not uses:
        return 0
    multi = row.told_flags & CKF.MULTI_MESSAGE if uses & CKF.MESSAGE_VERIFY else 0
    return uses | multi | row.flags & ~USES
