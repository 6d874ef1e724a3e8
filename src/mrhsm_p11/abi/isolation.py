"""What leads where in the arguments of each function: cdef/crossing.h's table, from the plans and the parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from mrhsm_p11.abi._prototypes import OFFERED, PROTOTYPES
from mrhsm_p11.abi.marshal import LABEL_LENGTH, LONGEST_NAME
from mrhsm_p11.abi.parameters import LENGTH_OR_POINTER, OTHER_FORMS
from mrhsm_p11.abi.plan import Role, Step, plan
from mrhsm_p11.abi.templates import NESTED
from mrhsm_p11.mapping.mechanisms import ROWS
from mrhsm_p11.parameters import EVERY, Member, Parameter

ANY_LENGTH = (1 << 64) - 1

# What crosses of an argument; a role that is not here is a number, or a pointer that nothing is read at.
STEPS: dict[Role, str] = {
    Role.BYTES: "STEP_BYTES",
    Role.LAST_INPUT: "STEP_BYTES",
    Role.PIN: "STEP_BYTES",
    Role.LABEL: "STEP_FIXED",
    Role.INITIALIZE_ARGS: "STEP_FIXED",
    Role.NAME: "STEP_NAME",
    Role.MECHANISM: "STEP_MECHANISM",
    Role.LENT_MECHANISM: "STEP_MESSAGE_MECHANISM",
    Role.SIZED_MECHANISM: "STEP_SIZED_MECHANISM",
    Role.MESSAGE: "STEP_MESSAGE",
    Role.TEMPLATE: "STEP_TEMPLATE",
    Role.SOUGHT: "STEP_TEMPLATE",
    Role.WANTED: "STEP_WANTED",
    Role.ROOM: "STEP_ROOM",
    Role.LAST_ROOM: "STEP_ROOM",
    Role.LIST: "STEP_ROOM",
    Role.FILL: "STEP_FILL",
    Role.FOUND: "STEP_FOUND",
    Role.INFO: "STEP_FILLED",
    Role.RESULT: "STEP_FILLED",
    Role.MADE: "STEP_FILLED",
    Role.RESULT_OR_NONE: "STEP_FILLED",
}
VALUES = frozenset({Role.NUMBER, Role.TRUTH, Role.DROPPED, Role.RESERVED, Role.NO_MESSAGE})


class Length(NamedTuple):
    """How many bytes there are: `kind` of crossing_length_kind, and a number or the member that holds it."""

    kind: str
    of: int | str


# How much memory there is at a place; at one that is also read as bytes, its length tells.
PLACES: dict[tuple[str, str], Length] = {
    ("CK_SSL3_MASTER_KEY_DERIVE_PARAMS", "pVersion"): Length("LENGTH_IS", 2),
    ("CK_TLS12_MASTER_KEY_DERIVE_PARAMS", "pVersion"): Length("LENGTH_IS", 2),
    ("CK_TLS12_EXTENDED_MASTER_KEY_DERIVE_PARAMS", "pVersion"): Length("LENGTH_IS", 2),
    ("CK_DERIVED_KEY", "phKey"): Length("LENGTH_IS", 8),
    ("CK_SSL3_KEY_MAT_OUT", "pIVClient"): Length("LENGTH_BITS_OUTSIDE", "ulIVSizeInBits"),
    ("CK_SSL3_KEY_MAT_OUT", "pIVServer"): Length("LENGTH_BITS_OUTSIDE", "ulIVSizeInBits"),
    ("CK_TLS_PRF_PARAMS", "pulOutputLen"): Length("LENGTH_IS", 8),
    ("CK_TLS_PRF_PARAMS", "pOutput"): Length("LENGTH_POINTED_TO", "pulOutputLen"),
    ("CK_GCM_MESSAGE_PARAMS", "pTag"): Length("LENGTH_BITS", "ulTagBits"),
    ("CK_CCM_MESSAGE_PARAMS", "pMAC"): Length("LENGTH_AT", "ulMACLen"),
    ("CK_SALSA20_CHACHA20_POLY1305_MSG_PARAMS", "pTag"): Length("LENGTH_IS", 16),
}


def fill(ffi: Any, lib: Any) -> Any:
    """Return a `struct crossing *` that is filled in. Raises IndexError where crossing.h leaves too little room."""
    return _Filling(ffi, lib).table


class _Filling:
    def __init__(self, ffi: Any, lib: Any) -> None:
        self.ffi, self.lib = ffi, lib
        self.table = ffi.new("struct crossing *")
        self._layouts: dict[tuple[str, str], int] = {}
        self._steps = self._members = 0
        for index, name in enumerate(OFFERED):
            self._add_function(index, plan(name, PROTOTYPES[name]))
        for index, kind in enumerate(sorted(NESTED)):
            self.table.nested[index] = kind
        self.table.nested_count = len(NESTED)
        for index, row in enumerate(ROWS.values()):
            mechanism = self.table.mechanisms[index]
            mechanism.type, mechanism.bare = row.type, row.bare_bytes
            if row.parameter and issubclass(row.parameter, Parameter):
                self._add_forms(mechanism, row.parameter, row.wrap_parameter)
            elif row.parameter:
                mechanism.bare = ANY_LENGTH
            if row.message_parameter and issubclass(row.message_parameter, Parameter):
                mechanism.message = self._layout(row.message_parameter, row.message_parameter.struct)
                mechanism.message_count = 1
        self.table.mechanism_count = len(ROWS)
        for index, shape in enumerate(message_shapes()):
            self.table.messages[index] = self._layout(shape, shape.struct)
        self.table.message_count = len(message_shapes())

    # ---- functions ----

    def _add_function(self, index: int, steps: tuple[Step, ...]) -> None:
        crossing = [step for step in steps if step.role not in VALUES]
        self.table.functions[index] = (self._steps, len(crossing))
        for step in crossing:
            self.table.steps[self._steps] = (getattr(self.lib, STEPS[step.role]), step.index, self._size(step))
            self._steps += 1

    def _size(self, step: Step) -> int:
        fixed = {
            Role.LABEL: LABEL_LENGTH,
            Role.NAME: LONGEST_NAME,
            Role.INITIALIZE_ARGS: self.ffi.sizeof("CK_C_INITIALIZE_ARGS"),
        }
        pointed = step.type.removesuffix("_PTR")
        return fixed.get(step.role) or (0 if pointed == "CK_VOID" else int(self.ffi.sizeof(pointed)))

    # ---- structures ----

    def _add_forms(self, mechanism: Any, parameter: type[Parameter], wrapping: type[Parameter] | None) -> None:
        forms = [(parameter, struct) for struct in (parameter.struct, OTHER_FORMS.get(parameter.struct)) if struct]
        forms += [(wrapping, wrapping.struct)] if wrapping else []
        for at, (shape, struct) in enumerate(forms):
            mechanism.layouts[at] = self._layout(shape, struct)
        mechanism.layout_count = len(forms)

    def _layout(self, shape: type[Parameter], struct: str) -> int:
        """Return the number of a structure's layout; the inner ones come first."""
        key = (shape.__name__, struct)
        if key not in self._layouts:
            members = sorted(self._members_of(shape, struct, 0), key=_pointed_to_last)
            index = self._layouts[key] = len(self._layouts)
            self.table.layouts[index] = (self.ffi.sizeof(struct), self._members, len(members))
            for member in members:
                self.table.members[self._members] = member
                self._members += 1
        return self._layouts[key]

    def _members_of(self, shape: type[Parameter], struct: str, base: int) -> Iterator[dict[str, int]]:
        places = set(shape.places.values())
        lengths = {member.names[0]: self._length(struct, member, base) for member in shape.members.values()}
        for member in shape.members.values():
            first = member.names[0]
            offset, kind = self._offset(struct, first) + base, self._kind(struct, first)
            if member.shape and kind == "struct":
                yield from self._members_of(member.shape, member.shape.struct, offset)
            elif member.shape:
                layout = self._layout(member.shape, member.shape.struct)
                yield self._member("MEMBER_STRUCTURES", offset, lengths[first], layout)
            elif member.kind == "attributes":
                yield self._member("MEMBER_TEMPLATE", offset, lengths[first])
            elif member.kind == "place" and kind == "primitive":
                yield self._member("MEMBER_NUMBER", offset, ("LENGTH_IS", self.ffi.sizeof("CK_ULONG")))
            elif member.kind == "place":
                places.add(first)
            elif len(member.names) == 2 and first not in places:
                yield self._member("MEMBER_BYTES", offset, lengths[first])
        for name in places:
            length = self._place_length(struct, name, base) or lengths[name]
            yield self._member("MEMBER_PLACE", self._offset(struct, name) + base, length)

    def _length(self, struct: str, member: Member, base: int) -> tuple[str, int]:
        if len(member.names) == 1:
            return "LENGTH_IS", 1  # a structure that is pointed to
        name = member.names[1]
        kind = "LENGTH_BITS" if member.bits is EVERY else "LENGTH_SOMETIMES_BITS" if member.bits else "LENGTH_AT"
        if (struct, name) in LENGTH_OR_POINTER:
            kind = "LENGTH_OR_POINTER"
        return kind, self._offset(struct, name) + base

    def _place_length(self, struct: str, name: str, base: int) -> tuple[str, int] | None:
        length = PLACES.get((struct, name))
        if length is None:
            return None
        if isinstance(length.of, int):
            return length.kind, length.of
        if length.kind == "LENGTH_BITS_OUTSIDE":
            return length.kind, self._offset("CK_SSL3_KEY_MAT_PARAMS", length.of)
        return length.kind, self._offset(struct, length.of) + base

    def _member(self, kind: str, offset: int, length: tuple[str, int], layout: int = 0) -> dict[str, int]:
        return {
            "kind": getattr(self.lib, kind),
            "offset": offset,
            "length_kind": getattr(self.lib, length[0]),
            "length": length[1],
            "layout": layout,
        }

    def _offset(self, struct: str, name: str) -> int:
        return int(self.ffi.offsetof(struct, name))

    def _kind(self, struct: str, name: str) -> str:
        (kind,) = [field.type.kind for member, field in self.ffi.typeof(struct).fields if member == name]
        return str(kind)


def _pointed_to_last(member: dict[str, int]) -> int:
    """Sort what has its length elsewhere behind that length: it must have crossed before it can be read."""
    return member["length_kind"]


def message_shapes() -> tuple[type[Parameter], ...]:
    """Return the parameters of messages, of which only the size tells which one it is."""
    found = {row.message_parameter for row in ROWS.values()}
    return tuple(
        sorted((shape for shape in found if shape and issubclass(shape, Parameter)), key=lambda shape: shape.struct)
    )
