/* What C_UnwrapKey decrypts, for the Python side, which makes the object: as crypto/blocks.py and crypto/keywrap.py do it,
 * under the grant of the unwrapping key. What does not open is Python's to refuse, which tries it again. */

/* The bytes before PKCS #7's filling, -1 where there is none. What was wrapped has proven its integrity by now: this
 * tells nothing to those who have not the key. */
static int before_filling(const CK_BYTE *plain, CK_ULONG count)
{
    CK_ULONG filling = plain[count - 1];

    if (filling < 1 || filling > FILLINGS[METHOD_KEYWRAP_PADDED].block)
        return -1;
    for (CK_ULONG i = 1; i <= filling; i++)
        if (plain[count - i] != filling)
            return -1;
    return (int)(count - filling);
}

static CK_RV open_wrapped(struct context *context, const CK_BYTE *in, CK_ULONG n, CK_BYTE *out, CK_ULONG *count)
{
    if (!is_keywrap(context))
        return cipher_make(context, STEP_ONCE, in, n, out, count);
    *count = n - HALF;
    return keyunwrap(context, in, n, out) ? CKR_OK : PASS;
}

/* Decrypt to at most as many bytes; return how many there are, -1 where it does not open. */
static int unwrap_with(struct context *context, const struct parameter *given, const CK_BYTE *in, CK_ULONG n, CK_BYTE *out)
{
    CK_ULONG count = n;
    CK_RV rv;

    if ((context->terms.shape == SHAPE_NONE && given->vector_bytes) || !parameter_fits(&context->terms, given))
        return -1;
    openssl.ERR_set_mark();
    rv = context_begin(context, given) ? open_wrapped(context, in, n, out, &count) : PASS;
    openssl.ERR_pop_to_mark();
    if (rv != CKR_OK)
        return -1;
    return context->terms.method == METHOD_KEYWRAP_PADDED ? before_filling(out, count) : (int)count;
}

/* For the Python side: `out` has room for `n` bytes; -1: it is Python's to do. */
static int datapath_unwrap(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE unwrapping, CK_MECHANISM_TYPE mechanism,
                           const struct parameter *given, const CK_BYTE *in, CK_ULONG n, CK_BYTE *out)
{
    struct session *session = n && n <= WRAPPED_BYTES ? session_lock(handle) : NULL;
    struct context *context;
    int count = -1;

    if (!session)
        return -1;
    context = context_for(session, FAMILY_UNWRAP, unwrapping, mechanism);
    if (context) {
        count = unwrap_with(context, given, in, n, out);
        put_by(session, context);
    }
    session->served += count >= 0;
    session_unlock(session);
    if (count < 0)
        explicit_bzero(out, n);
    return count;
}
