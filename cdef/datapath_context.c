/* A granted key in one of OpenSSL's contexts, and the operation that goes on with it. A context belongs to one session,
 * whose mutex is held wherever it is touched, or to Python, which has taken it over. */

enum { VECTOR_BYTES = 128, BLOCK_BYTES = 16, MOST_MAC_BYTES = 64, BLOCK_COUNTER_BITS = 128 };

struct context {
    struct terms terms;
    CK_ULONG serial, epoch, generation; /* of the grant */
    uint64_t until_ms;
    CK_ULONG used;
    void *evp;
    int expects; /* bytes of a vector, as `evp` was last told */
    void *hash;  /* of a message that is to be signed */
    void *pair;  /* a key that each operation begins with anew */
    CK_ULONG width; /* of a signature, or of what RSA encrypts to; in bytes */

    /* the operation, as begun */
    CK_BYTE vector[VECTOR_BYTES];
    int vector_bytes;
    CK_BYTE *beside;
    CK_ULONG beside_bytes, number;
    uint64_t most; /* input that a counter lasts for */

    /* and as it goes on */
    int streaming;             /* after the first update */
    uint64_t total;            /* bytes of input so far */
    int holds;                 /* a decrypted block is held back: it may be the last */
    CK_BYTE held[BLOCK_BYTES];
    CK_BYTE *gathered;         /* what is to be decrypted at once */
    size_t gathered_bytes, gathered_room;
};

static int is_cipher(const struct context *context)
{
    return context->terms.family == FAMILY_ENCRYPT || context->terms.family == FAMILY_DECRYPT ||
           context->terms.family == FAMILY_WRAP || context->terms.family == FAMILY_UNWRAP;
}

/* Of datapath_asymmetric.c. */
static int put_pair(struct context *context, const struct grant *grant);
static void free_pair(struct context *context);
static int pair_restart(struct context *context);

/* ---- the key in its context ---- */

static int put_cipher_key(struct context *context, void *cipher, const CK_BYTE *key)
{
    int encrypt = context->terms.family != FAMILY_DECRYPT && context->terms.family != FAMILY_UNWRAP;

    context->evp = openssl.EVP_CIPHER_CTX_new();
    return context->evp && openssl.EVP_CipherInit_ex2(context->evp, cipher, key, NULL, encrypt, NULL) == 1 &&
           openssl.EVP_CIPHER_CTX_set_padding(context->evp, 0) == 1;
}

static int put_mac_key(struct context *context, void *mac, const CK_BYTE *key, size_t key_bytes)
{
    const char *what = context->terms.method == METHOD_HMAC ? "digest" : "cipher";
    struct openssl_parameter settings[] = {{what, OPENSSL_TEXT, context->terms.algorithm, 0, ~0UL}, {0}};

    settings[0].size = strlen(context->terms.algorithm);
    context->evp = openssl.EVP_MAC_CTX_new(mac);
    return context->evp && openssl.EVP_MAC_init(context->evp, key, key_bytes, settings) == 1;
}

static int put_digest(struct context *context, void *digest)
{
    context->evp = openssl.EVP_MD_CTX_new();
    return context->evp && openssl.EVP_DigestInit_ex2(context->evp, digest, NULL) == 1;
}

static int put_key(struct context *context, const struct grant *grant, const CK_BYTE *key)
{
    if (is_pairs(&context->terms))
        return put_pair(context, grant);
    if (is_cipher(context))
        return put_cipher_key(context, grant->algorithm, key);
    if (context->terms.method == METHOD_DIGEST)
        return put_digest(context, grant->algorithm);
    return put_mac_key(context, grant->algorithm, key, grant->key_bytes);
}

static void free_evp(struct context *context)
{
    if (is_pairs(&context->terms))
        free_pair(context);
    else if (is_cipher(context))
        openssl.EVP_CIPHER_CTX_free(context->evp);
    else if (context->terms.method == METHOD_DIGEST)
        openssl.EVP_MD_CTX_free(context->evp);
    else
        openssl.EVP_MAC_CTX_free(context->evp);
    context->evp = NULL;
}

/* Forget the operation, and what of it may be secret. */
static void context_rest(struct context *context)
{
    if (context->gathered) {
        explicit_bzero(context->gathered, context->gathered_bytes);
        free(context->gathered);
    }
    free(context->beside);
    if (context->holds)
        explicit_bzero(context->held, sizeof context->held);
    context->gathered = context->beside = NULL;
    context->gathered_bytes = context->gathered_room = context->beside_bytes = 0;
}

static void context_free(struct context *context)
{
    if (!context)
        return;
    context_rest(context);
    free_evp(context); /* which wipes what it frees */
    free(context);
}

static void take_terms(struct context *context, const struct grant *grant)
{
    context->terms = grant->terms;
    context->serial = grant->serial;
    context->epoch = grant->epoch;
    context->generation = grant->generation;
    context->until_ms = grant->until_ms;
}

/* Return the grant that stands, or NULL; the grants' mutex is held. */
static struct grant *find_grant(CK_ULONG token, int family, CK_OBJECT_HANDLE key, CK_MECHANISM_TYPE mechanism)
{
    size_t first = set_of(family, key, mechanism);

    for (size_t i = first; i < first + WAYS; i++) {
        struct grant *one = &grants.all[i];

        if (one->serial && one->terms.token == token && is_for(&one->terms, family, key, mechanism) &&
            grant_stands(one) && now_ms() < one->until_ms) {
            one->used = ++grants.uses;
            return one;
        }
    }
    return NULL;
}

static struct context *context_new(const struct grant *grant)
{
    struct context *context = calloc(1, sizeof *context);

    if (!context)
        return NULL;
    take_terms(context, grant);
    openssl.ERR_set_mark();
    if (!put_key(context, grant, vault()->keys[grant - grants.all])) {
        context_free(context);
        context = NULL;
    }
    openssl.ERR_pop_to_mark();
    return context;
}

static int gather(struct context *context, const CK_BYTE *in, CK_ULONG n)
{
    if (context->gathered_bytes + n > context->gathered_room) {
        size_t room = (context->gathered_bytes + n) * 2;
        CK_BYTE *larger = realloc(context->gathered, room);

        if (!larger)
            return 0;
        context->gathered = larger;
        context->gathered_room = room;
    }
    if (n)
        memcpy(context->gathered + context->gathered_bytes, in, n);
    context->gathered_bytes += n;
    return 1;
}

/* ---- may it still be used ---- */

/* The lease aside: what an operation that has begun goes on under. */
static int context_stands(const struct context *context)
{
    return stands(context->epoch, context->generation, context->terms.mark);
}

/* Tell whether a new operation may begin; where only the lease was over, Python may have prolonged it. */
static int context_renewed(struct context *context)
{
    const struct terms *terms = &context->terms;
    struct grant *grant;
    int same;

    if (!context_stands(context))
        return 0;
    if (now_ms() < context->until_ms)
        return 1;
    pthread_mutex_lock(&grants.mutex);
    grant = find_grant(terms->token, terms->family, terms->key, terms->mechanism);
    same = grant && grant->serial == context->serial;
    if (same)
        take_terms(context, grant);
    pthread_mutex_unlock(&grants.mutex);
    return same;
}

/* ---- beginning ---- */

/* The bytes until a counter of so many bits runs over; the primitive counts on in the whole block. */
static uint64_t counter_lasts(const CK_BYTE *block, CK_ULONG bits)
{
    uint64_t low = 0, blocks;

    if (bits > 56)
        return UINT64_MAX; /* 2 to the 60 bytes at least, unless it stands near its end: see fits_counter() */
    for (int i = BLOCK_BYTES - 8; i < BLOCK_BYTES; i++)
        low = low << 8 | block[i];
    blocks = (1UL << bits) - (low & ((1UL << bits) - 1));
    return blocks * BLOCK_BYTES;
}

/* A long counter that stands near its end is left to Python's whole numbers. */
static int fits_counter(const CK_BYTE *block, CK_ULONG bits)
{
    if (bits < 1 || bits > BLOCK_COUNTER_BITS)
        return 0;
    return bits <= 56 || bits == BLOCK_COUNTER_BITS || block[BLOCK_BYTES - 7] != 0xFF;
}

static int fits_tag(CK_ULONG bits)
{
    return bits == 32 || bits == 64 || (bits >= 96 && bits <= 128 && bits % 8 == 0);
}

static int is_spared(const struct terms *terms, const CK_BYTE *vector)
{
    static const CK_BYTE none[BLOCK_BYTES];

    for (size_t i = 0; i < sizeof terms->spared / sizeof terms->spared[0]; i++)
        if (memcmp(terms->spared[i], none, BLOCK_BYTES) != 0 && memcmp(terms->spared[i], vector, BLOCK_BYTES) == 0)
            return 1;
    return 0;
}

/* Tell whether the parameter is a right one. What is not is for Python to refuse. */
static int parameter_fits(const struct terms *terms, const struct parameter *given)
{
    switch (terms->shape) {
    case SHAPE_NONE:
        return 1;
    case SHAPE_VECTOR:
        return given->vector_bytes == BLOCK_BYTES && !is_spared(terms, given->vector);
    case SHAPE_COUNTER:
        return fits_counter(given->vector, given->number);
    case SHAPE_GCM:
        return given->vector_bytes >= 8 && given->vector_bytes <= VECTOR_BYTES && fits_tag(given->number) &&
               given->beside_bytes <= LONGEST;
    case SHAPE_PSS:
    case SHAPE_OAEP:
        return given->vector_bytes == (CK_ULONG)terms->asked_bytes &&
               memcmp(given->vector, terms->asked, given->vector_bytes) == 0;
    case SHAPE_LENGTH:
        return given->number >= 1 && given->number <= terms->size;
    }
    return 0;
}

static int begin_aead(struct context *context)
{
    int given_out;

    if (context->vector_bytes != context->expects &&
        openssl.EVP_CIPHER_CTX_ctrl(context->evp, AEAD_SET_VECTOR_BYTES, context->vector_bytes, NULL) != 1)
        return 0;
    context->expects = context->vector_bytes;
    if (openssl.EVP_CipherInit_ex2(context->evp, NULL, NULL, context->vector, -1, NULL) != 1)
        return 0;
    return !context->beside_bytes || openssl.EVP_CipherUpdate(context->evp, NULL, &given_out, context->beside,
                                                              (int)context->beside_bytes) == 1;
}

/* Put OpenSSL's context at the beginning of the operation. */
static int context_restart(struct context *context)
{
    context->streaming = context->holds = 0;
    context->total = 0;
    context->gathered_bytes = 0;
    if (is_pairs(&context->terms))
        return pair_restart(context);
    switch (context->terms.method) {
    case METHOD_AEAD:
        return begin_aead(context);
    case METHOD_DIGEST:
        return openssl.EVP_DigestInit_ex2(context->evp, NULL, NULL) == 1;
    case METHOD_HMAC:
    case METHOD_CMAC:
        return openssl.EVP_MAC_init(context->evp, NULL, 0, NULL) == 1;
    default:
        return openssl.EVP_CipherInit_ex2(context->evp, NULL, NULL,
                                          context->terms.shape == SHAPE_NONE ? NULL : context->vector, -1, NULL) == 1;
    }
}

/* Begin an operation with a parameter that fits; 0: it could not be begun, and Python is to try. */
static int context_begin(struct context *context, const struct parameter *given)
{
    if (given->beside_bytes) {
        context->beside = malloc(given->beside_bytes);
        if (!context->beside)
            return 0;
        memcpy(context->beside, given->beside, given->beside_bytes);
    }
    context->beside_bytes = given->beside_bytes;
    if (given->vector_bytes)
        memcpy(context->vector, given->vector, given->vector_bytes);
    context->vector_bytes = (int)given->vector_bytes;
    context->number = context->terms.shape == SHAPE_NONE ? context->terms.size : given->number;
    if (is_pairs(&context->terms))
        context->number = context->width;
    context->most = UINT64_MAX;
    if (context->terms.shape == SHAPE_COUNTER)
        context->most = counter_lasts(given->vector, given->number);
    if (context->terms.shape == SHAPE_GCM)
        context->number /= 8;
    return context_restart(context);
}
