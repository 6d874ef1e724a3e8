"""What is wrong with keys and parameters of any mechanism, made from a case that works."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fix_matrix import ROWS, USES, Good, Matrix

from mrhsm_p11.constants import CKA, CKK, CKM, CKO
from mrhsm_p11.parameters import Parameter

HUGE = 1 << 40


def cases(names: tuple[str, ...]) -> list[object]:
    return [
        pytest.param(row, USES[name], id=f"{CKM.name(row.type)}-{name}")
        for row in ROWS.values()
        for name in names
        if row.flags & USES[name].flag
    ]


def wrong_templates(good: dict[int, Any]) -> Iterator[tuple[str, dict[int, Any]]]:
    """Yield what spoils the template of a key that is to be unwrapped."""
    yield "a template without class", {cka: value for cka, value in good.items() if cka != CKA.CLASS}
    yield "a template that contradicts", {CKA.CLASS: CKO.PUBLIC_KEY, CKA.KEY_TYPE: CKK.RSA}
    yield "an attribute of another kind", {**good, CKA.MODULUS: b"1"}


def wrong_keys(matrix: Matrix, good: Good) -> Iterator[tuple[str, int]]:
    row, use = good.row, good.use
    if not row.key_types:
        return
    yield from (("no such key", key) for key in (0, 999_999_999))
    data = matrix.p11.create_object(matrix.session, {CKA.CLASS: CKO.DATA, CKA.VALUE: b"no key"})
    yield "an object that is no key", data
    matrix.p11.destroy_object(matrix.session, data)
    yield "no such key", data
    yield "a key without the use", matrix.key(row, use, able=False)
    if matrix.key(row, USES["Encrypt"]) != matrix.key(row, USES["Decrypt"]):
        yield "the other half of the pair", matrix.pair(row.key_types[0])[use.public]
        other = matrix.secret(ROWS[CKM.AES_CBC])
    else:
        others = [key_type for key_type in (CKK.AES, CKK.GENERIC_SECRET) if key_type not in row.key_types]
        other = matrix.secret(row, key_type=others[0]) if others else matrix.pair(CKK.RSA)[1]
    yield "a key of another type", other


def wrong_parameters(matrix: Matrix, good: Good) -> Iterator[tuple[str, object, str]]:
    """Yield fault, CK_MECHANISM and a word about it."""
    row, kind = good.row, good.row.type
    if row.parameter is None:
        yield "a parameter where there is none", matrix.struct(kind, bytes(8)), "8 bytes"
        yield "a parameter where there is none", matrix.struct(kind, None, 8), "8 bytes at NULL"
    elif row.parameter is bytes:
        size = len(good.parameter)
        for length in {size + 1, max(size - 1, 1), 1000} - {size}:
            yield "a parameter of another size", matrix.struct(kind, bytes(length)), f"{length} bytes"
        if size:
            yield "no parameter", matrix.struct(kind, None), ""
        for length in (size or 8, HUGE):
            yield "a parameter at NULL", matrix.struct(kind, None, length), f"{length} bytes"
    elif isinstance(row.parameter, type) and issubclass(row.parameter, Parameter):
        size = matrix.p11.ffi.sizeof(row.parameter.struct)
        if not row.optional_parameter:
            yield "no parameter", matrix.struct(kind, None), ""
        lengths = (1, size - 1, size + 1, HUGE)
        for length in lengths if good.parameter is None else (0, *lengths):
            yield "a parameter of another size", matrix.struct(kind, good.parameter, length), f"{length} bytes"
        yield "a parameter at NULL", matrix.struct(kind, None, size), f"{size} bytes"
