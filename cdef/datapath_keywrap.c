/* RFC 3394 over AES-ECB. libcrypto has it as a cipher, but there by its AES without the processor's instructions: ten times
 * as slow. `context` has the key; a plain text is two halves of a block at least, and short: see the assertion. */

enum { HALF = BLOCK_BYTES / 2, WRAP_TURNS = 6, WRAP_SIGN = 0xa6 }; /* 2.2.3.1: what a good key begins with, eight times */
_Static_assert(WRAP_TURNS * (WRAPPED_BYTES / HALF) < 256, "steps are counted in the last byte of a half alone");

/* Whether RFC 3394 is ours: RFC 5649 fills up otherwise, and is left to libcrypto. */
static int is_keywrap(const struct context *context)
{
    return context->terms.method == METHOD_KEYWRAP || context->terms.method == METHOD_KEYWRAP_PADDED;
}

static int through_aes(struct context *context, CK_BYTE *block)
{
    int given = 0;

    return openssl.EVP_CipherUpdate(context->evp, block, &given, block, BLOCK_BYTES) == 1 && given == BLOCK_BYTES;
}

/* Wrap `n` bytes to `n` + HALF at `out`; 0 if that cannot be. */
static int keywrap(struct context *context, const CK_BYTE *in, CK_ULONG n, CK_BYTE *out)
{
    CK_BYTE block[BLOCK_BYTES], step = 0;
    int good = n % HALF == 0 && n >= BLOCK_BYTES && n + HALF <= WRAPPED_BYTES;

    if (!good)
        return 0;
    memset(block, WRAP_SIGN, HALF);
    memcpy(out + HALF, in, n);
    for (int turn = 0; turn < WRAP_TURNS; turn++)
        for (CK_ULONG i = 1; i <= n / HALF; i++) {
            CK_BYTE *half = out + i * HALF;

            memcpy(block + HALF, half, HALF);
            good &= through_aes(context, block);
            block[HALF - 1] ^= ++step;
            memcpy(half, block + HALF, HALF);
        }
    memcpy(out, block, HALF);
    return good;
}

/* Unwrap `n` bytes to `n` - HALF at `out`; 0 if they do not open: `out` has then what tells nothing, and is to be wiped. */
static int keyunwrap(struct context *context, const CK_BYTE *in, CK_ULONG n, CK_BYTE *out)
{
    CK_BYTE block[BLOCK_BYTES], step, wrong = 0;
    int good = n % HALF == 0 && n >= BLOCK_BYTES + HALF && n <= WRAPPED_BYTES;

    if (!good)
        return 0;
    step = (CK_BYTE)(WRAP_TURNS * (n / HALF - 1));
    memcpy(block, in, HALF);
    memcpy(out, in + HALF, n - HALF);
    for (int turn = 0; turn < WRAP_TURNS; turn++)
        for (CK_ULONG i = n / HALF - 1; i > 0; i--) {
            CK_BYTE *half = out + (i - 1) * HALF;

            block[HALF - 1] ^= step--;
            memcpy(block + HALF, half, HALF);
            good &= through_aes(context, block);
            memcpy(half, block + HALF, HALF);
        }
    for (int i = 0; i < HALF; i++) /* all of it, whatever differs first */
        wrong |= block[i] ^ WRAP_SIGN;
    explicit_bzero(block, sizeof block);
    return good && !wrong;
}
