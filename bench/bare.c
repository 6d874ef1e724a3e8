/* The same work asked of libcrypto alone, contexts prepared and keys at hand: what no PKCS #11 library can beat.
 *
 * libcrypto is opened at the first such order: a start that is measured has no use for it. */
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

#define CALLED(X)                                                                                                  \
    X(EVP_CIPHER_CTX_new) X(EVP_CIPHER_CTX_set_flags) X(EVP_CIPHER_CTX_ctrl) X(EVP_CIPHER_fetch) X(EVP_EncryptInit_ex2) \
    X(EVP_DecryptInit_ex2) X(EVP_EncryptUpdate) X(EVP_EncryptFinal_ex) X(EVP_DecryptUpdate) X(EVP_MAC_fetch)       \
    X(EVP_MAC_CTX_new) X(EVP_MAC_init) X(EVP_MAC_update) X(EVP_MAC_final) X(EVP_MD_fetch) X(EVP_MD_CTX_new)         \
    X(EVP_DigestInit_ex2) X(EVP_DigestUpdate) X(EVP_DigestFinal_ex) X(EVP_PKEY_Q_keygen) X(EVP_PKEY_free)           \
    X(EVP_PKEY_CTX_new) X(EVP_PKEY_sign_init) X(EVP_PKEY_verify_init) X(EVP_PKEY_sign) X(EVP_PKEY_verify)           \
    X(EVP_PKEY_CTX_set_signature_md) X(RAND_bytes)

static struct {
#define MEMBER(name) __typeof__(name) *name;
    CALLED(MEMBER)
} crypto;

static EVP_CIPHER *aes_cbc, *aes_gcm, *aes_wrap;
static EVP_MD *md;
static EVP_MAC *mac;
static EVP_PKEY *rsa_key, *ec_key;
static unsigned char bare_key[32] = "thirty-two bytes, as in any key";

struct bare {
    EVP_CIPHER_CTX *cbc, *gcm, *wrap, *unwrap;
    EVP_MAC_CTX *mac;
    EVP_MD_CTX *digest;
    EVP_PKEY_CTX *rsa_sign, *rsa_verify, *ec_sign, *ec_verify;
    unsigned char wrapped[40], rsa[SIGNATURE], ec[SIGNATURE];
    size_t rsa_size, ec_size;
};

static void open_libcrypto(void)
{
    void *library = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);

    if (!library)
        must(dlerror(), CKR_GENERAL_ERROR);
#define FIND(name)                                                                         \
    if (!(*(void **)&crypto.name = dlsym(library, #name)))                                 \
        must(#name, CKR_GENERAL_ERROR);
    CALLED(FIND)
    aes_cbc = crypto.EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    aes_gcm = crypto.EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    aes_wrap = crypto.EVP_CIPHER_fetch(NULL, "AES-256-WRAP", NULL);
    md = crypto.EVP_MD_fetch(NULL, "SHA256", NULL);
    mac = crypto.EVP_MAC_fetch(NULL, "HMAC", NULL);
    rsa_key = crypto.EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    ec_key = crypto.EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
}

static CK_RV answered(int good)
{
    return good ? CKR_OK : CKR_FUNCTION_FAILED;
}

static CK_RV bare_cbc_pad(struct worker *it)
{
    EVP_CIPHER_CTX *context = it->bare->cbc;
    int size, last;

    return answered(crypto.EVP_EncryptInit_ex2(context, NULL, NULL, bare_key, NULL) &&
                    crypto.EVP_EncryptUpdate(context, it->output, &size, it->text, (int)it->size) &&
                    crypto.EVP_EncryptFinal_ex(context, it->output + size, &last));
}

static CK_RV bare_gcm(struct worker *it)
{
    EVP_CIPHER_CTX *context = it->bare->gcm;
    int size, last;

    return answered(
        crypto.EVP_EncryptInit_ex2(context, NULL, NULL, bare_key, NULL) &&
        crypto.EVP_EncryptUpdate(context, it->output, &size, it->text, (int)it->size) &&
        crypto.EVP_EncryptFinal_ex(context, it->output + size, &last) &&
        crypto.EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, it->output + size + last));
}

static CK_RV bare_hmac(struct worker *it)
{
    size_t size;

    return answered(crypto.EVP_MAC_init(it->bare->mac, NULL, 0, NULL) &&
                    crypto.EVP_MAC_update(it->bare->mac, it->text, it->size) &&
                    crypto.EVP_MAC_final(it->bare->mac, it->output, &size, ROOM));
}

static CK_RV bare_digest(struct worker *it)
{
    unsigned size;

    return answered(crypto.EVP_DigestInit_ex2(it->bare->digest, md, NULL) &&
                    crypto.EVP_DigestUpdate(it->bare->digest, it->text, it->size) &&
                    crypto.EVP_DigestFinal_ex(it->bare->digest, it->output, &size));
}

static CK_RV bare_random(struct worker *it)
{
    return answered(crypto.RAND_bytes(it->output, (int)it->size));
}

static CK_RV bare_wrap(struct worker *it)
{
    int size;

    return answered(crypto.EVP_EncryptInit_ex2(it->bare->wrap, NULL, NULL, NULL, NULL) &&
                    crypto.EVP_EncryptUpdate(it->bare->wrap, it->bare->wrapped, &size, bare_key, sizeof bare_key));
}

static CK_RV bare_unwrap(struct worker *it)
{
    int size;

    return answered(crypto.EVP_DecryptInit_ex2(it->bare->unwrap, NULL, NULL, NULL, NULL) &&
                    crypto.EVP_DecryptUpdate(it->bare->unwrap, it->output, &size, it->bare->wrapped, 40));
}

static CK_RV bare_sign_rsa(struct worker *it)
{
    it->bare->rsa_size = SIGNATURE;
    return bare_digest(it) ||
           answered(crypto.EVP_PKEY_sign(it->bare->rsa_sign, it->bare->rsa, &it->bare->rsa_size, it->output, 32) > 0);
}

static CK_RV bare_verify_rsa(struct worker *it)
{
    return bare_digest(it) || answered(crypto.EVP_PKEY_verify(it->bare->rsa_verify, it->bare->rsa, it->bare->rsa_size,
                                                              it->output, 32) > 0);
}

static CK_RV bare_sign_ecdsa(struct worker *it)
{
    it->bare->ec_size = SIGNATURE;
    return answered(crypto.EVP_PKEY_sign(it->bare->ec_sign, it->bare->ec, &it->bare->ec_size, it->text, 32) > 0);
}

static CK_RV bare_verify_ecdsa(struct worker *it)
{
    return answered(crypto.EVP_PKEY_verify(it->bare->ec_verify, it->bare->ec, it->bare->ec_size, it->text, 32) > 0);
}

static CK_RV bare_generate_rsa(struct worker *it)
{
    EVP_PKEY *made = crypto.EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);

    crypto.EVP_PKEY_free(made);
    return answered(made != NULL);
}

static CK_RV bare_generate_ec(struct worker *it)
{
    EVP_PKEY *made = crypto.EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");

    crypto.EVP_PKEY_free(made);
    return answered(made != NULL);
}

static EVP_CIPHER_CTX *cipher_context(void)
{
    EVP_CIPHER_CTX *context = crypto.EVP_CIPHER_CTX_new();

    crypto.EVP_CIPHER_CTX_set_flags(context, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    return context;
}

static int ready_ciphers(struct bare *bare)
{
    bare->cbc = cipher_context();
    bare->gcm = cipher_context();
    bare->wrap = cipher_context();
    bare->unwrap = cipher_context();
    return crypto.EVP_EncryptInit_ex2(bare->cbc, aes_cbc, bare_key, bare_key, NULL) &&
           crypto.EVP_EncryptInit_ex2(bare->gcm, aes_gcm, bare_key, bare_key, NULL) &&
           crypto.EVP_EncryptInit_ex2(bare->wrap, aes_wrap, bare_key, NULL, NULL) &&
           crypto.EVP_DecryptInit_ex2(bare->unwrap, aes_wrap, bare_key, NULL, NULL);
}

static int ready_digests(struct bare *bare)
{
    OSSL_PARAM of_hmac[] = {{"digest", OSSL_PARAM_UTF8_STRING, "SHA256", 6, 0}, {0}};

    bare->mac = crypto.EVP_MAC_CTX_new(mac);
    bare->digest = crypto.EVP_MD_CTX_new();
    return crypto.EVP_MAC_init(bare->mac, bare_key, sizeof bare_key, of_hmac);
}

static int ready_pairs(struct bare *bare)
{
    bare->rsa_sign = crypto.EVP_PKEY_CTX_new(rsa_key, NULL);
    bare->rsa_verify = crypto.EVP_PKEY_CTX_new(rsa_key, NULL);
    bare->ec_sign = crypto.EVP_PKEY_CTX_new(ec_key, NULL);
    bare->ec_verify = crypto.EVP_PKEY_CTX_new(ec_key, NULL);
    return crypto.EVP_PKEY_sign_init(bare->rsa_sign) > 0 && crypto.EVP_PKEY_verify_init(bare->rsa_verify) > 0 &&
           crypto.EVP_PKEY_sign_init(bare->ec_sign) > 0 && crypto.EVP_PKEY_verify_init(bare->ec_verify) > 0 &&
           crypto.EVP_PKEY_CTX_set_signature_md(bare->rsa_sign, md) > 0 &&
           crypto.EVP_PKEY_CTX_set_signature_md(bare->rsa_verify, md) > 0;
}

/* Give a thread contexts of its own, and what its inverse operations start from. */
static void make_bare(struct worker *it)
{
    if (!md)
        open_libcrypto();
    it->bare = calloc(1, sizeof *it->bare);
    must("libcrypto", answered(it->bare && ready_ciphers(it->bare) && ready_digests(it->bare) && ready_pairs(it->bare)));
    must("libcrypto", bare_wrap(it) || bare_sign_rsa(it) || bare_sign_ecdsa(it));
}
