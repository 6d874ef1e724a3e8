/* The system's libcrypto, bound without its headers: private and with its own symbols first (boot.c loads it so), in a
 * library context of its own, which reads no configuration and no provider of the host. */

/* From <openssl/params.h>. */
struct openssl_parameter {
    const char *key;
    unsigned int type;
    void *data;
    size_t size, returned;
};
enum { OPENSSL_TEXT = 4 };
/* From <openssl/evp.h>. */
enum { AEAD_SET_VECTOR_BYTES = 0x9, AEAD_GET_TAG = 0x10, AEAD_SET_TAG = 0x11, TAG_BYTES = 16 };
static const unsigned long OPENSSL_LEAST = 0x30000030; /* 3.0.3: a MAC before that cannot begin anew */

/* result, name, arguments: all there since 3.0 */
#define OPENSSL_FUNCTIONS(X)                                                                                           \
    X(unsigned long, OpenSSL_version_num, (void))                                                                      \
    X(void *, OSSL_LIB_CTX_new, (void))                                                                                \
    X(int, ERR_set_mark, (void))                                                                                       \
    X(int, ERR_pop_to_mark, (void))                                                                                    \
    X(void *, EVP_CIPHER_fetch, (void *, const char *, const char *))                                                  \
    X(void *, EVP_CIPHER_CTX_new, (void))                                                                              \
    X(void, EVP_CIPHER_CTX_free, (void *))                                                                             \
    X(int, EVP_CIPHER_CTX_set_padding, (void *, int))                                                                  \
    X(int, EVP_CIPHER_CTX_ctrl, (void *, int, int, void *))                                                            \
    X(int, EVP_CipherInit_ex2, (void *, const void *, const void *, const void *, int, const void *))                  \
    X(int, EVP_CipherUpdate, (void *, void *, int *, const void *, int))                                               \
    X(int, EVP_CipherFinal_ex, (void *, void *, int *))                                                                \
    X(void *, EVP_MD_fetch, (void *, const char *, const char *))                                                      \
    X(void *, EVP_MD_CTX_new, (void))                                                                                  \
    X(void, EVP_MD_CTX_free, (void *))                                                                                 \
    X(int, EVP_MD_CTX_copy_ex, (void *, const void *))                                                                 \
    X(int, EVP_DigestInit_ex2, (void *, const void *, const void *))                                                   \
    X(int, EVP_DigestUpdate, (void *, const void *, size_t))                                                           \
    X(int, EVP_DigestFinal_ex, (void *, void *, unsigned int *))                                                       \
    X(void *, EVP_MAC_fetch, (void *, const char *, const char *))                                                     \
    X(void *, EVP_MAC_CTX_new, (void *))                                                                               \
    X(void, EVP_MAC_CTX_free, (void *))                                                                                \
    X(int, EVP_MAC_init, (void *, const void *, size_t, const void *))                                                 \
    X(int, EVP_MAC_update, (void *, const void *, size_t))                                                             \
    X(int, EVP_MAC_final, (void *, void *, size_t *, size_t))                                                          \
    X(int, EVP_Digest, (const void *, size_t, void *, unsigned int *, const void *, void *))                           \
    X(void *, d2i_AutoPrivateKey_ex, (void *, const CK_BYTE **, long, void *, const char *))                           \
    X(void *, d2i_PUBKEY_ex, (void *, const CK_BYTE **, long, void *, const char *))                                   \
    X(int, EVP_PKEY_up_ref, (void *))                                                                                  \
    X(void, EVP_PKEY_free, (void *))                                                                                   \
    X(int, EVP_PKEY_get_bits, (const void *))                                                                          \
    X(int, EVP_PKEY_get_size, (const void *))                                                                          \
    X(void *, EVP_PKEY_CTX_new_from_pkey, (void *, void *, const char *))                                              \
    X(void, EVP_PKEY_CTX_free, (void *))                                                                               \
    X(const void *, EVP_PKEY_CTX_get0_provider, (const void *))                                                        \
    X(void *, EVP_MD_CTX_get_pkey_ctx, (const void *))                                                                 \
    X(int, EVP_PKEY_sign_init_ex, (void *, const void *))                                                              \
    X(int, EVP_PKEY_sign, (void *, void *, size_t *, const void *, size_t))                                            \
    X(int, EVP_PKEY_verify_init_ex, (void *, const void *))                                                            \
    X(int, EVP_PKEY_verify, (void *, const void *, size_t, const void *, size_t))                                      \
    X(int, EVP_PKEY_encrypt_init_ex, (void *, const void *))                                                           \
    X(int, EVP_PKEY_encrypt, (void *, void *, size_t *, const void *, size_t))                                         \
    X(int, EVP_PKEY_decrypt_init_ex, (void *, const void *))                                                           \
    X(int, EVP_PKEY_decrypt, (void *, void *, size_t *, const void *, size_t))                                         \
    X(int, EVP_DigestSignInit_ex, (void *, void **, const char *, void *, const char *, void *, const void *))         \
    X(int, EVP_DigestSign, (void *, void *, size_t *, const void *, size_t))                                           \
    X(int, EVP_DigestVerifyInit_ex, (void *, void **, const char *, void *, const char *, void *, const void *))       \
    X(int, EVP_DigestVerify, (void *, const void *, size_t, const void *, size_t))                                     \
    X(void *, d2i_ECDSA_SIG, (void *, const CK_BYTE **, long))                                                         \
    X(int, i2d_ECDSA_SIG, (const void *, CK_BYTE **))                                                                  \
    X(void *, ECDSA_SIG_new, (void))                                                                                   \
    X(void, ECDSA_SIG_free, (void *))                                                                                  \
    X(void, ECDSA_SIG_get0, (const void *, const void **, const void **))                                              \
    X(int, ECDSA_SIG_set0, (void *, void *, void *))                                                                   \
    X(void *, BN_bin2bn, (const CK_BYTE *, int, void *))                                                               \
    X(int, BN_bn2binpad, (const void *, CK_BYTE *, int))                                                               \
    X(void, BN_free, (void *))

static struct {
#define X(result, name, arguments) result(*name) arguments;
    OPENSSL_FUNCTIONS(X)
#undef X
} openssl;

static void *libcrypto;        /* as dlopen() gave it; NULL where there is none */
static void *openssl_context;  /* NULL until bound */
static int openssl_is_missing; /* looked for, and not there or too old */

/* Called with the grants' mutex held, by the first grant: C_Initialize does not pay for it. */
static int openssl_bound(void)
{
    int found = libcrypto != NULL;

    if (openssl_context || openssl_is_missing)
        return openssl_context != NULL;
#define X(result, name, arguments) found = found && (*(void **)&openssl.name = dlsym(libcrypto, #name)) != NULL;
    OPENSSL_FUNCTIONS(X)
#undef X
    if (found && openssl.OpenSSL_version_num() >= OPENSSL_LEAST)
        openssl_context = openssl.OSSL_LIB_CTX_new();
    openssl_is_missing = openssl_context == NULL;
    return openssl_context != NULL;
}

/* Algorithms are fetched once: a fetch costs more than an operation. */
enum { ALGORITHMS = 64 };
static struct {
    char name[24];
    int method;
    void *fetched;
} algorithms[ALGORITHMS];

static void *fetch(int method, const char *name)
{
    if (method == METHOD_DIGEST)
        return openssl.EVP_MD_fetch(openssl_context, name, NULL);
    if (method == METHOD_HMAC || method == METHOD_CMAC)
        return openssl.EVP_MAC_fetch(openssl_context, method == METHOD_HMAC ? "HMAC" : "CMAC", NULL);
    return openssl.EVP_CIPHER_fetch(openssl_context, name, NULL);
}

/* Called with the grants' mutex held. NULL where this OpenSSL has no such algorithm. */
static void *algorithm(int method, const char *name)
{
    for (int i = 0; i < ALGORITHMS; i++) {
        if (!algorithms[i].fetched) {
            openssl.ERR_set_mark();
            algorithms[i].fetched = fetch(method, name);
            openssl.ERR_pop_to_mark();
            algorithms[i].method = method;
            snprintf(algorithms[i].name, sizeof algorithms[i].name, "%s", name);
            return algorithms[i].fetched;
        }
        if (algorithms[i].method == method && strcmp(algorithms[i].name, name) == 0)
            return algorithms[i].fetched;
    }
    return NULL;
}
