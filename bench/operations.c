/* What is measured: each row is one operation as an application does it, and the same asked of libcrypto alone. */

static CK_BYTE iv[16] = "sixteen bytes iv";
static CK_GCM_PARAMS gcm = {iv, 12, 96, NULL, 0, 128};
static CK_MECHANISM cbc_pad = {CKM_AES_CBC_PAD, iv, sizeof iv}, in_gcm = {CKM_AES_GCM, &gcm, sizeof gcm},
                    sha256 = {CKM_SHA256, NULL, 0}, hmac = {CKM_SHA256_HMAC, NULL, 0},
                    key_wrap = {CKM_AES_KEY_WRAP, NULL, 0}, rsa = {CKM_SHA256_RSA_PKCS, NULL, 0},
                    ecdsa = {CKM_ECDSA, NULL, 0}, eddsa = {CKM_EDDSA, NULL, 0};
static CK_RSA_PKCS_OAEP_PARAMS of_oaep = {CKM_SHA_1, CKG_MGF1_SHA1, CKZ_DATA_SPECIFIED, NULL, 0}; /* all SoftHSM2 has */
static CK_MECHANISM oaep = {CKM_RSA_PKCS_OAEP, &of_oaep, sizeof of_oaep};

static CK_RV encrypt(struct worker *it, CK_MECHANISM *mechanism)
{
    CK_ULONG room = ROOM;
    CK_RV rv = p11->C_EncryptInit(it->session, mechanism, keys[AES]);

    return rv ? rv : p11->C_Encrypt(it->session, it->text, it->size, it->output, &room);
}

static CK_RV encrypt_cbc_pad(struct worker *it)
{
    return encrypt(it, &cbc_pad);
}

static CK_RV encrypt_gcm(struct worker *it)
{
    return encrypt(it, &in_gcm);
}

static CK_RV digest(struct worker *it)
{
    CK_ULONG room = ROOM;
    CK_RV rv = p11->C_DigestInit(it->session, &sha256);

    return rv ? rv : p11->C_Digest(it->session, it->text, it->size, it->output, &room);
}

static CK_RV sign(struct worker *it, CK_MECHANISM *mechanism, int key, CK_ULONG size)
{
    CK_RV rv = p11->C_SignInit(it->session, mechanism, keys[key]);

    it->made_size = sizeof it->made;
    return rv ? rv : p11->C_Sign(it->session, it->text, size, it->made, &it->made_size);
}

static CK_RV verify(struct worker *it, CK_MECHANISM *mechanism, int key)
{
    CK_RV rv = p11->C_VerifyInit(it->session, mechanism, keys[key]);

    return rv ? rv : p11->C_Verify(it->session, it->text, DIGEST, it->made, it->made_size);
}

static CK_RV sign_hmac(struct worker *it)
{
    return sign(it, &hmac, MAC, it->size);
}

static CK_RV sign_rsa(struct worker *it)
{
    return sign(it, &rsa, RSA_2048, DIGEST);
}

static CK_RV sign_p256(struct worker *it)
{
    return sign(it, &ecdsa, P256, DIGEST);
}

static CK_RV sign_p384(struct worker *it)
{
    return sign(it, &ecdsa, P384, DIGEST);
}

static CK_RV sign_ed25519(struct worker *it)
{
    return sign(it, &eddsa, ED25519, DIGEST);
}

static CK_RV verify_rsa(struct worker *it)
{
    return verify(it, &rsa, RSA_2048_PUBLIC);
}

static CK_RV verify_p256(struct worker *it)
{
    return verify(it, &ecdsa, P256_PUBLIC);
}

static CK_RV verify_p384(struct worker *it)
{
    return verify(it, &ecdsa, P384_PUBLIC);
}

static CK_RV verify_ed25519(struct worker *it)
{
    return verify(it, &eddsa, ED25519_PUBLIC);
}

static CK_RV encrypt_oaep(struct worker *it)
{
    CK_RV rv = p11->C_EncryptInit(it->session, &oaep, keys[RSA_2048_PUBLIC]);

    it->made_size = sizeof it->made;
    return rv ? rv : p11->C_Encrypt(it->session, it->text, DIGEST, it->made, &it->made_size);
}

static CK_RV decrypt_oaep(struct worker *it)
{
    CK_ULONG room = ROOM;
    CK_RV rv = p11->C_DecryptInit(it->session, &oaep, keys[RSA_2048]);

    return rv ? rv : p11->C_Decrypt(it->session, it->made, it->made_size, it->output, &room);
}

static CK_RV wrap(struct worker *it)
{
    it->made_size = sizeof it->made;
    return p11->C_WrapKey(it->session, &key_wrap, keys[AES], keys[CARRIED], it->made, &it->made_size);
}

static CK_RV unwrap(struct worker *it)
{
    CK_ULONG class = CKO_SECRET_KEY, type = CKK_AES;
    CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class}, {CKA_KEY_TYPE, &type, sizeof type},
                               {CKA_TOKEN, &no, 1}, {CKA_ENCRYPT, &yes, 1}, {CKA_DECRYPT, &yes, 1}};
    CK_RV rv = p11->C_UnwrapKey(it->session, &key_wrap, keys[AES], it->made, it->made_size, template, 5, &it->key);

    return rv ? rv : p11->C_DestroyObject(it->session, it->key);
}

static CK_RV generate_aes(struct worker *it)
{
    CK_RV rv = generate_secret(it->session, CKM_AES_KEY_GEN, "made", 0, &it->key);

    return rv ? rv : p11->C_DestroyObject(it->session, it->key);
}

static CK_RV generate_and_destroy(struct worker *it, const struct kind *kind)
{
    CK_OBJECT_HANDLE public;
    CK_RV rv = generate_pair(it->session, kind, "made", 0, &it->key, &public);

    rv = rv ? rv : p11->C_DestroyObject(it->session, it->key);
    return rv ? rv : p11->C_DestroyObject(it->session, public);
}

static CK_RV generate_rsa(struct worker *it)
{
    return generate_and_destroy(it, &rsa_2048);
}

static CK_RV generate_p256(struct worker *it)
{
    return generate_and_destroy(it, &ec_p256);
}

static CK_RV random_bytes(struct worker *it)
{
    return p11->C_GenerateRandom(it->session, it->output, it->size);
}

static CK_RV session_info(struct worker *it)
{
    CK_SESSION_INFO info;

    return p11->C_GetSessionInfo(it->session, &info);
}

static CK_RV info(struct worker *it)
{
    CK_INFO info;

    return p11->C_GetInfo(&info);
}

static CK_RV attributes(struct worker *it)
{
    CK_ULONG class, type;
    CK_BYTE label[LABEL_ROOM];
    CK_ATTRIBUTE wanted[] = {
        {CKA_CLASS, &class, sizeof class}, {CKA_KEY_TYPE, &type, sizeof type}, {CKA_LABEL, label, sizeof label}};

    return p11->C_GetAttributeValue(it->session, keys[AES], wanted, 3);
}

/* By its label, among all that fill() has made. */
static CK_RV find_one(struct worker *it)
{
    CK_OBJECT_HANDLE first;
    CK_ULONG count;
    CK_RV rv = find(it->session, "object-7", CKO_SECRET_KEY, &count, &first);

    return rv || count == 1 ? rv : CKR_FUNCTION_FAILED;
}

static CK_RV find_all(struct worker *it)
{
    enum { PAGE = 100 };
    CK_OBJECT_HANDLE page[PAGE];
    CK_ULONG count = PAGE;
    CK_RV rv = p11->C_FindObjectsInit(it->session, NULL, 0);

    while (rv == CKR_OK && count == PAGE)
        rv = p11->C_FindObjects(it->session, page, PAGE, &count);
    return rv ? rv : p11->C_FindObjectsFinal(it->session);
}

static const struct operation OPERATIONS[] = {
    {"AES-CBC-PAD", encrypt_cbc_pad, bare_cbc_pad, NULL},
    {"AES-GCM", encrypt_gcm, bare_gcm, NULL},
    {"HMAC-SHA256", sign_hmac, bare_hmac, NULL},
    {"SHA-256", digest, bare_digest, NULL},
    {"random", random_bytes, bare_random, NULL},
    {"wrap", wrap, bare_wrap, NULL},
    {"unwrap", unwrap, bare_unwrap, wrap},
    {"sign RSA-2048", sign_rsa, bare_sign_rsa, NULL},
    {"verify RSA-2048", verify_rsa, bare_verify_rsa, sign_rsa},
    {"OAEP decrypt RSA-2048", decrypt_oaep, bare_decrypt_oaep, encrypt_oaep},
    {"sign P-256", sign_p256, bare_sign_p256, NULL},
    {"verify P-256", verify_p256, bare_verify_p256, sign_p256},
    {"sign P-384", sign_p384, bare_sign_p384, NULL},
    {"verify P-384", verify_p384, bare_verify_p384, sign_p384},
    {"sign Ed25519", sign_ed25519, bare_sign_ed25519, NULL},
    {"verify Ed25519", verify_ed25519, bare_verify_ed25519, sign_ed25519},
    {"generate AES", generate_aes, bare_random, NULL},
    {"generate RSA-2048", generate_rsa, bare_generate_rsa, NULL},
    {"generate P-256", generate_p256, bare_generate_p256, NULL},
    {"session info", session_info, NULL, NULL},
    {"library info", info, NULL, NULL},
    {"3 attributes", attributes, NULL, NULL},
    {"find one", find_one, NULL, NULL},
    {"find all", find_all, NULL, NULL},
};

static const struct operation *operation_named(const char *name)
{
    for (size_t i = 0; i < sizeof OPERATIONS / sizeof *OPERATIONS; i++)
        if (strcmp(OPERATIONS[i].name, name) == 0)
            return &OPERATIONS[i];
    return NULL;
}
