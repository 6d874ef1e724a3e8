"""Every order of up to three calls of an operation, against the state machine that the standard describes.

One mechanism stands for all that behave alike (family, mode, parts); what each call may answer is told by the state
that the calls before it led to.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
from fix_matrix import PIN, ROWS, USES, Good, Matrix, Use
from p11 import CKError, rv_of

from mrhsm_p11.constants import CKA, CKM, CKR
from mrhsm_p11.mapping.mechanisms import MechanismRow

NAMES = ("Encrypt", "Decrypt", "Digest", "Sign", "Verify", "SignRecover", "VerifyRecover")
ABSENT, PARTS, ACTIVE, BAD = "OPERATION_NOT_INITIALIZED", "parts", "OPERATION_ACTIVE", "ARGUMENTS_BAD"
# (state, call) -> answers, next state. Sections 5.8.1 to 5.8.4 of PKCS #11 2.40 and their like; cancelling is 3.0's.
# After a failure nothing is active (5.1.6, CKR_OPERATION_NOT_INITIALIZED), but for a second Init.
TABLE: dict[tuple[str, str], tuple[tuple[str, ...], str]] = {
    ("idle", "init"): (("OK",), "begun"),
    ("begun", "init"): ((ACTIVE,), "begun"),
    ("streaming", "init"): ((ACTIVE,), "streaming"),
    ("idle", "once"): ((ABSENT,), "idle"),
    ("begun", "once"): (("OK",), "idle"),
    ("streaming", "once"): ((ABSENT, ACTIVE), "idle"),
    ("idle", "size"): ((ABSENT,), "idle"),
    ("begun", "size"): (("OK",), "begun"),
    ("streaming", "size"): ((ABSENT, ACTIVE), "idle"),
    ("idle", "update"): ((ABSENT,), "idle"),
    ("begun", "update"): (("OK",), "streaming"),
    ("streaming", "update"): (("OK",), "streaming"),
    ("idle", "final"): ((ABSENT,), "idle"),
    ("begun", "final"): (("OK", "input"), "idle"),  # whether nothing at all is input enough is the mechanism's to say
    ("streaming", "final"): (("OK", "input"), "idle"),
    ("idle", "cancel"): ((BAD,), "idle"),
    ("begun", "cancel"): (("OK",), "idle"),
    ("streaming", "cancel"): (("OK",), "idle"),
    ("idle", "session cancel"): (("OK",), "idle"),
    ("begun", "session cancel"): (("OK",), "idle"),
    ("streaming", "session cancel"): (("OK",), "idle"),
}
INPUT = {
    "Encrypt": ("DATA_LEN_RANGE",),
    "Decrypt": ("ENCRYPTED_DATA_LEN_RANGE", "ENCRYPTED_DATA_INVALID", "AEAD_DECRYPT_FAILED"),
    "Verify": ("SIGNATURE_INVALID",),
}
CALLS = tuple(dict.fromkeys(call for _, call in TABLE))


def representatives() -> list[object]:
    """Return one mechanism for all that are alike, for each function."""
    chosen: dict[tuple[object, ...], MechanismRow] = {}
    for row in ROWS.values():
        for name in NAMES:
            if row.flags & USES[name].flag:
                chosen.setdefault((name, row.family, row.mode, row.multipart), row)
    return [pytest.param(row, USES[at[0]], id=f"{CKM.name(row.type)}-{at[0]}") for at, row in chosen.items()]


def call(matrix: Matrix, good: Good, what: str) -> int:
    """Make one call as for the good case, and return its CKR."""
    p11, name, session = matrix.p11, good.use.name, matrix.session
    given = [part for each in good.inputs for part in p11.encoded(each)]
    room = [p11.new("CK_BYTE[8192]"), p11.new("CK_ULONG *", 8192)]
    if what == "init":
        return matrix.begin(good.use, matrix.struct(*good.mechanism), good.key)
    if what == "cancel":
        return matrix.cancel(good.use)
    if what == "session cancel":
        return p11.rv("C_SessionCancel", session, good.use.flag)
    if what == "once":
        return p11.rv(f"C_{name}", session, *given, *([] if name == "Verify" else room))
    if what == "size":
        return p11.rv(f"C_{name}", session, *given, None, room[1])
    if what == "update":
        return p11.rv(f"C_{name}Update", session, *given[:2], *(room if name in ("Encrypt", "Decrypt") else []))
    return p11.rv(f"C_{name}Final", session, *(given[2:] if name == "Verify" else room))


def expected(use: Use, row: MechanismRow, state: str, what: str) -> tuple[set[int], str]:
    answers, following = TABLE[state, what]
    if what in ("update", "final") and state == "begun" and not row.multipart:
        answers, following = (ABSENT,), "idle"  # 5.8.3: of a mechanism without parts
    named = {name for answer in answers for name in (INPUT.get(use.name, ()) if answer == "input" else (answer,))}
    return {getattr(CKR, name) for name in named}, following


@pytest.mark.parametrize(("row", "use"), representatives())
def test_every_order(matrix: Matrix, row: MechanismRow, use: Use) -> None:
    good = matrix.good(row, use)
    recovers = use.name.endswith("Recover")
    possible = [
        each
        for each in CALLS
        if not (each == "size" and use.name == "Verify") and not (recovers and each in ("update", "final"))
    ]
    for order in (order for length in (1, 2, 3) for order in product(possible, repeat=length)):
        state = "idle"
        for what in order:
            rv = call(matrix, good, what)
            allowed, state = expected(use, row, state, what)
            if rv not in allowed and rv != CKR.OK:
                state = "idle"
            matrix.expect(rv in allowed, f"{CKM.name(row.type)} {use.name}: {what} of {order}: CKR_{CKR.name(rv)}")
        active = matrix.cancel(use) == CKR.OK
        matrix.expect(active == (state != "idle"), f"{CKM.name(row.type)} {use.name}: {order} left it active: {active}")
    matrix.report()


@pytest.mark.parametrize(("row", "use"), representatives())
def test_the_session_is_closed_in_the_middle(matrix: Matrix, row: MechanismRow, use: Use) -> None:
    good = matrix.good(row, use)
    ours, matrix.session = matrix.session, matrix.p11.open_session(matrix.slot)
    try:
        matrix.start(good)
        matrix.p11.close_session(matrix.session)
        rv = rv_of(matrix.finish, good, *good.inputs)
        matrix.check("the session was closed", good, use.name, rv)
    finally:
        matrix.session = ours
    matrix.expect(len(matrix.whole(good)) == len(good.output), "another output afterwards")
    matrix.report()


@pytest.mark.parametrize("name", NAMES)
def test_the_user_logs_out_in_the_middle(matrix: Matrix, name: str) -> None:
    row = next(row for row in ROWS.values() if row.flags & USES[name].flag)
    good = matrix.good(row, USES[name])
    matrix.start(good)
    matrix.p11.logout(matrix.session)
    matrix.check("the user has logged out", good, name, rv_of(matrix.finish, good, *good.inputs))
    if row.key_types and not good.use.public:  # a public key is not private
        matrix.check("no such key", good, name, matrix.begin(good.use, matrix.struct(*good.mechanism), good.key))
    matrix.p11.close_session(matrix.session)
    matrix.log_in()
    again = matrix.good(row, USES[name])
    matrix.expect(len(matrix.whole(again)) == len(good.output), "another output after logging in again")
    matrix.report()


KEYED = [use for use in USES.values() if use.name in ("Decrypt", "Sign", "SignRecover", "Unwrap")]


@pytest.mark.parametrize("use", KEYED, ids=lambda use: use.name)
def test_a_key_that_wants_a_pin_for_each_use(matrix: Matrix, use: Use) -> None:
    """Section 4.9 (CKA_ALWAYS_AUTHENTICATE) and 5.6.7: C_Login of CKU_CONTEXT_SPECIFIC after each Init."""
    from mrhsm_p11.constants import CKU

    p11, session = matrix.p11, matrix.session
    wanting = {CKA.ALWAYS_AUTHENTICATE: True, use.attribute: True}
    public_uses = dict.fromkeys((CKA.ENCRYPT, CKA.VERIFY_RECOVER, CKA.WRAP), True)
    public, private = p11.generate_key_pair(
        session, CKM.RSA_PKCS_KEY_PAIR_GEN, {CKA.MODULUS_BITS: 1024, **public_uses}, wanting
    )
    if use.name == "Unwrap":
        wrapped = p11.wrap_key(session, CKM.RSA_PKCS, public, matrix.victim())
        template = {CKA.CLASS: 4, CKA.KEY_TYPE: 0x1F}
        for _ in range(2):
            assert rv_of(p11.unwrap_key, session, CKM.RSA_PKCS, private, wrapped, template) == CKR.USER_NOT_LOGGED_IN
        return
    data = p11.encrypt(session, CKM.RSA_PKCS, public, b"text") if use.name == "Decrypt" else b"text"
    for _ in range(2):
        p11.init(use.name, session, CKM.RSA_PKCS, private)
        assert rv_of(p11.once, use.name, session, data) == CKR.USER_NOT_LOGGED_IN
        p11.init(use.name, session, CKM.RSA_PKCS, private)
        assert rv_of(p11.login, session, "wrong pin", CKU.CONTEXT_SPECIFIC) == CKR.PIN_INCORRECT
        p11.login(session, PIN, CKU.CONTEXT_SPECIFIC)
        p11.once(use.name, session, data)
        with pytest.raises(CKError):
            p11.once(use.name, session, data)


@pytest.fixture(autouse=True)
def clean(matrix: Matrix) -> Iterator[None]:
    matrix.failures.clear()
    yield
    for name in NAMES:
        matrix.cancel(USES[name])
