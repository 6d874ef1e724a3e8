from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from p11 import Cryptoki, declarations

from mrhsm_p11 import parameters
from mrhsm_p11.abi.structs import LONGEST, info_writer, parameter_reader
from mrhsm_p11.errors import MechanismParamInvalid
from mrhsm_p11.parameters import CTRParams, GCMParams, OAEPParams, Parameter, PSSParams

ffi = declarations()


@pytest.fixture
def structs(library_path: Any) -> Cryptoki:
    return Cryptoki(library_path)


def read(parameter: type[Parameter], struct: Any, length: int | None = None) -> Parameter:
    size = ffi.sizeof(ffi.typeof(struct).item) if length is None else length
    return parameter_reader(ffi, parameter)(ffi.cast("void *", struct), size)


@pytest.mark.parametrize("parameter", Parameter.__subclasses__())
def test_every_parameter_names_members_of_its_struct(parameter: type[Parameter]) -> None:
    members = {name for name, _ in ffi.typeof(parameter.struct).fields}
    for spec in dataclasses.fields(parameter):  # type: ignore[arg-type]
        assert set(spec.metadata["members"]) <= members


def test_the_parameters_are_those_that_were_meant() -> None:
    assert {GCMParams, CTRParams, PSSParams, OAEPParams} <= set(Parameter.__subclasses__())
    assert parameters.Mechanism(1).parameter is None


@pytest.mark.parametrize("with_iv_bits", [True, False])
def test_gcm_parameters_in_both_sizes(structs: Cryptoki, with_iv_bits: bool) -> None:
    struct = structs.gcm(bytes(range(12)), b"aad", 96, with_iv_bits=with_iv_bits)
    assert read(GCMParams, struct) == GCMParams(bytes(range(12)), b"aad", 96)


@pytest.mark.parametrize("length", [0, 39, 41, 47, 49, 96])
def test_any_other_size_is_refused(structs: Cryptoki, length: int) -> None:
    with pytest.raises(MechanismParamInvalid):
        read(GCMParams, structs.gcm(bytes(12)), length)


def test_a_null_parameter_is_refused() -> None:
    with pytest.raises(MechanismParamInvalid):
        read(GCMParams, ffi.cast("CK_GCM_PARAMS *", 0))


def test_arrays_and_numbers(structs: Cryptoki) -> None:
    assert read(CTRParams, structs.ctr(bytes(range(16)), 32)) == CTRParams(32, bytes(range(16)))
    assert read(PSSParams, structs.pss(1, 2, 20)) == PSSParams(1, 2, 20)
    assert read(OAEPParams, structs.oaep(1, 2, b"label")) == OAEPParams(1, 2, 1, b"label")
    assert read(OAEPParams, structs.oaep(1, 2)) == OAEPParams(1, 2, 1, b"")


def test_a_misaligned_struct_is_read(structs: Cryptoki) -> None:
    raw = ffi.new("CK_BYTE[]", 100)
    ffi.memmove(raw + 3, structs.gcm(b"n" * 12, b"a" * 5), 48)
    assert read(GCMParams, raw + 3, 48) == GCMParams(b"n" * 12, b"a" * 5, 128)


@pytest.mark.parametrize(("pointer", "length"), [(0, 12), (1, LONGEST + 1)])
def test_bytes_that_cannot_be_read_are_refused_untouched(structs: Cryptoki, pointer: int, length: int) -> None:
    struct = structs.gcm(b"")
    struct.pIv, struct.ulIvLen = ffi.cast("CK_BYTE *", pointer), length
    with pytest.raises(MechanismParamInvalid):
        read(GCMParams, struct)


def test_an_info_struct_is_padded_and_nested() -> None:
    info = ffi.new("CK_INFO *")
    info_writer(ffi, "CK_INFO_PTR")(info, ((2, 40), "Maker", 7, "ü" * 17, (1, 2)))
    assert bytes(ffi.buffer(info.manufacturerID)) == b"Maker".ljust(32)
    assert bytes(ffi.buffer(info.libraryDescription)) == ("ü" * 16).encode()
    assert (info.cryptokiVersion.minor, info.flags, info.libraryVersion.major) == (40, 7, 1)


def test_text_is_cut_between_characters() -> None:
    info = ffi.new("CK_INFO *")
    info_writer(ffi, "CK_INFO_PTR")(info, ((2, 40), "x" * 31 + "ü", 0, "", (0, 0)))
    assert bytes(ffi.buffer(info.manufacturerID)) == b"x" * 31 + b" "


def test_a_tuple_of_another_length_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="zip"):
        info_writer(ffi, "CK_INFO_PTR")(ffi.new("CK_INFO *"), ((2, 40), "x"))
