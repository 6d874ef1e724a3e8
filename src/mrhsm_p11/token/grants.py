"""What the C front may do by itself: with which keys, how, and for how long."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from mrhsm_p11 import datapath
from mrhsm_p11.constants import CK, CKA, CKO
from mrhsm_p11.crypto.base import KeptKey, Key
from mrhsm_p11.datapath import KEYLESS_MARK, Grant, Wrapped
from mrhsm_p11.mapping.codecs import ULONG_BYTES
from mrhsm_p11.mapping.native import Native, native, native_pair, native_wrap
from mrhsm_p11.parameters.symmetric import CTRParams, GCMParams
from mrhsm_p11.store.base import KeyState
from mrhsm_p11.token import cluster_objects

if TYPE_CHECKING:
    from mrhsm_p11.crypto.checks import AnyParameter
    from mrhsm_p11.mapping.mechanisms import MechanismRow
    from mrhsm_p11.parameters import Mechanism
    from mrhsm_p11.secret import Secret
    from mrhsm_p11.token.objects import Object
    from mrhsm_p11.token.session import Session

DAY_S = 86_400.0


def begin_digest(session: Session, row: MechanismRow, asked: Mechanism, seen: int) -> bool:
    """Begin a digest in the C front; False: it is to be begun here."""
    how = native(row)
    if how is None:
        return False
    grant = _grant(session, row, "digest", how, CK.INVALID_HANDLE, KEYLESS_MARK, DAY_S)
    return _begin(session, grant, memoryview(b""), asked.parameter, seen)


def begin(
    session: Session, family: str, row: MechanismRow, asked: Mechanism, key: Object, held: Key, seen: int
) -> bool:
    """Begin an operation in the C front with a key that may serve it; False: it is to be begun here.

    `seen` is what datapath.changes said before the key was looked at.
    """
    if isinstance(held, KeptKey) or not row.allows(len(held) * 8):
        return False
    how, lease_s = native(row, len(held) * 8), _lease_s(key)
    if how is None or lease_s <= 0:
        return False
    grant = _grant(session, row, family, how, key.handle, datapath.mark_of(key.uid), lease_s)
    return _begin(session, grant, held.view(), asked.parameter, seen)


def wrap(session: Session, row: MechanismRow, keys: tuple[Object, Object], held: tuple[Key, Key], seen: int) -> None:
    """Let C wrap the second key with the first, which may be done, for as long as what says so holds."""
    (wrapping, wrapped), (kek, plain) = keys, held
    if datapath.path is datapath.OFF or wrapped.cls != CKO.SECRET_KEY:
        return
    if isinstance(kek, KeptKey) or isinstance(plain, KeptKey):
        return
    how, lease_s = native_wrap(row, len(kek) * 8), min(_lease_s(wrapping), _lease_s(wrapped))
    if how is None or lease_s <= 0 or not row.allows(len(kek) * 8):
        return
    grant = _grant(session, row, "wrap", (how, 0), wrapping.handle, datapath.mark_of(wrapping.uid), lease_s)
    datapath.path.grant_wrap(
        seen, grant, kek.view(), Wrapped(wrapped.handle, datapath.mark_of(wrapped.uid)), plain.view()
    )


def unwrap(session: Session, row: MechanismRow, unwrapping: Object, kek: Key, seen: int) -> None:
    """Let C decrypt what is unwrapped with a key, which may be done, for as long as what says so holds."""
    if datapath.path is datapath.OFF or isinstance(kek, KeptKey):
        return
    how, lease_s = native_wrap(row, len(kek) * 8), _lease_s(unwrapping)
    if how is None or lease_s <= 0 or not row.allows(len(kek) * 8):
        return
    grant = _grant(session, row, "unwrap", (how, 0), unwrapping.handle, datapath.mark_of(unwrapping.uid), lease_s)
    datapath.path.grant(seen, grant, kek.view())


def unwrapped(session: Session, asked: Mechanism, unwrapping: int, wrapped: bytes | memoryview) -> Secret | None:
    """Return what C decrypts under a grant of `unwrap`; None: whether the key may unwrap is to be looked at here."""
    given = _parameter("NONE", asked.parameter)
    return given and datapath.path.unwrap(session.handle, unwrapping, asked.type, given, wrapped)


def begin_pair(
    session: Session, family: str, row: MechanismRow, asked: Mechanism, key: Object, held: Key, seen: int
) -> bool:
    """Begin, in the C front, an operation of a key pair that the engine has begun; False: that one is to go on."""
    how = native_pair(row, family)
    if how is None or isinstance(held, KeptKey) or datapath.path is datapath.OFF:
        return False
    from mrhsm_p11.crypto.schemes import scheme  # what it needs is there now, and C_Initialize does without

    made, lease_s = scheme(how, row, asked.parameter), _lease_s(key)
    if made is None or lease_s <= 0:
        return False
    grant = Grant(
        *(id(session.token), key.handle, row.type, family, how.method, how.shape, made.algorithm, made.size),
        *(datapath.mark_of(key.uid), lease_s),
        mask=made.mask,
        salt_bytes=made.salt_bytes,
        asked=made.asked,
        hashes=row.hash is not None,
        one_part=not row.multipart,
    )
    given = made.asked, b"", 0
    return datapath.path.grant(seen, grant, held.view()) and _begun(session, grant, given)


def _grant(
    session: Session, row: MechanismRow, family: str, how: tuple[Native, int], key: int, mark: int, lease_s: float
) -> Grant:
    found, size = how
    spared = _watched(session) if family in ("decrypt", "unwrap") else ()
    token = id(session.token)
    return Grant(
        *(token, key, row.type, family, found.method, found.shape, found.algorithm, size, mark, lease_s), spared=spared
    )


def _begin(session: Session, grant: Grant, value: memoryview, parameter: AnyParameter, seen: int) -> bool:
    given = _parameter(grant.shape, parameter)
    return given is not None and datapath.path.grant(seen, grant, value) and _begun(session, grant, given)


def _begun(session: Session, grant: Grant, given: tuple[bytes, bytes, int]) -> bool:
    return datapath.path.begin(grant.family, session.handle, grant.key, grant.mechanism, given)


def _lease_s(key: Object) -> float:
    """Return for how long what `usage.permit` has found of a key holds; 0 for a key that is looked at each time."""
    if key.is_true(CKA.ALWAYS_AUTHENTICATE) or key.record.state not in (KeyState.ACTIVE, KeyState.DEACTIVATED):
        return 0.0
    lease_s = key.store.lease(key.uid)
    if any(key.record.attributes.get(cka) for cka in (CKA.START_DATE, CKA.END_DATE)):
        lease_s = min(lease_s, DAY_S - time.time() % DAY_S)  # they are days of UTC
    return lease_s


def _watched(session: Session) -> tuple[bytes, ...]:
    """Return the initialisation vectors of the recorded cluster keys, which are never decrypted unchecked."""
    opened = session.token.opened
    cluster = opened.settings.cluster if opened is not None else None
    return cluster_objects.vectors(cluster) if cluster is not None else ()


def _parameter(shape: str, given: AnyParameter) -> tuple[bytes, bytes, int] | None:
    """Return vector, data beside and number of a parameter; None for one that is refused, or is another structure."""
    if given is None:
        return b"", b"", 0
    if isinstance(given, GCMParams):
        return given.iv, given.aad, given.tag_bits
    if isinstance(given, CTRParams):
        return given.counter, b"", given.counter_bits
    if not isinstance(given, bytes):
        return None
    if shape == "LENGTH":
        return (b"", b"", int.from_bytes(given, sys.byteorder)) if len(given) == ULONG_BYTES else None
    return given, b"", 0
