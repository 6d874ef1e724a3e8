"""Where a suite expects what we will not do: suite -> pattern of its failures -> why ours is right."""

from __future__ import annotations

EXCUSES: dict[str, dict[str, str]] = {
    "pkcs11-check": {
        r"test_registry_message_(sign|verify)_wrong_key_type\[BLAKE2B_": (
            'the suite wants generic secret keys refused; 3.2, "HMAC mechanisms": the key "shall correspond to the '
            'PKCS11 generic secret key type or the mechanism specific key types"; it allows them for every other HMAC'
        ),
        r"test_registry_message_(en|de)crypt_missing_required_param\[": (
            "the parameter belongs to each message (3.0, C_EncryptMessage); consumers as NSS begin without one"
        ),
        r"test_kat_vector\[DES3_": (
            'the suite\'s key has bytes of even parity; a token refuses to create such a key (2.40, "DES3 secret keys")'
        ),
        r"TestMLDSAHedgeVariants::test_deterministic_required": (
            "the primitives make hedged signatures only; the parameter is refused, which the suite does not expect"
        ),
        r"ckr/test_ckr_kem\.py": (
            'the suite gives CKA_PARAMETER_SET for the private half, which note 4 of its table forbids; 3.2, "ML-KEM '
            'private key objects": "the parameter set is not specified in the key\'s template"'
        ),
        r"test_pkcs1v15_bleichenbacher_structured_oracle": (
            "the suite fails on any answer but an error; bad padding gives bytes, whether a block begins with 00 02 or "
            "not (implicit rejection; tests/crypto/test_rsa.py shows both alike), so nothing can be told apart"
        ),
        r"test_cancel_after_digest_init_subprocess": (
            "the suite wants C_SessionCancel without flags to cancel everything; the flags say what is cancelled (3.0)"
        ),
        r"test_get_session_validation_flags_returns_flags": (
            "the suite asks for flags of type 0; the only type of 3.2 is CKS_LAST_VALIDATION_OK, which is 1"
        ),
        r"test_extractable_and_never_extractable_consistent": (
            "the suite wants CKA_EXTRACTABLE false by default; the default is the token's, ours true"
        ),
        r"TestAuthenticatedWrap::test_aes_gcm": (
            "the suite unwraps without CKA_CLASS and CKA_KEY_TYPE, which a template of C_UnwrapKey must have"
        ),
        r"test_registry_derive_wrong_key_type\[": (
            'the suite wants an AES key refused; 3.2, "Miscellaneous simple key derivation mechanisms", names no type: '
            '"onto the end of a specified secret key", and of hashes: "digesting the value of another secret key"'
        ),
        r"TestAsyncErrors::test_async_get_id": "the suite's own call of C_AsyncGetID ends before it reaches the module",
        r"TestTLS10PreMasterKeyGen::test_tls_prf": (
            "the suite wants a handle from CKM_TLS_PRF, whose answer is in its parameter (2.40: phKey is to be NULL)"
        ),
        r"test_verify_signature_multipart": (
            "the suite verifies in parts with CKM_RSA_PKCS, which the standard has for single parts only"
        ),
    },
    "pkcs11js": {
        r"C_(DigestEncrypt|DecryptDigest|SignEncrypt|DecryptVerify)Update": (
            "the suite wants CKR_FUNCTION_NOT_SUPPORTED, as SoftHSM2 answers: we have the function, and none of the "
            "two operations was begun"
        ),
        r"CK_DATE attributes": (
            "the suite's CKA_SUBJECT is cut short and not that of its certificate: CKR_TEMPLATE_INCONSISTENT"
        ),
        r"C_GetMechanismInfo should return the same flags": (
            "the suite wants CKM_AES_ECB to encrypt and decrypt only; ours wraps too"
        ),
    },
    "Java": {
        r"^Signature SHA3-\d+withRSASSA-PSS": (
            "SunPKCS11 of JDK 17 offers these and cannot hand their parameter to any module: the call never comes"
        ),
    },
    "PyKCS11": {
        r"test_LowLevel|test_info\.TestUtil\.test_get(Info|SlotInfo|TokenInfo)": "the suite wants SoftHSM2's own name",
        r"test_gc": "the suite logs out where nobody is logged in; the standard's answer is CKR_USER_NOT_LOGGED_IN",
        r"test_load.*test_invalid_load": "follows from test_gc, which ends before it unloads the library",
        r"TestEDDSA\.test_sign_(text|test_vectors)": (
            "Ed25519ctx and Ed25519ph are in no primitive here: CKR_MECHANISM_PARAM_INVALID. SoftHSM2 ignores the "
            "parameter and makes another signature than was asked for"
        ),
    },
    "python-pkcs11": {
        r"test_generate_ml_kem_512": "ML-KEM-512 is not in the primitives library",
    },
    "miekg pkcs11": {
        r"^TestGetInfo": "the suite wants SoftHSM2's own name",
    },
    "graphene": {
        r"^Object set function": "the suite wants SoftHSM2's default of CKA_PRIVATE for data objects",
        r"^ECDSA sign/verify SHA-": (
            "the suite wants an exception where a signature is wrong; graphene makes one of every code but "
            "CKR_SIGNATURE_INVALID, which is the one that the standard names and that we answer"
        ),
        r"^(Object|Session) (copy|get|set|destroy|size|create)": "the suite stores an RSA public key of modulus 1",
        r"^Module NSS Initialize": "this test is of NSS's softoken, not of the module",
    },
}
