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
    X(EVP_PKEY_CTX_set_signature_md) X(EVP_PKEY_encrypt_init) X(EVP_PKEY_encrypt) X(EVP_PKEY_decrypt_init)           \
    X(EVP_PKEY_decrypt) X(EVP_PKEY_CTX_set_rsa_padding) X(EVP_DigestSignInit_ex) X(EVP_DigestSign)                    \
    X(EVP_DigestVerifyInit_ex) X(EVP_DigestVerify) X(RAND_bytes)

static struct {
#define MEMBER(name) __typeof__(name) *name;
    CALLED(MEMBER)
} crypto;

static EVP_CIPHER *aes_cbc, *aes_gcm, *aes_wrap;
static EVP_MD *md;
static EVP_MAC *mac;
static unsigned char bare_key[32] = "thirty-two bytes, as in any key";

enum pair { BARE_RSA, BARE_P256, BARE_P384, BARE_ED25519, PAIRS };
static EVP_PKEY *pairs[PAIRS];

/* A thread's contexts of one key, and the signature that it verifies. */
struct bare_pair {
    EVP_PKEY_CTX *sign, *verify;
    unsigned char made[SIGNATURE];
    size_t size;
};
struct bare {
    EVP_CIPHER_CTX *cbc, *gcm, *wrap, *unwrap;
    EVP_MAC_CTX *mac;
    EVP_MD_CTX *digest, *edwards;
    struct bare_pair pairs[PAIRS];
    EVP_PKEY_CTX *oaep;
    unsigned char wrapped[40], sealed[SIGNATURE];
    size_t sealed_size;
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
    pairs[BARE_RSA] = crypto.EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    pairs[BARE_P256] = crypto.EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    pairs[BARE_P384] = crypto.EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-384");
    pairs[BARE_ED25519] = crypto.EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
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

static CK_RV bare_sign(struct worker *it, enum pair which, const unsigned char *digest)
{
    struct bare_pair *pair = &it->bare->pairs[which];

    pair->size = SIGNATURE;
    return answered(crypto.EVP_PKEY_sign(pair->sign, pair->made, &pair->size, digest, DIGEST) > 0);
}

static CK_RV bare_verify(struct worker *it, enum pair which, const unsigned char *digest)
{
    struct bare_pair *pair = &it->bare->pairs[which];

    return answered(crypto.EVP_PKEY_verify(pair->verify, pair->made, pair->size, digest, DIGEST) > 0);
}

static CK_RV bare_sign_rsa(struct worker *it)
{
    return bare_digest(it) || bare_sign(it, BARE_RSA, it->output);
}

static CK_RV bare_verify_rsa(struct worker *it)
{
    return bare_digest(it) || bare_verify(it, BARE_RSA, it->output);
}

static CK_RV bare_sign_p256(struct worker *it)
{
    return bare_sign(it, BARE_P256, it->text);
}

static CK_RV bare_verify_p256(struct worker *it)
{
    return bare_verify(it, BARE_P256, it->text);
}

static CK_RV bare_sign_p384(struct worker *it)
{
    return bare_sign(it, BARE_P384, it->text);
}

static CK_RV bare_verify_p384(struct worker *it)
{
    return bare_verify(it, BARE_P384, it->text);
}

static CK_RV bare_sign_ed25519(struct worker *it)
{
    struct bare_pair *pair = &it->bare->pairs[BARE_ED25519];
    EVP_MD_CTX *context = it->bare->edwards;

    pair->size = SIGNATURE;
    return answered(crypto.EVP_DigestSignInit_ex(context, NULL, NULL, NULL, NULL, pairs[BARE_ED25519], NULL) > 0 &&
                    crypto.EVP_DigestSign(context, pair->made, &pair->size, it->text, DIGEST) > 0);
}

static CK_RV bare_verify_ed25519(struct worker *it)
{
    struct bare_pair *pair = &it->bare->pairs[BARE_ED25519];
    EVP_MD_CTX *context = it->bare->edwards;

    return answered(crypto.EVP_DigestVerifyInit_ex(context, NULL, NULL, NULL, NULL, pairs[BARE_ED25519], NULL) > 0 &&
                    crypto.EVP_DigestVerify(context, pair->made, pair->size, it->text, DIGEST) > 0);
}

static CK_RV bare_decrypt_oaep(struct worker *it)
{
    size_t room = ROOM;

    return answered(crypto.EVP_PKEY_decrypt(it->bare->oaep, it->output, &room, it->bare->sealed,
                                            it->bare->sealed_size) > 0);
}

static CK_RV bare_generate_rsa(struct worker *it)
{
    EVP_PKEY *made = crypto.EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);

    crypto.EVP_PKEY_free(made);
    return answered(made != NULL);
}

static CK_RV bare_generate_p256(struct worker *it)
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
    bare->edwards = crypto.EVP_MD_CTX_new();
    return crypto.EVP_MAC_init(bare->mac, bare_key, sizeof bare_key, of_hmac);
}

static int ready_pair(struct bare_pair *pair, EVP_PKEY *key)
{
    pair->sign = crypto.EVP_PKEY_CTX_new(key, NULL);
    pair->verify = crypto.EVP_PKEY_CTX_new(key, NULL);
    return crypto.EVP_PKEY_sign_init(pair->sign) > 0 && crypto.EVP_PKEY_verify_init(pair->verify) > 0;
}

static int ready_pairs(struct bare *bare)
{
    struct bare_pair *rsa = &bare->pairs[BARE_RSA];

    for (int which = 0; which < PAIRS; which++)
        if (which != BARE_ED25519 && !ready_pair(&bare->pairs[which], pairs[which]))
            return 0;
    return crypto.EVP_PKEY_CTX_set_signature_md(rsa->sign, md) > 0 &&
           crypto.EVP_PKEY_CTX_set_signature_md(rsa->verify, md) > 0;
}

static int seal(struct bare *bare)
{
    EVP_PKEY_CTX *sealing = crypto.EVP_PKEY_CTX_new(pairs[BARE_RSA], NULL);

    bare->oaep = crypto.EVP_PKEY_CTX_new(pairs[BARE_RSA], NULL);
    bare->sealed_size = SIGNATURE;
    return crypto.EVP_PKEY_encrypt_init(sealing) > 0 && crypto.EVP_PKEY_decrypt_init(bare->oaep) > 0 &&
           crypto.EVP_PKEY_CTX_set_rsa_padding(sealing, RSA_PKCS1_OAEP_PADDING) > 0 &&
           crypto.EVP_PKEY_CTX_set_rsa_padding(bare->oaep, RSA_PKCS1_OAEP_PADDING) > 0 &&
           crypto.EVP_PKEY_encrypt(sealing, bare->sealed, &bare->sealed_size, bare_key, DIGEST) > 0;
}

/* Give a thread contexts of its own, and what its inverse operations start from. */
static void make_bare(struct worker *it)
{
    if (!md)
        open_libcrypto();
    it->bare = calloc(1, sizeof *it->bare);
    must("libcrypto", answered(it->bare && ready_ciphers(it->bare) && ready_digests(it->bare)));
    must("libcrypto", answered(ready_pairs(it->bare) && seal(it->bare)));
    must("libcrypto", bare_wrap(it) || bare_sign_rsa(it) || bare_sign_p256(it) || bare_sign_p384(it) ||
                          bare_sign_ed25519(it));
}
