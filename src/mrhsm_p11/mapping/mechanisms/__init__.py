"""One row a mechanism: keys, sizes, uses, parameter, and which local engine computes it.

Only what the primitives library can do is here: C_GetMechanismList is this table.
"""

from __future__ import annotations

from mrhsm_p11.mapping.mechanisms import derive, digests, ec, finite, postquantum, rsa, symmetric
from mrhsm_p11.mapping.mechanisms.digests import HASHES
from mrhsm_p11.mapping.mechanisms.row import MechanismRow

__all__ = ["HASHES", "ROWS", "MechanismRow"]

ROWS: dict[int, MechanismRow] = {
    row.type: row for part in (symmetric, rsa, ec, finite, postquantum, digests, derive) for row in part.ROWS
}
