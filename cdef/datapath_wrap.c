/* C_WrapKey: a granted key under a granted wrapping key, as functions/keys.py, crypto/blocks.py and crypto/keywrap.py do
 * it. Two grants serve one call: that of the wrapping key, and that of the key which this wrapping key may wrap. The
 * second is bound to the first by its serial: where the wrapping key has changed, Python looks at both again. */

/* How the key is filled up: to whole blocks, with zeros or as PKCS #7 says; and what wrapping adds. */
static const struct filling {
    CK_ULONG block;
    int pkcs7;
    CK_ULONG adds;
} FILLINGS[] = {
    [METHOD_BLOCKS] = {16, 0, 0},
    [METHOD_PADDED] = {16, 1, 0},
    [METHOD_KEYWRAP] = {8, 0, 8},
    [METHOD_KEYWRAP_PADDED] = {8, 1, 8},
    [METHOD_KEYWRAP_KWP] = {8, 0, 8}, /* OpenSSL fills it up, as RFC 5649 says */
};
enum { FILLED_BYTES = KEY_BYTES + BLOCK_BYTES };
_Static_assert(WRAPPED_BYTES == FILLED_BYTES + BLOCK_BYTES, "what is wrapped has room");

/* What is to be wrapped, and the serial of the wrapping key's grant. */
struct wrapped {
    CK_BYTE bytes[FILLED_BYTES];
    CK_ULONG count, filled, under;
};

/* For the Python side: let C wrap a key with another. `terms` are the wrapping key's. */
static int datapath_grant_wrap(CK_ULONG seen, const struct terms *terms, const CK_BYTE *wrapping, CK_ULONG wrapping_bytes,
                               CK_OBJECT_HANDLE key, CK_ULONG mark, const CK_BYTE *plain, CK_ULONG plain_bytes)
{
    struct terms of_key = *terms;
    enum granted made;

    of_key.family = FAMILY_WRAPPED;
    of_key.key = key;
    of_key.mark = mark;
    pthread_mutex_lock(&grants.mutex);
    made = may_grant(seen, terms, wrapping_bytes);
    made = made == GRANTED ? may_grant(seen, &of_key, plain_bytes) : made;
    made = made == GRANTED ? put_grant(terms, wrapping, wrapping_bytes) : made;
    made = made == GRANTED ? put_grant(&of_key, plain, plain_bytes) : made;
    if (made == GRANTED)
        grants.all[place_for(&of_key)].under = grants.all[place_for(terms)].serial;
    pthread_mutex_unlock(&grants.mutex);
    return made;
}

static int read_wrapped(CK_ULONG token, CK_OBJECT_HANDLE key, CK_MECHANISM_TYPE mechanism, struct wrapped *into)
{
    struct grant *grant;

    pthread_mutex_lock(&grants.mutex);
    grant = find_grant(token, FAMILY_WRAPPED, key, mechanism);
    if (grant) {
        into->count = grant->key_bytes;
        into->under = grant->under;
        memcpy(into->bytes, vault()->keys[grant - grants.all], grant->key_bytes);
    }
    pthread_mutex_unlock(&grants.mutex);
    return grant != NULL;
}

/* Return the wrapping key's context of the grant with this serial; a kept one may be of an earlier grant. */
static struct context *wrapping_context(struct session *session, CK_OBJECT_HANDLE wrapping, CK_MECHANISM_TYPE mechanism,
                                        CK_ULONG serial)
{
    for (int tries = 0; tries < 2; tries++) {
        struct context *context = context_for(session, FAMILY_WRAP, wrapping, mechanism);

        if (!context || context->serial == serial)
            return context;
        context_free(context);
    }
    return NULL;
}

static void fill(const struct filling *filling, struct wrapped *key)
{
    CK_ULONG more = filling->block - key->count % filling->block;

    if (!filling->pkcs7)
        more %= filling->block;
    memset(key->bytes + key->count, filling->pkcs7 ? (int)more : 0, more);
    key->filled = key->count + more;
}

/* Made aside: on its way the key stands in clear where the output goes. */
static CK_RV wrap_filled(struct context *context, const struct wrapped *key, CK_BYTE *out, CK_ULONG needed)
{
    CK_ULONG in_bytes = context->terms.method == METHOD_KEYWRAP_KWP ? key->count : key->filled;
    CK_BYTE made[WRAPPED_BYTES];
    int given = 0, wrapped;

    openssl.ERR_set_mark();
    if (is_keywrap(context))
        wrapped = keywrap(context, key->bytes, in_bytes, made);
    else
        wrapped = openssl.EVP_CipherUpdate(context->evp, made, &given, key->bytes, (int)in_bytes) == 1 &&
                  (CK_ULONG)given == needed;
    openssl.ERR_pop_to_mark();
    if (wrapped)
        memcpy(out, made, needed);
    explicit_bzero(made, sizeof made);
    return wrapped ? CKR_OK : PASS;
}

/* Wrap, or tell how long it will be. What the mechanism cannot take is Python's to refuse. */
static CK_RV wrap_with(struct context *context, const LOOSE_MECHANISM *mechanism, struct wrapped *key, CK_BYTE *out,
                       LOOSE_ULONG *room)
{
    const struct filling *filling = &FILLINGS[context->terms.method];
    struct parameter given;
    CK_ULONG needed;
    CK_RV rv;

    fill(filling, key);
    needed = key->filled + filling->adds;
    if (!read_parameter(context->terms.shape, mechanism, &given) || !parameter_fits(&context->terms, &given))
        return PASS;
    if (!out || *room < needed) {
        *room = needed;
        return out ? CKR_BUFFER_TOO_SMALL : CKR_OK;
    }
    rv = context_begin(context, &given) ? wrap_filled(context, key, out, needed) : PASS;
    if (rv == CKR_OK)
        *room = needed;
    return rv;
}

static CK_RV datapath_wrap(CK_SESSION_HANDLE handle, LOOSE_MECHANISM *mechanism, CK_OBJECT_HANDLE wrapping,
                           CK_OBJECT_HANDLE key, CK_BYTE_PTR out, LOOSE_ULONG *room)
{
    struct session *session = mechanism && room ? session_lock(handle) : NULL;
    struct context *context = NULL;
    struct wrapped plain;
    CK_RV rv = PASS;

    if (!session)
        return PASS;
    if (read_wrapped(session->token, key, mechanism->mechanism, &plain))
        context = wrapping_context(session, wrapping, mechanism->mechanism, plain.under);
    if (context) {
        rv = wrap_with(context, mechanism, &plain, out, room);
        put_by(session, context);
    }
    session->served += rv != PASS;
    session_unlock(session);
    explicit_bzero(&plain, sizeof plain);
    return rv;
}
