"""Mechanism parameters from C structures, by the members that each class names: what is read, what will be written."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from mrhsm_p11.abi.structs import pointed_bytes
from mrhsm_p11.abi.templates import template_reader
from mrhsm_p11.errors import CryptokiError, MechanismParamInvalid
from mrhsm_p11.parameters import Member, Parameter, Place
from mrhsm_p11.secret import Secret

MOST_PARTS = 1024  # of an array of structures in a parameter

# A second layout under which callers pass the same structure; the size tells which it is.
OTHER_FORMS = {"CK_GCM_PARAMS": "CK_GCM_PARAMS_WITHOUT_IV_BITS"}

# CK_PKCS5_PBKD2_PARAMS of 2.40 has a pointer to the length where its successor, of the same size, has the length.
LENGTH_OR_POINTER = frozenset({("CK_PKCS5_PBKD2_PARAMS2", "ulPasswordLen")})
LOWEST_ADDRESS = 1 << 16  # vm.mmap_min_addr: no process has memory below, and no password is that long

Read = Callable[[Any], object]


def parameter_reader(ffi: Any, parameter: type[Parameter]) -> Callable[[Any, int], Parameter]:
    """Return what turns (pointer, length) into a `parameter`. Raises MechanismParamInvalid on another size."""
    forms = {}
    for name in (parameter.struct, OTHER_FORMS.get(parameter.struct)):
        if name:
            forms[ffi.sizeof(name)] = ffi.typeof(f"{name} *")
    value = _struct_reader(ffi, parameter)

    def read(pointer: Any, length: int) -> Parameter:
        if not pointer or length not in forms:
            raise MechanismParamInvalid(f"{length} bytes are not a {parameter.struct}")
        return value(ffi.cast(forms[length], pointer))

    return read


def _struct_reader(ffi: Any, parameter: type[Parameter]) -> Callable[[Any], Parameter]:
    takes = [_member_reader(ffi, parameter.struct, member) for member in parameter.members.values()]
    return lambda struct: parameter(*[take(struct) for take in takes])


def _member_reader(ffi: Any, struct_name: str, member: Member) -> Read:
    if member.kind == "place":
        return _place(ffi, struct_name, member.names[0])
    if member.kind == "attributes":
        return _attributes(ffi, *member.names)
    if member.shape:
        inner = _struct_reader(ffi, member.shape)
        return _structures(inner, *member.names) if len(member.names) == 2 else _structure(ffi, inner, member.names[0])
    if len(member.names) == 1:
        return _number(ffi, member.names[0])
    pointed = _pointed(ffi, struct_name, member)
    return (lambda struct: Secret(pointed(struct))) if member.kind == "secret" else pointed


def _number(ffi: Any, name: str) -> Read:
    def read(struct: Any) -> object:
        value = getattr(struct, name)
        return value if isinstance(value, int) else bytes(ffi.buffer(value))  # an array such as an initial counter

    return read


def _pointed(ffi: Any, struct_name: str, member: Member) -> Callable[[Any], bytes]:
    pointer, length = member.names
    may_point = (struct_name, length) in LENGTH_OR_POINTER

    def read(struct: Any) -> bytes:
        size = getattr(struct, length)
        if may_point and size >= LOWEST_ADDRESS:
            size = _number_at(ffi, size)
        if size in member.bits:
            size, rest = divmod(size, 8)
            if rest:
                raise MechanismParamInvalid("a length in bits that is none in bytes")
        return pointed_bytes(ffi, getattr(struct, pointer), size)

    return read


def _number_at(ffi: Any, address: int) -> int:
    """Return the CK_ULONG at what is an address, or a length beyond all reason: the kernel tells, by copying it."""
    size = ffi.sizeof("CK_ULONG")
    reading, writing = os.pipe()
    try:
        os.write(writing, ffi.buffer(ffi.cast("CK_BYTE *", address), size))
        return int(ffi.unpack(ffi.cast("CK_ULONG *", ffi.from_buffer(os.read(reading, size))), 1)[0])
    except OSError:  # EFAULT
        raise MechanismParamInvalid("a length that is neither a length nor the address of one") from None
    finally:
        os.close(reading)
        os.close(writing)


def _structure(ffi: Any, inner: Callable[[Any], Parameter], name: str) -> Read:
    def read(struct: Any) -> object:
        value = getattr(struct, name)
        return inner(value) if value != ffi.NULL else None

    return read


def _structures(inner: Callable[[Any], Parameter], pointer: str, length: str) -> Read:
    def read(struct: Any) -> object:
        array, count = getattr(struct, pointer), getattr(struct, length)
        if count > MOST_PARTS or (count and not array):
            raise MechanismParamInvalid(f"{count} structures at {'its address' if array else 'NULL'}")
        return tuple(inner(array[index]) for index in range(count))

    return read


def _attributes(ffi: Any, pointer: str, count: str) -> Read:
    template = template_reader(ffi)

    def read(struct: Any) -> object:
        try:
            return template(getattr(struct, pointer), getattr(struct, count))
        except CryptokiError as error:
            raise MechanismParamInvalid(str(error)) from None

    return read


def _place(ffi: Any, struct_name: str, name: str) -> Read:
    (kind,) = [field.type for member, field in ffi.typeof(struct_name).fields if member == name]
    if kind.kind == "primitive":
        return lambda struct: Place(lambda value: setattr(struct, name, value), getattr(struct, name))
    holds_number = kind.item.kind == "primitive" and ffi.sizeof(kind.item) == ffi.sizeof("CK_ULONG")

    def read(struct: Any) -> Place:
        pointer = getattr(struct, name)
        if not pointer:
            return Place(None)

        def write(value: int | bytes) -> None:
            if isinstance(value, int):
                pointer[0] = value
            else:
                ffi.memmove(pointer, value, len(value))

        return Place(write, pointer[0] if holds_number else 0)

    return read
