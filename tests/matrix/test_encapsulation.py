"""C_EncapsulateKey and C_DecapsulateKey: each mechanism, each fault; and what fails leaves no object behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fix_matrix import ROWS, Matrix, pair_template

from mrhsm_p11.constants import CKA, CKF, CKK, CKM, CKO, CKR
from mrhsm_p11.mapping.mechanisms import MechanismRow

AES = {CKA.KEY_TYPE: CKK.AES, CKA.VALUE_LEN: 32}
ROOM = 8192
# fault of matrix_rules -> templates that have it
TEMPLATES: dict[str, tuple[dict[int, Any], ...]] = {
    "a template that contradicts": (
        {CKA.CLASS: CKO.PRIVATE_KEY},
        {**AES, CKA.VALUE_LEN: 31},
        {CKA.KEY_TYPE: CKK.GENERIC_SECRET, CKA.VALUE_LEN: 1 << 20},
    ),
    "an attribute of another kind": ({**AES, CKA.MODULUS: b"1"}, {**AES, CKA.CERTIFICATE_TYPE: 0}),
}


@pytest.fixture(autouse=True)
def reported(matrix: Matrix) -> Iterator[None]:
    matrix.failures.clear()
    yield
    matrix.report()


class Exchange:
    """Both halves of a pair, with the use or without, and an encapsulation for them."""

    def __init__(self, matrix: Matrix, row: MechanismRow) -> None:
        self.matrix, self.row = matrix, row
        self.public, self.private = self.pair(able=True)
        self.unable = self.pair(able=False)
        self.struct = matrix.struct(row.type, None)
        self.length = matrix.p11.new("CK_ULONG *", ROOM)
        self.output = matrix.p11.new("CK_BYTE[]", ROOM)
        self.check("then a buffer large enough", "EncapsulateKey", self.encapsulate())
        self.sealed = bytes(matrix.p11.ffi.buffer(self.output, self.length[0]))

    def pair(self, *, able: bool) -> tuple[int, int]:
        maker = next(
            row for row in ROWS.values() if row.flags & CKF.GENERATE_KEY_PAIR and self.row.key_types[0] in row.key_types
        )
        given = pair_template(self.row.key_types[0])
        assert given is not None
        return self.matrix.p11.generate_key_pair(
            self.matrix.session, maker.type, {CKA.ENCAPSULATE: able, **given}, {CKA.DECAPSULATE: able}
        )

    def check(self, fault: str, function: str, rv: int, detail: object = "") -> None:
        self.matrix.check(fault, None, function, rv, f"{CKM.name(self.row.type)} {detail}")

    def _made(self, rv: int, handle: Any) -> int:
        if rv == CKR.OK:
            self.matrix.p11.destroy_object(self.matrix.session, handle[0])
        return rv

    def encapsulate(
        self, key: int | None = None, *, struct: Any = None, template: Any = None, room: int = ROOM, session: int = 0
    ) -> int:
        p11, handle = self.matrix.p11, self.matrix.p11.new("CK_OBJECT_HANDLE *")
        self.length[0] = room
        given = p11.template(AES if template is None else template)
        at, key = session or self.matrix.session, self.public if key is None else key
        mechanism = self.struct if struct is None else struct
        rv = p11.rv("C_EncapsulateKey", at, mechanism, key, *given, self.output, self.length, handle)
        return self._made(rv, handle)

    def decapsulate(
        self, key: int | None = None, *, struct: Any = None, template: Any = None, blob: Any = None, session: int = 0
    ) -> int:
        p11, handle = self.matrix.p11, self.matrix.p11.new("CK_OBJECT_HANDLE *")
        given = p11.template(AES if template is None else template)
        at, key = session or self.matrix.session, self.private if key is None else key
        mechanism = self.struct if struct is None else struct
        sealed = p11.encoded(self.sealed) if blob is None else blob
        return self._made(p11.rv("C_DecapsulateKey", at, mechanism, key, *given, *sealed, handle), handle)


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=CKM.name(row.type)) for row in ROWS.values() if row.flags & CKF.ENCAPSULATE]
)
def test_every_fault(matrix: Matrix, row: MechanismRow) -> None:
    exchange = Exchange(matrix, row)
    before = len(matrix.p11.find(matrix.session))
    other = matrix.secret(ROWS[CKM.AES_CBC])
    halves = (
        ("EncapsulateKey", exchange.encapsulate, exchange.private, exchange.unable[0]),
        ("DecapsulateKey", exchange.decapsulate, exchange.public, exchange.unable[1]),
    )
    for name, call, half, unable in halves:
        exchange.check("no such session", name, call(session=matrix.session + 10_000))
        for key in (0, 999_999_999):
            exchange.check("no such key", name, call(key), key)
        exchange.check("the other half of the pair", name, call(half))
        exchange.check("the other half of the pair", name, call(other), "a secret key")
        exchange.check("a key without the use", name, call(unable))
        exchange.check("a parameter where there is none", name, call(struct=matrix.struct(row.type, bytes(8))))
        exchange.check("a use that the mechanism has not", name, call(struct=matrix.struct(CKM.SHA256, None)))
        for fault, templates in TEMPLATES.items():
            for template in templates:
                exchange.check(fault, name, call(template=template), template)
    for room in (0, 1, len(exchange.sealed) - 1):
        exchange.check("a buffer one byte too small", "EncapsulateKey", exchange.encapsulate(room=room), room)
        matrix.expect(exchange.length[0] == len(exchange.sealed), f"{exchange.length[0]} bytes are told for {room}")
    for length in (0, 1, len(exchange.sealed) - 1):
        blob = matrix.p11.encoded(exchange.sealed[:length])
        exchange.check("input of another length", "DecapsulateKey", exchange.decapsulate(blob=blob), length)
    exchange.check("input at NULL", "DecapsulateKey", exchange.decapsulate(blob=(None, len(exchange.sealed))))
    exchange.check("then a buffer large enough", "EncapsulateKey", exchange.encapsulate(), "after all that")
    exchange.check("then a buffer large enough", "DecapsulateKey", exchange.decapsulate(), "after all that")
    matrix.expect(len(matrix.p11.find(matrix.session)) <= before + 1, f"{CKM.name(row.type)} left objects behind")
