/* Signatures of key pairs and RSA encryption: what each call takes, gives and refuses, as crypto/rsa.py, rsa_cipher.py,
 * dss.py and eddsa.py do it.
 *
 * A message is hashed as it comes where the mechanism says so; else it is gathered, or used where it lies. */

enum { MOST_HASH_BYTES = 64, MOST_NUMBERS_BYTES = 160 }; /* the latter: DER of two numbers of 521 bits, and to spare */

/* ---- the key in its context ---- */

static struct openssl_parameter setting(const char *name, const char *value)
{
    return (struct openssl_parameter){name, OPENSSL_TEXT, (void *)value, strlen(value), ~0UL};
}

/* A host's engine, libp11's for one, may be the default for all keys of a type, whatever their library context; then
 * the padding that we asked for is silently not used, and such an operation is Python's. */
static int is_provided(const void *key_context)
{
    return openssl.EVP_PKEY_CTX_get0_provider(key_context) != NULL;
}

/* Begin what the context's family does, with RSA's padding as the terms have it. */
static int begin_with_padding(struct context *context)
{
    const struct terms *terms = &context->terms;
    int (*const begin[FAMILY_COUNT])(void *, const void *) = {
        [FAMILY_ENCRYPT] = openssl.EVP_PKEY_encrypt_init_ex,
        [FAMILY_DECRYPT] = openssl.EVP_PKEY_decrypt_init_ex,
        [FAMILY_SIGN] = openssl.EVP_PKEY_sign_init_ex,
        [FAMILY_VERIFY] = openssl.EVP_PKEY_verify_init_ex,
    };
    struct openssl_parameter settings[5] = {{0}}, *next = settings;
    char salt[24];

    if (PADDINGS[terms->method]) {
        *next++ = setting("pad-mode", PADDINGS[terms->method]);
        if (terms->algorithm[0])
            *next++ = setting("digest", terms->algorithm);
        if (terms->mask[0])
            *next++ = setting("mgf1-digest", terms->mask);
        if (terms->method == METHOD_RSA_PSS) {
            snprintf(salt, sizeof salt, "%lu", terms->salt_bytes);
            *next++ = setting("saltlen", salt);
        }
    }
    return begin[terms->family](context->evp, settings) > 0 && is_provided(context->evp);
}

static int put_pair(struct context *context, const struct grant *grant)
{
    context->width = pair_width(&context->terms, grant->pair);
    if (grant->algorithm) {
        context->hash = openssl.EVP_MD_CTX_new();
        if (!context->hash || openssl.EVP_DigestInit_ex2(context->hash, grant->algorithm, NULL) != 1)
            return 0;
    }
    if (context->terms.method == METHOD_EDDSA) {
        context->evp = openssl.EVP_MD_CTX_new();
        context->pair = openssl.EVP_PKEY_up_ref(grant->pair) == 1 ? grant->pair : NULL;
        return context->evp && context->pair;
    }
    context->evp = openssl.EVP_PKEY_CTX_new_from_pkey(openssl_context, grant->pair, NULL);
    return context->evp && begin_with_padding(context);
}

static void free_pair(struct context *context)
{
    if (context->terms.method == METHOD_EDDSA)
        openssl.EVP_MD_CTX_free(context->evp);
    else
        openssl.EVP_PKEY_CTX_free(context->evp);
    openssl.EVP_MD_CTX_free(context->hash);
    openssl.EVP_PKEY_free(context->pair);
    context->hash = context->pair = NULL;
}

/* Put the context at the beginning of an operation. EdDSA's, once used, wants its key again. */
static int pair_restart(struct context *context)
{
    if (context->hash)
        return openssl.EVP_DigestInit_ex2(context->hash, NULL, NULL) == 1;
    if (context->terms.method != METHOD_EDDSA)
        return 1;
    return (is_private(&context->terms) ? openssl.EVP_DigestSignInit_ex : openssl.EVP_DigestVerifyInit_ex)(
               context->evp, NULL, NULL, openssl_context, NULL, context->pair, NULL) == 1 &&
           is_provided(openssl.EVP_MD_CTX_get_pkey_ctx(context->evp));
}

/* ---- what is signed ---- */

struct message {
    const CK_BYTE *at;
    size_t n;
    CK_BYTE hash[MOST_HASH_BYTES];
};

static int pair_absorb(struct context *context, const CK_BYTE *in, CK_ULONG n)
{
    if (context->hash)
        return !n || openssl.EVP_DigestUpdate(context->hash, in, n) == 1;
    return gather(context, in, n);
}

static int is_signable(const struct context *context, size_t n)
{
    switch (context->terms.method) {
    case METHOD_RSA_PKCS:
        return n >= 1 && n <= context->width - context->terms.size;
    case METHOD_RSA_PSS:
        return n == context->terms.size;
    case METHOD_ECDSA:
        return n >= 1;
    }
    return 1;
}

/* Take the last part and say what is to be signed: a hash, or bytes that stay where they are. */
static CK_RV message_end(struct context *context, const CK_BYTE *in, CK_ULONG n, struct message *whole)
{
    unsigned int hash_bytes = 0;

    if (!context->hash && !context->gathered_bytes) {
        whole->at = n ? in : whole->hash;
        whole->n = n;
    } else if (!pair_absorb(context, in, n)) {
        return context->hash ? CKR_FUNCTION_FAILED : CKR_HOST_MEMORY;
    } else if (!context->hash) {
        whole->at = context->gathered;
        whole->n = context->gathered_bytes;
    } else {
        if (openssl.EVP_DigestFinal_ex(context->hash, whole->hash, &hash_bytes) != 1)
            return CKR_FUNCTION_FAILED;
        whole->at = whole->hash;
        whole->n = hash_bytes;
    }
    return is_signable(context, whole->n) ? CKR_OK : CKR_DATA_LEN_RANGE;
}

/* ---- ECDSA's two numbers: DER for OpenSSL, side by side for PKCS #11 ---- */

static int numbers_from_der(const CK_BYTE *der, size_t der_bytes, CK_BYTE *out, size_t width)
{
    const void *r, *s;
    void *numbers = openssl.d2i_ECDSA_SIG(NULL, &der, (long)der_bytes);
    int half = (int)(width / 2), made = 0;

    if (numbers) {
        openssl.ECDSA_SIG_get0(numbers, &r, &s);
        made = openssl.BN_bn2binpad(r, out, half) == half && openssl.BN_bn2binpad(s, out + half, half) == half;
    }
    openssl.ECDSA_SIG_free(numbers);
    return made;
}

/* Return the bytes of DER, 0 without memory. */
static size_t numbers_to_der(const CK_BYTE *signature, size_t width, CK_BYTE *der)
{
    void *numbers = openssl.ECDSA_SIG_new();
    void *r = openssl.BN_bin2bn(signature, (int)(width / 2), NULL);
    void *s = openssl.BN_bin2bn(signature + width / 2, (int)(width / 2), NULL);
    int der_bytes = 0;

    if (numbers && r && s && openssl.ECDSA_SIG_set0(numbers, r, s) == 1) {
        der_bytes = openssl.i2d_ECDSA_SIG(numbers, &der);
    } else {
        openssl.BN_free(r);
        openssl.BN_free(s);
    }
    openssl.ECDSA_SIG_free(numbers);
    return der_bytes > 0 ? (size_t)der_bytes : 0;
}

/* ---- signing ---- */

static int sign_whole(struct context *context, const struct message *whole, CK_BYTE *out)
{
    size_t out_bytes = MOST_SIGNATURE_BYTES, der_bytes = MOST_NUMBERS_BYTES;
    CK_BYTE der[MOST_NUMBERS_BYTES];

    switch (context->terms.method) {
    case METHOD_ECDSA:
        return openssl.EVP_PKEY_sign(context->evp, der, &der_bytes, whole->at, whole->n) > 0 &&
               numbers_from_der(der, der_bytes, out, context->width);
    case METHOD_EDDSA:
        return openssl.EVP_DigestSign(context->evp, out, &out_bytes, whole->at, whole->n) == 1 &&
               out_bytes == context->width;
    default:
        return openssl.EVP_PKEY_sign(context->evp, out, &out_bytes, whole->at, whole->n) > 0 &&
               out_bytes == context->width;
    }
}

/* Sign, the last part taken: `out` has room, and may lie over the message. */
static CK_RV pair_sign(struct context *context, const CK_BYTE *in, CK_ULONG n, CK_BYTE *out, LOOSE_ULONG *given)
{
    CK_BYTE made[MOST_SIGNATURE_BYTES];
    struct message whole;
    CK_RV rv;

    openssl.ERR_set_mark();
    rv = message_end(context, in, n, &whole);
    if (rv == CKR_OK && !sign_whole(context, &whole, made))
        rv = CKR_FUNCTION_FAILED;
    openssl.ERR_pop_to_mark();
    if (rv == CKR_OK) {
        memcpy(out, made, context->width);
        *given = context->width;
    }
    return rv;
}

/* ---- verifying ---- */

/* An ECDSA signature may come shorter: both numbers without leading zeros, equally long. */
static int is_signature(const struct context *context, CK_ULONG n)
{
    if (context->terms.method == METHOD_ECDSA)
        return n && n <= context->width && n % 2 == 0;
    return n == context->width;
}

static int is_genuine(struct context *context, const struct message *whole, const CK_BYTE *signature, CK_ULONG n)
{
    CK_BYTE der[MOST_NUMBERS_BYTES];

    switch (context->terms.method) {
    case METHOD_ECDSA:
        n = numbers_to_der(signature, n, der);
        return n && openssl.EVP_PKEY_verify(context->evp, der, n, whole->at, whole->n) == 1;
    case METHOD_EDDSA:
        return openssl.EVP_DigestVerify(context->evp, signature, n, whole->at, whole->n) == 1;
    default:
        return openssl.EVP_PKEY_verify(context->evp, signature, n, whole->at, whole->n) == 1;
    }
}

static CK_RV pair_verify(struct context *context, const CK_BYTE *in, CK_ULONG n, const CK_BYTE *signature,
                         CK_ULONG signature_bytes)
{
    struct message whole;
    CK_RV rv;

    openssl.ERR_set_mark();
    rv = message_end(context, in, n, &whole);
    if (rv == CKR_OK && !is_signature(context, signature_bytes))
        rv = CKR_SIGNATURE_LEN_RANGE;
    else if (rv == CKR_OK && !is_genuine(context, &whole, signature, signature_bytes))
        rv = CKR_SIGNATURE_INVALID;
    openssl.ERR_pop_to_mark();
    return rv;
}

/* ---- RSA encryption, in one part ---- */

/* What an operation gives out: never less, exact for an encryption. */
static CK_ULONG pair_size(const struct context *context, int final)
{
    if (!final)
        return 0;
    return context->terms.family == FAMILY_ENCRYPT ? context->width : context->width - context->terms.size;
}

static CK_RV pair_encrypt(struct context *context, const CK_BYTE *in, CK_ULONG n, CK_BYTE *out, CK_ULONG *given)
{
    CK_BYTE made[MOST_SIGNATURE_BYTES];
    size_t made_bytes = sizeof made;

    if (n > context->width - context->terms.size)
        return CKR_DATA_LEN_RANGE;
    if (openssl.EVP_PKEY_encrypt(context->evp, made, &made_bytes, n ? in : made, n) <= 0)
        return CKR_FUNCTION_FAILED;
    memcpy(out, made, made_bytes);
    *given = made_bytes;
    return CKR_OK;
}

static CK_RV pair_decrypt(struct context *context, const CK_BYTE *in, CK_ULONG n, CK_BYTE *out, CK_ULONG *given)
{
    CK_BYTE made[MOST_SIGNATURE_BYTES];
    size_t made_bytes = sizeof made;
    CK_RV rv = CKR_ENCRYPTED_DATA_INVALID;

    if (n != context->width)
        return CKR_ENCRYPTED_DATA_LEN_RANGE;
    if (openssl.EVP_PKEY_decrypt(context->evp, made, &made_bytes, in, n) > 0 && made_bytes <= pair_size(context, 1)) {
        memcpy(out, made, made_bytes);
        *given = made_bytes;
        rv = CKR_OK;
    }
    explicit_bzero(made, sizeof made);
    return rv;
}

static CK_RV pair_crypt(struct context *context, const CK_BYTE *in, CK_ULONG n, CK_BYTE *out, CK_ULONG *given)
{
    CK_RV rv;

    openssl.ERR_set_mark();
    rv = (is_private(&context->terms) ? pair_decrypt : pair_encrypt)(context, in, n, out, given);
    openssl.ERR_pop_to_mark();
    return rv;
}
