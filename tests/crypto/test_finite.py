"""Domain parameters and keys of DSA and Diffie-Hellman."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from mrhsm_p11.constants import CKA, CKK, CKM, CKO
from mrhsm_p11.crypto import agreement, der, engine, material
from mrhsm_p11.errors import AttributeValueInvalid, DomainParamsInvalid, TemplateIncomplete
from mrhsm_p11.mapping.codecs import Value
from mrhsm_p11.mapping.mechanisms import ROWS

DSA, DH = ROWS[CKM.DSA_PARAMETER_GEN], ROWS[CKM.DH_PKCS_PARAMETER_GEN]
SIZES = (CKA.PRIME_BITS, CKA.SUBPRIME_BITS)


def group(mechanism: int, bits: int) -> dict[int, Value]:
    """Return new domain parameters as a template has them."""
    row = ROWS[mechanism]
    made = engine.generate_parameters(row, {CKA.PRIME_BITS: bits})
    seen = material.derived(CKO.DOMAIN_PARAMETERS, row.key_types[0], made)
    assert seen[CKA.PRIME_BITS] == bits
    given = {cka: value for cka, value in seen.items() if cka not in SIZES}
    common = {CKA.CLASS: CKO.DOMAIN_PARAMETERS, CKA.KEY_TYPE: row.key_types[0]}
    assert material.split({**common, **given})[1] == made
    return given


@pytest.mark.parametrize(
    ("mechanism", "bits", "pairs"),
    [
        (CKM.DSA_PARAMETER_GEN, 1024, CKM.DSA_KEY_PAIR_GEN),
        (CKM.DH_PKCS_PARAMETER_GEN, 512, CKM.DH_PKCS_KEY_PAIR_GEN),
        (CKM.DH_PKCS_PARAMETER_GEN, 2048, CKM.DH_PKCS_KEY_PAIR_GEN),
        (CKM.DH_PKCS_PARAMETER_GEN, 8192, CKM.DH_PKCS_KEY_PAIR_GEN),
    ],
)
def test_parameters_make_pairs(mechanism: int, bits: int, pairs: int) -> None:
    made, row = group(mechanism, bits), ROWS[pairs]
    key_type = row.key_types[0]
    sizes: dict[int, Value] = {CKA.VALUE_BITS: 256} if key_type == CKK.DH else {}
    public, private = engine.generate_pair(row, made, sizes)
    halves = [(CKO.PUBLIC_KEY, public), (CKO.PRIVATE_KEY, private)]
    for cls, half in halves:
        seen = material.derived(cls, key_type, half)
        assert {cka: seen[cka] for cka in made} == made
        assert seen[CKA.PUBLIC_KEY_INFO] == public.reveal()
        assert seen.get(CKA.VALUE_BITS, 256) == 256
        given = {cka: value for cka, value in seen.items() if cka not in (CKA.PUBLIC_KEY_INFO, CKA.VALUE_BITS)}
        assert material.split({CKA.CLASS: cls, CKA.KEY_TYPE: key_type, **given})[1] == half
        assert material.normalise(cls, key_type, half) == half


def test_both_sides_of_diffie_hellman_share_a_secret() -> None:
    made, row = group(CKM.DH_PKCS_PARAMETER_GEN, 2048), ROWS[CKM.DH_PKCS_KEY_PAIR_GEN]
    ours, theirs = engine.generate_pair(row, made, {}), engine.generate_pair(row, made, {})
    values = [material.derived(CKO.PUBLIC_KEY, CKK.DH, public)[CKA.VALUE] for public, _ in (ours, theirs)]
    assert isinstance(values[0], bytes)
    assert isinstance(values[1], bytes)
    shared = agreement.shared_secret(CKK.DH, ours[1], values[1])
    assert shared == agreement.shared_secret(CKK.DH, theirs[1], values[0])
    assert len(shared) == 256


@pytest.mark.skipif(not shutil.which("openssl"), reason="OpenSSL is not installed")
@pytest.mark.parametrize("bits", [2048, 3072, 4096, 6144, 8192])
def test_groups_are_those_of_rfc_7919(bits: int) -> None:
    asked = ["openssl", "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", f"group:ffdhe{bits}", "-text"]
    text = subprocess.run(asked, check=True, capture_output=True, text=True, timeout=60).stdout
    if "prime" in text:
        digits = text[text.index("prime") :].split(":", 1)[1].split("generator")[0]
    else:  # OpenSSL tells the group's name alone: take the public key's prime
        key = subprocess.run(
            ["openssl", "genpkey", "-algorithm", "DH", "-pkeyopt", f"group:ffdhe{bits}", "-text"],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
        assert f"ffdhe{bits}" in key
        der_key = subprocess.run(
            ["openssl", "pkey", "-outform", "DER"], input=key.encode(), check=True, capture_output=True, timeout=60
        ).stdout
        prime = group(CKM.DH_PKCS_PARAMETER_GEN, bits)[CKA.PRIME]
        assert isinstance(prime, bytes)
        assert der.integer(prime) in der_key
        return
    expected = bytes.fromhex("".join(digits.split()).replace(":", "")).lstrip(b"\0")
    assert group(CKM.DH_PKCS_PARAMETER_GEN, bits)[CKA.PRIME] == expected


def test_parameters_that_are_not_made() -> None:
    for row in (DSA, DH):
        with pytest.raises(TemplateIncomplete):
            engine.generate_parameters(row, {})
        for bits in (0, 511, 1025, 1536, 2049, 4095, 16384):
            with pytest.raises(AttributeValueInvalid):
                engine.generate_parameters(row, {CKA.PRIME_BITS: bits})
    with pytest.raises(AttributeValueInvalid):
        engine.generate_parameters(DSA, {CKA.PRIME_BITS: 2048, CKA.SUBPRIME_BITS: 224})


def test_pairs_in_no_group() -> None:
    dh = group(CKM.DH_PKCS_PARAMETER_GEN, 2048)
    for pairs, given in ((CKM.DH_PKCS_KEY_PAIR_GEN, dh), (CKM.DSA_KEY_PAIR_GEN, {**dh, CKA.SUBPRIME: b"\x17"})):
        for part in given:
            for wrong in (b"", b"\0", b"\1", b"\xff" * 300):
                with pytest.raises((DomainParamsInvalid, AttributeValueInvalid)):
                    engine.generate_pair(ROWS[pairs], {**given, part: wrong}, {})
    for bits in (0, 1, 159, 2048):
        with pytest.raises(AttributeValueInvalid):
            engine.generate_pair(ROWS[CKM.DH_PKCS_KEY_PAIR_GEN], dh, {CKA.VALUE_BITS: bits})


@pytest.mark.parametrize("key_type", [CKK.DSA, CKK.DH])
def test_public_values_outside_the_group(key_type: int) -> None:
    given = group(CKM.DSA_PARAMETER_GEN if key_type == CKK.DSA else CKM.DH_PKCS_PARAMETER_GEN, 1024)
    prime = given[CKA.PRIME]
    assert isinstance(prime, bytes)
    for value in (b"", b"\0", b"\1", prime, prime[:-1] + bytes((prime[-1] - 1,))):
        template = {CKA.CLASS: CKO.PUBLIC_KEY, CKA.KEY_TYPE: key_type, CKA.VALUE: value, **given}
        with pytest.raises(AttributeValueInvalid):
            material.split(template)
