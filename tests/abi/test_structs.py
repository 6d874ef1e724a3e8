from __future__ import annotations

from typing import Any

import pytest
from p11 import Cryptoki, declarations

from mrhsm_p11.abi.parameters import MOST_PARTS, parameter_reader
from mrhsm_p11.abi.structs import LONGEST, info_writer
from mrhsm_p11.errors import MechanismParamInvalid
from mrhsm_p11.parameters import Mechanism, Parameter, member, nested
from mrhsm_p11.parameters.rsa import OAEPParams, PSSParams
from mrhsm_p11.parameters.symmetric import CTRParams, GCMParams

ffi = declarations()


@pytest.fixture
def structs(library_path: Any) -> Cryptoki:
    return Cryptoki(library_path)


def read(parameter: type[Parameter], struct: Any, length: int | None = None) -> Parameter:
    size = ffi.sizeof(ffi.typeof(struct).item) if length is None else length
    return parameter_reader(ffi, parameter)(ffi.cast("void *", struct), size)


@pytest.mark.parametrize(
    "parameter", [each for each in Parameter.__subclasses__() if each.__module__.startswith("mrhsm_p11.")]
)
def test_every_parameter_names_members_of_its_struct(parameter: type[Parameter]) -> None:
    members = {name for name, _ in ffi.typeof(parameter.struct).fields}
    for each in parameter.members.values():
        assert set(each.names) <= members


def test_the_parameters_are_those_that_were_meant() -> None:
    assert {GCMParams, CTRParams, PSSParams, OAEPParams} <= set(Parameter.__subclasses__())
    assert Mechanism(1).parameter is None


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


def test_nested_structures_and_arrays_of_them() -> None:
    class Random(Parameter):
        struct = "CK_SSL3_RANDOM_DATA"
        client: bytes = member("pClientRandom", "ulClientRandomLen")
        server: bytes = member("pServerRandom", "ulServerRandomLen")

    class Keyed(Parameter):
        struct = "CK_TLS_KDF_PARAMS"
        prf: int = member("prfMechanism")
        random: Random = nested(Random, "RandomInfo")

    class Piece(Parameter):
        struct = "CK_PRF_DATA_PARAM"
        type: int = member("type")
        value: bytes = member("pValue", "ulValueLen")

    class Counted(Parameter):
        struct = "CK_SP800_108_KDF_PARAMS"
        pieces: tuple[Piece, ...] = nested(Piece, "pDataParams", "ulNumberOfDataParams")

    class Wrapping(Parameter):
        struct = "CK_RSA_AES_KEY_WRAP_PARAMS"
        oaep: PSSParams | None = nested(PSSParams, "pOAEPParams")

    client = ffi.from_buffer("CK_BYTE[]", b"client")
    keyed = ffi.new("CK_TLS_KDF_PARAMS *", {"prfMechanism": 7, "RandomInfo": (client, 6, ffi.NULL, 0)})
    assert read(Keyed, keyed) == Keyed(7, Random(b"client", b""))
    pieces = ffi.new("CK_PRF_DATA_PARAM[2]", [(1, client, 3), (2, ffi.NULL, 0)])
    counted = ffi.new("CK_SP800_108_KDF_PARAMS *", {"ulNumberOfDataParams": 2, "pDataParams": pieces})
    assert read(Counted, counted) == Counted((Piece(1, b"cli"), Piece(2, b"")))
    for count, array in ((1, ffi.NULL), (MOST_PARTS + 1, pieces)):
        counted.ulNumberOfDataParams, counted.pDataParams = count, array
        with pytest.raises(MechanismParamInvalid):
            read(Counted, counted)
    assert read(Wrapping, ffi.new("CK_RSA_AES_KEY_WRAP_PARAMS *", (256, ffi.NULL))) == Wrapping(None)
