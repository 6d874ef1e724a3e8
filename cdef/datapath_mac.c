/* Digests and MACs, and the calls of signatures: what each call takes, gives and refuses, as crypto/digests.py and
 * crypto/mac.py do it. */

static int absorb(struct context *context, const CK_BYTE *in, CK_ULONG n)
{
    if (is_pairs(&context->terms))
        return pair_absorb(context, in, n);
    if (!n)
        return 1;
    if (context->terms.method == METHOD_DIGEST)
        return openssl.EVP_DigestUpdate(context->evp, in, n) == 1;
    return openssl.EVP_MAC_update(context->evp, in, n) == 1;
}

/* Give the whole digest or MAC into MOST_MAC_BYTES. */
static int squeeze(struct context *context, CK_BYTE *whole)
{
    unsigned int digest_bytes = 0;
    size_t mac_bytes = 0;

    if (context->terms.method == METHOD_DIGEST)
        return openssl.EVP_DigestFinal_ex(context->evp, whole, &digest_bytes) == 1 &&
               digest_bytes == context->terms.size;
    return openssl.EVP_MAC_final(context->evp, whole, &mac_bytes, MOST_MAC_BYTES) == 1 &&
           mac_bytes == context->terms.size;
}

static CK_RV mac_update(struct context *context, const CK_BYTE *in, CK_ULONG n)
{
    return absorb(context, in, n) ? CKR_OK : CKR_FUNCTION_FAILED;
}

/* The last part of a digest or signature. */
static CK_RV mac_call(struct context *context, const CK_BYTE *in, CK_ULONG n, CK_BYTE *out, LOOSE_ULONG *room)
{
    CK_BYTE whole[MOST_MAC_BYTES];
    int made;

    if (!out || *room < context->number) {
        *room = context->number;
        return out ? CKR_BUFFER_TOO_SMALL : CKR_OK;
    }
    if (is_pairs(&context->terms))
        return pair_sign(context, in, n, out, room);
    made = absorb(context, in, n) && squeeze(context, whole);
    if (made) {
        memcpy(out, whole, context->number);
        *room = context->number;
    }
    explicit_bzero(whole, sizeof whole);
    return made ? CKR_OK : CKR_FUNCTION_FAILED;
}

/* The last part of a verification. */
static CK_RV mac_verify(struct context *context, const CK_BYTE *in, CK_ULONG n, const CK_BYTE *mac, CK_ULONG mac_bytes)
{
    CK_BYTE whole[MOST_MAC_BYTES];
    unsigned differs = 0;
    int made;

    if (is_pairs(&context->terms))
        return pair_verify(context, in, n, mac, mac_bytes);
    made = absorb(context, in, n) && squeeze(context, whole);

    if (made && mac_bytes == context->number)
        for (CK_ULONG i = 0; i < mac_bytes; i++)
            differs |= whole[i] ^ mac[i];
    explicit_bzero(whole, sizeof whole);
    if (!made)
        return CKR_FUNCTION_FAILED;
    if (mac_bytes != context->number)
        return CKR_SIGNATURE_LEN_RANGE;
    return differs ? CKR_SIGNATURE_INVALID : CKR_OK;
}
