/* The token keys that operations use: found by their labels, made where they are not there yet. */

enum { AES, CARRIED, MAC, RSA_PRIVATE, RSA_PUBLIC, EC_PRIVATE, EC_PUBLIC, KEY_COUNT };
static CK_OBJECT_HANDLE keys[KEY_COUNT];
static const char *const LABELS[KEY_COUNT] = {"aes", "carried", "mac", "rsa", "rsa", "ec", "ec"};
static const CK_ULONG CLASSES[KEY_COUNT] = {CKO_SECRET_KEY,  CKO_SECRET_KEY, CKO_SECRET_KEY, CKO_PRIVATE_KEY,
                                            CKO_PUBLIC_KEY, CKO_PRIVATE_KEY, CKO_PUBLIC_KEY};
enum { LABEL_ROOM = 32 };

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
static CK_ULONG rsa_bits = 2048;
static CK_BYTE p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
static CK_BYTE f4[] = {1, 0, 1};

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
    CK_BBOOL is_mac = type == CKM_GENERIC_SECRET_KEY_GEN, carried = strcmp(label, LABELS[CARRIED]) == 0;
    CK_BBOOL is_cipher = !is_mac;
    CK_ATTRIBUTE template[] = {
        {CKA_TOKEN, token ? &yes : &no, 1}, {CKA_LABEL, (char *)label, strlen(label)},
        {CKA_VALUE_LEN, &length, sizeof length}, {CKA_ENCRYPT, &is_cipher, 1}, {CKA_DECRYPT, &is_cipher, 1},
        {CKA_WRAP, &is_cipher, 1}, {CKA_UNWRAP, &is_cipher, 1}, {CKA_SIGN, &is_mac, 1}, {CKA_VERIFY, &is_mac, 1},
        {CKA_EXTRACTABLE, carried ? &yes : &no, 1}, {CKA_SENSITIVE, &yes, 1},
    };

    return p11->C_GenerateKey(session, &mechanism, template, sizeof template / sizeof *template, key);
}

static CK_RV generate_pair(CK_SESSION_HANDLE session, CK_MECHANISM_TYPE type, const char *label, int token,
                           CK_OBJECT_HANDLE *private, CK_OBJECT_HANDLE *public)
{
    CK_MECHANISM mechanism = {type, NULL, 0};
    CK_ATTRIBUTE kind[] = {{CKA_MODULUS_BITS, &rsa_bits, sizeof rsa_bits}, {CKA_PUBLIC_EXPONENT, f4, sizeof f4}};
    CK_ATTRIBUTE curve = {CKA_EC_PARAMS, p256, sizeof p256};
    CK_ATTRIBUTE of_public[5] = {
        {CKA_TOKEN, token ? &yes : &no, 1}, {CKA_LABEL, (char *)label, strlen(label)}, {CKA_VERIFY, &yes, 1}};
    CK_ATTRIBUTE of_private[] = {
        {CKA_TOKEN, token ? &yes : &no, 1}, {CKA_LABEL, (char *)label, strlen(label)}, {CKA_SIGN, &yes, 1}};

    if (type == CKM_RSA_PKCS_KEY_PAIR_GEN)
        memcpy(of_public + 3, kind, sizeof kind);
    else
        of_public[3] = curve;
    return p11->C_GenerateKeyPair(session, &mechanism, of_public, type == CKM_RSA_PKCS_KEY_PAIR_GEN ? 5 : 4, of_private,
                                  3, public, private);
}

static CK_RV make(CK_SESSION_HANDLE session, int which)
{
    switch (which) {
    case AES:
    case CARRIED:
        return generate_secret(session, CKM_AES_KEY_GEN, LABELS[which], 1, &keys[which]);
    case MAC:
        return generate_secret(session, CKM_GENERIC_SECRET_KEY_GEN, LABELS[which], 1, &keys[which]);
    case RSA_PRIVATE:
        return generate_pair(session, CKM_RSA_PKCS_KEY_PAIR_GEN, LABELS[which], 1, &keys[which], &keys[which + 1]);
    case EC_PRIVATE:
        return generate_pair(session, CKM_EC_KEY_PAIR_GEN, LABELS[which], 1, &keys[which], &keys[which + 1]);
    default:
        return CKR_FUNCTION_FAILED; /* the other half was there and this one was not */
    }
}

/* A key that cannot be made stays without handle: what uses it says why it cannot. */
static void find_or_make_keys(CK_SESSION_HANDLE session)
{
    CK_ULONG count;

    for (int which = 0; which < KEY_COUNT; which++) {
        if (!keys[which])
            must("find", find(session, LABELS[which], CLASSES[which], &count, &keys[which]));
        CK_RV rv = keys[which] ? CKR_OK : make(session, which);
        if (rv)
            fprintf(stderr, "key %s: 0x%lx\n", LABELS[which], rv);
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
