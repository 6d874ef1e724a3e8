/* Keys of pairs, private and public, as OpenSSL holds them: read once for a grant, and shared by the contexts that are
 * made of it. They lie on OpenSSL's heap, which wipes private ones when the last to use them frees them. */

/* Of a key as it is handed over; a signature or RSA's ciphertext; of the smallest such that is not left to Python, where
 * a hash with its prefix may be longer than the key takes. */
enum { MOST_DER_BYTES = 8192, MOST_SIGNATURE_BYTES = 1024, LEAST_RSA_BYTES = 128 };
enum { PRINT_BYTES = 32 }; /* of the SHA-256 that tells keys apart */

/* How OpenSSL names RSA's paddings; the other methods have none. */
static const char *const PADDINGS[METHOD_COUNT] = {
    [METHOD_RSA_PKCS] = "pkcs1", [METHOD_RSA_PSS] = "pss", [METHOD_RSA_OAEP] = "oaep"};

static int is_pairs(const struct terms *terms)
{
    return terms->method >= METHOD_RSA_PKCS;
}

static int is_private(const struct terms *terms)
{
    return terms->family == FAMILY_SIGN || terms->family == FAMILY_DECRYPT;
}

/* Bytes of a signature, or of what RSA encrypts to. */
static size_t pair_width(const struct terms *terms, const void *pair)
{
    if (terms->method == METHOD_ECDSA)
        return 2 * (((size_t)openssl.EVP_PKEY_get_bits(pair) + 7) / 8); /* two numbers as wide as the order */
    return (size_t)openssl.EVP_PKEY_get_size(pair);
}

static int pair_fits(const struct terms *terms, const void *pair)
{
    size_t width = pair_width(terms, pair);

    return width <= MOST_SIGNATURE_BYTES && (!PADDINGS[terms->method] || width >= LEAST_RSA_BYTES);
}

/* Read PKCS #8 or SubjectPublicKeyInfo; NULL where this OpenSSL cannot, or does not serve such a key. */
static void *pair_read(const struct terms *terms, const CK_BYTE *der, CK_ULONG der_bytes)
{
    void *pair;

    openssl.ERR_set_mark();
    pair = (is_private(terms) ? openssl.d2i_AutoPrivateKey_ex
                              : openssl.d2i_PUBKEY_ex)(NULL, &der, (long)der_bytes, openssl_context, NULL);
    if (pair && !pair_fits(terms, pair)) {
        openssl.EVP_PKEY_free(pair);
        pair = NULL;
    }
    openssl.ERR_pop_to_mark();
    return pair;
}

/* What tells whether a key is the same again, and says nothing else of it. */
static int pair_print(const CK_BYTE *der, CK_ULONG der_bytes, CK_BYTE *print)
{
    void *digest = algorithm(METHOD_DIGEST, "SHA2-256");

    return digest && openssl.EVP_Digest(der, der_bytes, print, NULL, digest, NULL) == 1;
}
