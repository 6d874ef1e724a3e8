/* The token keys that operations use: found by their labels, made where they are not there yet. */

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
static CK_ULONG rsa_bits = 2048;
static CK_BYTE f4[] = {1, 0, 1};
static CK_BYTE p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
static CK_BYTE p384[] = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22};
static CK_BYTE edwards25519[] = {0x06, 0x03, 0x2b, 0x65, 0x70};

/* A kind of pair: what generates it, and the attributes that say which; `decrypts`: it encrypts as well as signs. */
struct kind {
    CK_MECHANISM_TYPE type;
    CK_ATTRIBUTE which[2];
    CK_ULONG count;
    CK_BBOOL *decrypts;
};
static const struct kind
    rsa_2048 = {CKM_RSA_PKCS_KEY_PAIR_GEN,
                {{CKA_MODULUS_BITS, &rsa_bits, sizeof rsa_bits}, {CKA_PUBLIC_EXPONENT, f4, sizeof f4}}, 2, &yes},
    ec_p256 = {CKM_EC_KEY_PAIR_GEN, {{CKA_EC_PARAMS, p256, sizeof p256}}, 1, &no},
    ec_p384 = {CKM_EC_KEY_PAIR_GEN, {{CKA_EC_PARAMS, p384, sizeof p384}}, 1, &no},
    ed25519 = {CKM_EC_EDWARDS_KEY_PAIR_GEN, {{CKA_EC_PARAMS, edwards25519, sizeof edwards25519}}, 1, &no};

/* The public key of a pair is in the row below that of its private key. */
enum { AES, CARRIED, MAC, RSA_2048, RSA_2048_PUBLIC, P256, P256_PUBLIC, P384, P384_PUBLIC, ED25519, ED25519_PUBLIC, KEY_COUNT };
static const struct {
    const char *label;
    CK_ULONG class;
    CK_MECHANISM_TYPE generated_by;
    const struct kind *kind;
} KEYS[KEY_COUNT] = {
    [AES] = {"aes", CKO_SECRET_KEY, CKM_AES_KEY_GEN, NULL},
    [CARRIED] = {"carried", CKO_SECRET_KEY, CKM_AES_KEY_GEN, NULL},
    [MAC] = {"mac", CKO_SECRET_KEY, CKM_GENERIC_SECRET_KEY_GEN, NULL},
    [RSA_2048] = {"rsa", CKO_PRIVATE_KEY, 0, &rsa_2048},
    [RSA_2048_PUBLIC] = {"rsa", CKO_PUBLIC_KEY, 0, NULL},
    [P256] = {"p-256", CKO_PRIVATE_KEY, 0, &ec_p256},
    [P256_PUBLIC] = {"p-256", CKO_PUBLIC_KEY, 0, NULL},
    [P384] = {"p-384", CKO_PRIVATE_KEY, 0, &ec_p384},
    [P384_PUBLIC] = {"p-384", CKO_PUBLIC_KEY, 0, NULL},
    [ED25519] = {"ed25519", CKO_PRIVATE_KEY, 0, &ed25519},
    [ED25519_PUBLIC] = {"ed25519", CKO_PUBLIC_KEY, 0, NULL},
};
static CK_OBJECT_HANDLE keys[KEY_COUNT];
enum { LABEL_ROOM = 32 };

/* Find the number of objects with this label and class, two at most, and the first. */
static CK_RV find(CK_SESSION_HANDLE session, const char *label, CK_ULONG class, CK_ULONG *count, CK_OBJECT_HANDLE *first)
{
    CK_ATTRIBUTE wanted[] = {{CKA_LABEL, (char *)label, strlen(label)}, {CKA_CLASS, &class, sizeof class}};
    CK_OBJECT_HANDLE found[2];
    CK_RV rv = p11->C_FindObjectsInit(session, wanted, 2);

    *count = 0;
    rv = rv ? rv : p11->C_FindObjects(session, found, 2, count);
    rv = rv ? rv : p11->C_FindObjectsFinal(session);
    if (rv == CKR_OK && *count)
        *first = found[0];
    return rv;
}

/* A key that the mechanism leaves CKA_VALUE_LEN to has 32 bytes; `token`: it is kept. */
static CK_RV generate_secret(CK_SESSION_HANDLE session, CK_MECHANISM_TYPE type, const char *label, int token,
                             CK_OBJECT_HANDLE *key)
{
    CK_MECHANISM mechanism = {type, NULL, 0};
    CK_ULONG length = 32;
    CK_BBOOL is_mac = type == CKM_GENERIC_SECRET_KEY_GEN, carried = strcmp(label, KEYS[CARRIED].label) == 0;
    CK_BBOOL is_cipher = !is_mac;
    CK_ATTRIBUTE template[] = {
        {CKA_TOKEN, token ? &yes : &no, 1}, {CKA_LABEL, (char *)label, strlen(label)},
        {CKA_VALUE_LEN, &length, sizeof length}, {CKA_ENCRYPT, &is_cipher, 1}, {CKA_DECRYPT, &is_cipher, 1},
        {CKA_WRAP, &is_cipher, 1}, {CKA_UNWRAP, &is_cipher, 1}, {CKA_SIGN, &is_mac, 1}, {CKA_VERIFY, &is_mac, 1},
        {CKA_EXTRACTABLE, carried ? &yes : &no, 1}, {CKA_SENSITIVE, &yes, 1},
    };

    return p11->C_GenerateKey(session, &mechanism, template, sizeof template / sizeof *template, key);
}

static CK_RV generate_pair(CK_SESSION_HANDLE session, const struct kind *kind, const char *label, int token,
                           CK_OBJECT_HANDLE *private, CK_OBJECT_HANDLE *public)
{
    CK_MECHANISM mechanism = {kind->type, NULL, 0};
    CK_ATTRIBUTE of_public[] = {{CKA_TOKEN, token ? &yes : &no, 1}, {CKA_LABEL, (char *)label, strlen(label)},
                                {CKA_VERIFY, &yes, 1}, {CKA_ENCRYPT, kind->decrypts, 1}, kind->which[0], kind->which[1]};
    CK_ATTRIBUTE of_private[] = {{CKA_TOKEN, token ? &yes : &no, 1}, {CKA_LABEL, (char *)label, strlen(label)},
                                 {CKA_SIGN, &yes, 1}, {CKA_DECRYPT, kind->decrypts, 1}};

    return p11->C_GenerateKeyPair(session, &mechanism, of_public, 4 + kind->count, of_private, 4, public, private);
}

static CK_RV make(CK_SESSION_HANDLE session, int which)
{
    if (KEYS[which].kind)
        return generate_pair(session, KEYS[which].kind, KEYS[which].label, 1, &keys[which], &keys[which + 1]);
    if (KEYS[which].generated_by)
        return generate_secret(session, KEYS[which].generated_by, KEYS[which].label, 1, &keys[which]);
    return CKR_FUNCTION_FAILED; /* its pair could not be made, or is there without it */
}

/* A key that cannot be made stays without handle: what uses it says why it cannot. */
static void find_or_make_keys(CK_SESSION_HANDLE session)
{
    CK_ULONG count;

    for (int which = 0; which < KEY_COUNT; which++) {
        if (!keys[which])
            must("find", find(session, KEYS[which].label, KEYS[which].class, &count, &keys[which]));
        CK_RV rv = keys[which] ? CKR_OK : make(session, which);
        if (rv)
            fprintf(stderr, "key %s: 0x%lx\n", KEYS[which].label, rv);
    }
}

/* Add the token objects that find_one() and find_all() look through. */
static void fill(CK_SESSION_HANDLE session, long first, long end)
{
    CK_ULONG class = CKO_SECRET_KEY, type = CKK_AES;
    CK_BYTE value[32];
    char label[LABEL_ROOM];

    for (long number = first; number < end; number++) {
        CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class}, {CKA_KEY_TYPE, &type, sizeof type},
                                   {CKA_TOKEN, &yes, 1}, {CKA_VALUE, value, sizeof value}, {CKA_LABEL, label, 0}};
        CK_OBJECT_HANDLE object;
        template[4].ulValueLen = (CK_ULONG)snprintf(label, sizeof label, "object-%ld", number);
        must("C_GenerateRandom", p11->C_GenerateRandom(session, value, sizeof value));
        must("C_CreateObject", p11->C_CreateObject(session, template, 5, &object));
    }
}
