/* A call of each function in which nothing is wrong: faults.c then spoils one thing of it.
 *
 * A row names the calls that must have been made before, and what is passed; the arguments themselves are built along
 * crossing.h's table, each in guarded memory of exactly its size. */
#ifndef SOUND_H
#define SOUND_H

enum object { NONE, AES, SECRET, RSA_PUBLIC, RSA_PRIVATE, EC_PUBLIC, EC_PRIVATE, KEM_PUBLIC, KEM_PRIVATE, DATA, OBJECT_COUNT };
enum mechanism { CBC, GCM, SHA256, HMAC, RSA_PKCS, AES_GEN, EC_GEN, WRAPPING, DERIVING, KEM, MECHANISM_COUNT };
enum template { NO_TEMPLATE, OF_DATA, OF_LABEL, OF_SEARCH, OF_WISHES, OF_KEY, OF_PUBLIC, OF_PRIVATE, OF_UNWRAPPED };
enum value { TEXT, ASIDE, SIGNATURE, RSA_SIGNATURE, WRAPPED, SEALED, SEALED_KEY, CAPSULE, STATE, SO_PIN, PIN, NOTHING, VALUE_COUNT };

struct sound {
    const char *name, *before[2]; /* before: calls whose rows make the beginning */
    enum object keys[2];
    enum mechanism mechanism;
    enum template templates[2];
    CK_RV answer;
    enum value made; /* what the output is kept as, for other rows; 0: nothing */
};

#define BEGUN(...) .before = {__VA_ARGS__}
#define KEYS(...) .keys = {__VA_ARGS__}
#define LISTS(...) .templates = {__VA_ARGS__}
/* In the order of making: what one gives, a later one takes. A function without a row needs nothing of this. */
static const struct sound SOUND[] = {
    {"C_Initialize", .answer = CKR_CRYPTOKI_ALREADY_INITIALIZED},
    {"C_Finalize", .answer = CKR_ARGUMENTS_BAD}, /* here with pReserved */
    {"C_InitToken", .answer = CKR_SESSION_EXISTS},
    {"C_InitPIN", .answer = CKR_USER_NOT_LOGGED_IN},
    {"C_CloseSession", BEGUN("C_OpenSession")},
    {"C_Login", BEGUN("C_Logout")},
    {"C_LoginUser", BEGUN("C_Logout")},
    {"C_CreateObject", LISTS(OF_DATA)},
    {"C_CopyObject", KEYS(DATA), LISTS(OF_LABEL)},
    {"C_DestroyObject", BEGUN("C_CreateObject")},
    {"C_GetObjectSize", KEYS(AES)},
    {"C_GetAttributeValue", KEYS(AES), LISTS(OF_WISHES)},
    {"C_SetAttributeValue", KEYS(DATA), LISTS(OF_LABEL)},
    {"C_FindObjectsInit", LISTS(OF_SEARCH)},
    {"C_FindObjects", BEGUN("C_FindObjectsInit")},
    {"C_FindObjectsFinal", BEGUN("C_FindObjectsInit")},
    {"C_EncryptInit", KEYS(AES), .mechanism = CBC},
    {"C_Encrypt", BEGUN("C_EncryptInit")},
    {"C_EncryptUpdate", BEGUN("C_EncryptInit")},
    {"C_EncryptFinal", BEGUN("C_EncryptInit")},
    {"C_DecryptInit", KEYS(AES), .mechanism = CBC},
    {"C_Decrypt", BEGUN("C_DecryptInit")},
    {"C_DecryptUpdate", BEGUN("C_DecryptInit")},
    {"C_DecryptFinal", BEGUN("C_DecryptInit")},
    {"C_DigestInit", .mechanism = SHA256},
    {"C_Digest", BEGUN("C_DigestInit")},
    {"C_DigestUpdate", BEGUN("C_DigestInit")},
    {"C_DigestKey", BEGUN("C_DigestInit"), KEYS(SECRET)},
    {"C_DigestFinal", BEGUN("C_DigestInit")},
    {"C_GetOperationState", BEGUN("C_DigestInit"), .made = STATE},
    {"C_SignInit", KEYS(SECRET), .mechanism = HMAC},
    {"C_Sign", BEGUN("C_SignInit"), .made = SIGNATURE},
    {"C_SignUpdate", BEGUN("C_SignInit")},
    {"C_SignFinal", BEGUN("C_SignUpdate")},
    {"C_VerifyInit", KEYS(SECRET), .mechanism = HMAC},
    {"C_Verify", BEGUN("C_VerifyInit")},
    {"C_VerifyUpdate", BEGUN("C_VerifyInit")},
    {"C_VerifyFinal", BEGUN("C_VerifyUpdate")},
    {"C_SignRecoverInit", KEYS(RSA_PRIVATE), .mechanism = RSA_PKCS},
    {"C_SignRecover", BEGUN("C_SignRecoverInit"), .made = RSA_SIGNATURE},
    {"C_VerifyRecoverInit", KEYS(RSA_PUBLIC), .mechanism = RSA_PKCS},
    {"C_VerifyRecover", BEGUN("C_VerifyRecoverInit")},
    {"C_DigestEncryptUpdate", BEGUN("C_DigestInit", "C_EncryptInit")},
    {"C_DecryptDigestUpdate", BEGUN("C_DigestInit", "C_DecryptInit")},
    {"C_SignEncryptUpdate", BEGUN("C_SignInit", "C_EncryptInit")},
    {"C_DecryptVerifyUpdate", BEGUN("C_VerifyInit", "C_DecryptInit")},
    {"C_GenerateKey", .mechanism = AES_GEN, LISTS(OF_KEY)},
    {"C_GenerateKeyPair", .mechanism = EC_GEN, LISTS(OF_PUBLIC, OF_PRIVATE)},
    {"C_WrapKey", KEYS(AES, SECRET), .mechanism = WRAPPING, .made = WRAPPED},
    {"C_UnwrapKey", KEYS(AES), .mechanism = WRAPPING, LISTS(OF_UNWRAPPED)},
    {"C_DeriveKey", KEYS(SECRET), .mechanism = DERIVING, LISTS(OF_UNWRAPPED)},
    {"C_GetFunctionStatus", .answer = CKR_FUNCTION_NOT_PARALLEL},
    {"C_CancelFunction", .answer = CKR_FUNCTION_NOT_PARALLEL},
    {"C_WaitForSlotEvent", .answer = CKR_NO_EVENT},
    {"C_MessageEncryptInit", KEYS(AES), .mechanism = GCM},
    {"C_EncryptMessage", BEGUN("C_MessageEncryptInit"), .made = SEALED},
    {"C_EncryptMessageBegin", BEGUN("C_MessageEncryptInit")},
    {"C_EncryptMessageNext", BEGUN("C_EncryptMessageBegin")},
    {"C_MessageEncryptFinal", BEGUN("C_MessageEncryptInit")},
    {"C_MessageDecryptInit", KEYS(AES), .mechanism = GCM},
    {"C_DecryptMessage", BEGUN("C_MessageDecryptInit")},
    {"C_DecryptMessageBegin", BEGUN("C_MessageDecryptInit")},
    {"C_DecryptMessageNext", BEGUN("C_DecryptMessageBegin")},
    {"C_MessageDecryptFinal", BEGUN("C_MessageDecryptInit")},
    {"C_MessageSignInit", KEYS(SECRET), .mechanism = HMAC},
    {"C_SignMessage", BEGUN("C_MessageSignInit")},
    {"C_SignMessageBegin", BEGUN("C_MessageSignInit")},
    {"C_SignMessageNext", BEGUN("C_SignMessageBegin")},
    {"C_MessageSignFinal", BEGUN("C_MessageSignInit")},
    {"C_MessageVerifyInit", KEYS(SECRET), .mechanism = HMAC},
    {"C_VerifyMessage", BEGUN("C_MessageVerifyInit")},
    {"C_VerifyMessageBegin", BEGUN("C_MessageVerifyInit")},
    {"C_VerifyMessageNext", BEGUN("C_VerifyMessageBegin")},
    {"C_MessageVerifyFinal", BEGUN("C_MessageVerifyInit")},
    {"C_EncapsulateKey", KEYS(KEM_PUBLIC), .mechanism = KEM, LISTS(OF_KEY), .made = CAPSULE},
    {"C_DecapsulateKey", KEYS(KEM_PRIVATE), .mechanism = KEM, LISTS(OF_KEY)},
    {"C_VerifySignatureInit", KEYS(SECRET), .mechanism = HMAC},
    {"C_VerifySignature", BEGUN("C_VerifySignatureInit")},
    {"C_VerifySignatureUpdate", BEGUN("C_VerifySignatureInit")},
    {"C_VerifySignatureFinal", BEGUN("C_VerifySignatureUpdate")},
    {"C_AsyncComplete", .answer = CKR_OPERATION_NOT_INITIALIZED},
    {"C_AsyncGetID", .answer = CKR_OPERATION_NOT_INITIALIZED},
    {"C_AsyncJoin", .answer = CKR_SAVED_STATE_INVALID},
    {"C_WrapKeyAuthenticated", KEYS(AES, SECRET), .mechanism = GCM, .made = SEALED_KEY},
    {"C_UnwrapKeyAuthenticated", KEYS(AES), .mechanism = GCM, LISTS(OF_UNWRAPPED)},
};

/* What is passed for bytes; TEXT where no row tells. The first that fits counts; a function is told by its beginning. */
static const struct { const char *function, *argument; enum value value; } INPUTS[] = {
    {"C_InitToken", "pPin", SO_PIN},
    {"", "pPin", PIN},
    {"", "pOldPin", PIN},
    {"", "pNewPin", PIN},
    {"", "pUsername", NOTHING},
    {"", "pAssociatedData", ASIDE},
    {"", "pOperationState", STATE},
    {"C_VerifyRecover", "pSignature", RSA_SIGNATURE},
    {"C_Verify", "pSignature", SIGNATURE},
    {"C_UnwrapKeyAuthenticated", "pWrappedKey", SEALED_KEY},
    {"C_UnwrapKey", "pWrappedKey", WRAPPED},
    {"C_DecapsulateKey", "pCiphertext", CAPSULE},
    {"C_DecryptMessage", "pCiphertext", SEALED},
    {"C_DecryptMessage", "pCiphertextPart", SEALED},
};

static const struct { CK_MECHANISM_TYPE type; CK_ULONG bare; } MECHANISMS[MECHANISM_COUNT] = {
    [CBC] = {CKM_AES_CBC, 16},
    [GCM] = {CKM_AES_GCM, 0},
    [SHA256] = {CKM_SHA256, 0},
    [HMAC] = {CKM_SHA256_HMAC, 0},
    [RSA_PKCS] = {CKM_RSA_PKCS, 0},
    [AES_GEN] = {CKM_AES_KEY_GEN, 0},
    [EC_GEN] = {CKM_EC_KEY_PAIR_GEN, 0},
    [WRAPPING] = {CKM_AES_KEY_WRAP_KWP, 0},
    [DERIVING] = {CKM_CONCATENATE_BASE_AND_DATA, 0},
    [KEM] = {CKM_ML_KEM, 0},
};

static CK_BBOOL yes = 1, no = 0;
static CK_ULONG aes_bytes = 32, rsa_bits = 1024, kem_set = CKP_ML_KEM_768, of_data = CKO_DATA, of_secret = CKO_SECRET_KEY,
                generic = CKK_GENERIC_SECRET;
static unsigned char p256[] = {0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07};
static CK_ATTRIBUTE inner[] = {{CKA_EXTRACTABLE, &yes, 1}};
enum { LONGEST_LIST = 4 };
static const CK_ATTRIBUTE TEMPLATES[][LONGEST_LIST] = {
    [OF_DATA] = {{CKA_CLASS, &of_data, 8}, {CKA_LABEL, "made", 4}, {CKA_VALUE, "value", 5}},
    [OF_LABEL] = {{CKA_LABEL, "sound", 5}},
    [OF_SEARCH] = {{CKA_CLASS, &of_data, 8}, {CKA_LABEL, "sound", 5}},
    [OF_WISHES] = {{CKA_KEY_TYPE, "        ", 8}, {CKA_ENCRYPT, " ", 1}, {CKA_VALUE_LEN, "        ", 8}},
    [OF_KEY] = {{CKA_VALUE_LEN, &aes_bytes, 8}, {CKA_PRIVATE, &no, 1}, {CKA_WRAP_TEMPLATE, inner, sizeof inner}},
    [OF_PUBLIC] = {{CKA_EC_PARAMS, p256, sizeof p256}, {CKA_VERIFY, &yes, 1}},
    [OF_PRIVATE] = {{CKA_SIGN, &yes, 1}, {CKA_ID, "id", 2}},
    [OF_UNWRAPPED] = {{CKA_CLASS, &of_secret, 8}, {CKA_KEY_TYPE, &generic, 8}, {CKA_EXTRACTABLE, &yes, 1}},
};

#endif
