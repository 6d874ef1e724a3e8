/* Ciphers: what each call takes, gives and refuses, as crypto/ciphers.py and crypto/aead.py do it. */

enum { CHUNK = 1 << 30 }; /* OpenSSL counts in ints */

static CK_RV length_error(const struct context *context)
{
    return context->terms.family == FAMILY_ENCRYPT ? CKR_DATA_LEN_RANGE : CKR_ENCRYPTED_DATA_LEN_RANGE;
}

/* Bytes in a block that is not complete; stream ciphers have none. */
static CK_ULONG partial(const struct context *context)
{
    return context->total % BLOCK_BYTES;
}

/* What an update, or the last part, gives out for `n` more bytes: never less, exact but for decrypted padding. */
static CK_ULONG cipher_size(const struct context *context, CK_ULONG n, int final)
{
    int encrypt = context->terms.family == FAMILY_ENCRYPT;
    CK_ULONG whole = partial(context) + n;

    if (is_pairs(&context->terms))
        return pair_size(context, final);
    switch (context->terms.method) {
    case METHOD_BLOCKS:
        return final ? whole : whole - whole % BLOCK_BYTES;
    case METHOD_PADDED:
        if (encrypt)
            return whole - whole % BLOCK_BYTES + (final ? BLOCK_BYTES : 0);
        whole += context->holds ? BLOCK_BYTES : 0;
        if (final)
            return whole;
        return whole / BLOCK_BYTES > 1 ? (whole / BLOCK_BYTES - 1) * BLOCK_BYTES : 0;
    case METHOD_AEAD:
        if (encrypt)
            return n + (final ? context->number : 0);
        whole = context->gathered_bytes + n;
        return final && whole > context->number ? whole - context->number : 0;
    default:
        return n;
    }
}

/* Feed OpenSSL; return the end of the output, NULL if it failed. */
static CK_BYTE *feed(struct context *context, const CK_BYTE *in, CK_ULONG n, CK_BYTE *out)
{
    while (n) {
        int taken = n > CHUNK ? CHUNK : (int)n, given = 0;

        if (openssl.EVP_CipherUpdate(context->evp, out, &given, in, taken) != 1)
            return NULL;
        in += taken;
        n -= (CK_ULONG)taken;
        out += given;
    }
    return out;
}

/* Decrypt, and hold the last whole block back; return the end of the output, NULL if OpenSSL failed. */
static CK_BYTE *feed_holding(struct context *context, const CK_BYTE *in, CK_ULONG n, CK_BYTE *out)
{
    CK_ULONG blocks = (partial(context) + n) / BLOCK_BYTES, before;

    if (!blocks)
        return feed(context, in, n, out);
    if (context->holds) {
        memcpy(out, context->held, BLOCK_BYTES);
        out += BLOCK_BYTES;
    }
    before = blocks > 1 ? (blocks - 1) * BLOCK_BYTES - partial(context) : 0;
    out = feed(context, in, before, out);
    context->holds = 1;
    return out && feed(context, in + before, n - before, context->held) ? out : NULL;
}

static CK_RV cipher_update(struct context *context, const CK_BYTE *in, CK_ULONG n, CK_BYTE *out, CK_ULONG *given)
{
    CK_BYTE *end = out;

    if (context->terms.method == METHOD_STREAM && n > context->most - context->total)
        return length_error(context);
    if (context->terms.method == METHOD_AEAD && context->terms.family == FAMILY_DECRYPT) {
        if (!gather(context, in, n))
            return CKR_HOST_MEMORY;
    } else if (context->terms.method == METHOD_PADDED && context->terms.family == FAMILY_DECRYPT) {
        end = feed_holding(context, in, n, out);
    } else {
        end = feed(context, in, n, out);
    }
    context->total += n;
    if (!end)
        return CKR_FUNCTION_FAILED;
    *given = (CK_ULONG)(end - out);
    return CKR_OK;
}

/* The length of PKCS #7's padding, 0 where it is none: whatever the block says, the same steps. */
static unsigned padding_of(const CK_BYTE *block)
{
    unsigned count = block[BLOCK_BYTES - 1], wrong = 0;

    wrong |= (count - 1) >> 8;           /* 0 */
    wrong |= (BLOCK_BYTES - count) >> 8; /* more than a block */
    for (unsigned i = 0; i < BLOCK_BYTES; i++) {
        unsigned inside = (i - count) >> 8; /* all ones where i < count */

        wrong |= inside & (block[BLOCK_BYTES - 1 - i] ^ count);
    }
    return count & (((wrong | (0U - wrong)) >> 31) - 1);
}

static CK_RV finish_unpadding(struct context *context, const CK_BYTE *in, CK_ULONG n, CK_BYTE *out, CK_ULONG *given)
{
    CK_BYTE *end;
    unsigned padding;

    if ((partial(context) + n) % BLOCK_BYTES || context->total + n == 0)
        return CKR_ENCRYPTED_DATA_LEN_RANGE;
    end = feed_holding(context, in, n, out);
    if (!end)
        return CKR_FUNCTION_FAILED;
    padding = padding_of(context->held);
    if (!padding) {
        explicit_bzero(out, (size_t)(end - out));
        return CKR_ENCRYPTED_DATA_INVALID;
    }
    memcpy(end, context->held, BLOCK_BYTES - padding);
    *given = (CK_ULONG)(end - out) + BLOCK_BYTES - padding;
    return CKR_OK;
}

static CK_RV finish_padding(struct context *context, const CK_BYTE *in, CK_ULONG n, CK_BYTE *out, CK_ULONG *given)
{
    unsigned count = BLOCK_BYTES - (unsigned)((partial(context) + n) % BLOCK_BYTES);
    CK_BYTE padding[BLOCK_BYTES];
    CK_BYTE *end = feed(context, in, n, out);

    memset(padding, (int)count, sizeof padding);
    end = end ? feed(context, padding, count, end) : NULL;
    if (!end)
        return CKR_FUNCTION_FAILED;
    *given = (CK_ULONG)(end - out);
    return CKR_OK;
}

static CK_RV finish_sealing(struct context *context, const CK_BYTE *in, CK_ULONG n, CK_BYTE *out, CK_ULONG *given)
{
    CK_BYTE tag[TAG_BYTES], *end = feed(context, in, n, out);
    int none;

    if (!end || openssl.EVP_CipherFinal_ex(context->evp, tag, &none) != 1 ||
        openssl.EVP_CIPHER_CTX_ctrl(context->evp, AEAD_GET_TAG, TAG_BYTES, tag) != 1)
        return CKR_FUNCTION_FAILED;
    memcpy(end, tag, context->number);
    *given = n + context->number;
    return CKR_OK;
}

static int open_sealed(struct context *context, const CK_BYTE *in, CK_ULONG n, CK_BYTE *out)
{
    CK_BYTE tag[TAG_BYTES];
    int none;

    memcpy(tag, in + n, context->number); /* OpenSSL takes no const one, and `out` may be `in` */
    return openssl.EVP_CIPHER_CTX_ctrl(context->evp, AEAD_SET_TAG, (int)context->number, tag) == 1 &&
           feed(context, in, n, out) && openssl.EVP_CipherFinal_ex(context->evp, tag, &none) == 1;
}

static CK_RV finish_opening(struct context *context, const CK_BYTE *in, CK_ULONG n, CK_BYTE *out, CK_ULONG *given)
{
    CK_ULONG plain;
    int opened;

    if (context->gathered) {
        if (!gather(context, in, n))
            return CKR_HOST_MEMORY;
        in = context->gathered;
        n = context->gathered_bytes;
    }
    if (n < context->number)
        return CKR_ENCRYPTED_DATA_LEN_RANGE;
    plain = n - context->number;
    openssl.ERR_set_mark();
    opened = open_sealed(context, in, plain, out);
    openssl.ERR_pop_to_mark();
    if (!opened) {
        if (plain)
            explicit_bzero(out, plain);
        return CKR_ENCRYPTED_DATA_INVALID;
    }
    *given = plain;
    return CKR_OK;
}

static CK_RV cipher_finish(struct context *context, const CK_BYTE *in, CK_ULONG n, CK_BYTE *out, CK_ULONG *given)
{
    int encrypt = context->terms.family == FAMILY_ENCRYPT;

    switch (context->terms.method) {
    case METHOD_PADDED:
        return (encrypt ? finish_padding : finish_unpadding)(context, in, n, out, given);
    case METHOD_AEAD:
        return (encrypt ? finish_sealing : finish_opening)(context, in, n, out, given);
    case METHOD_BLOCKS:
        if ((partial(context) + n) % BLOCK_BYTES)
            return length_error(context);
        /* fall through */
    default:
        return cipher_update(context, in, n, out, given);
    }
}

/* Output that runs ahead of the input, or behind it, would be written over input that is still to come. */
static int needs_copy(const struct context *context, const CK_BYTE *in, CK_ULONG n, const CK_BYTE *out, CK_ULONG room)
{
    int in_blocks = context->terms.method == METHOD_BLOCKS || context->terms.method == METHOD_PADDED;
    int level = in == out && !context->holds && !(in_blocks && partial(context));

    return !level && n && in < out + room && out < in + n;
}

/* Make one call; the room is enough. */
static CK_RV cipher_make(struct context *context, int step, const CK_BYTE *in, CK_ULONG n, CK_BYTE *out, CK_ULONG *given)
{
    CK_BYTE *copy = NULL;
    CK_RV rv;

    if (needs_copy(context, in, n, out, *given)) {
        copy = malloc(n);
        if (!copy)
            return CKR_HOST_MEMORY;
        in = memcpy(copy, in, n);
    }
    *given = 0;
    if (is_pairs(&context->terms))
        rv = pair_crypt(context, in, n, out, given);
    else
        rv = (step == STEP_UPDATE ? cipher_update : cipher_finish)(context, in, n, out, given);
    if (copy) {
        explicit_bzero(copy, n);
        free(copy);
    }
    return rv;
}

/* One call of a session: sizes are told, room is looked at. Room that may be too small for a decryption is Python's,
 * which keeps the output for the next call. */
static CK_RV cipher_call(struct context *context, int step, const CK_BYTE *in, CK_ULONG n, CK_BYTE *out, LOOSE_ULONG *room)
{
    CK_ULONG needed = cipher_size(context, n, step != STEP_UPDATE), given = needed;
    CK_RV rv;

    if (!out && step == STEP_UPDATE && n && needed < BLOCK_BYTES)
        needed = BLOCK_BYTES; /* told that there is nothing to come, callers pass no buffer, and so ask again */
    if (out && *room < needed && step != STEP_UPDATE && context->terms.family == FAMILY_DECRYPT)
        return PASS;
    if (!out || *room < needed) {
        *room = needed;
        return out ? CKR_BUFFER_TOO_SMALL : CKR_OK;
    }
    rv = cipher_make(context, step, in, n, out, &given);
    if (rv == CKR_OK)
        *room = given;
    return rv;
}
