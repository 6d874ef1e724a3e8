/* The calls that C serves. Each answers PASS where Python is to: C begins an operation only if all is in order, and goes
 * on only with what it has begun; whatever is odd is Python's to refuse, which can take the operation over. */

#include <stdint.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "datapath.h"

#include "datapath_crypto.c"
#include "datapath_pair.c"
#include "datapath_grants.c"

#include "datapath_context.c"

#include "datapath_asymmetric.c"
#include "datapath_cipher.c"
#include "datapath_mac.c"
#include "datapath_session.c"

/* ---- parameters ---- */

static int read_gcm(const LOOSE_MECHANISM *mechanism, struct parameter *into)
{
    if (mechanism->ulParameterLen == sizeof(CK_GCM_PARAMS)) {
        CK_GCM_PARAMS given;

        memcpy(&given, mechanism->pParameter, sizeof given);
        *into = (struct parameter){given.pIv, given.ulIvLen, given.pAAD, given.ulAADLen, given.ulTagBits};
    } else if (mechanism->ulParameterLen == sizeof(CK_GCM_PARAMS_WITHOUT_IV_BITS)) {
        CK_GCM_PARAMS_WITHOUT_IV_BITS given;

        memcpy(&given, mechanism->pParameter, sizeof given);
        *into = (struct parameter){given.pIv, given.ulIvLen, given.pAAD, given.ulAADLen, given.ulTagBits};
    } else {
        return 0;
    }
    return into->vector && (into->beside || !into->beside_bytes);
}

/* Hash and mask generation function stand first; a label, or a wrong source, is Python's. */
static int read_oaep(const LOOSE_MECHANISM *mechanism, struct parameter *into)
{
    CK_RSA_PKCS_OAEP_PARAMS given;

    if (mechanism->ulParameterLen != sizeof given)
        return 0;
    memcpy(&given, mechanism->pParameter, sizeof given);
    into->vector = mechanism->pParameter;
    into->vector_bytes = offsetof(CK_RSA_PKCS_OAEP_PARAMS, source);
    return (given.source == 0 || given.source == CKZ_DATA_SPECIFIED) && !given.ulSourceDataLen;
}

/* Read a mechanism's parameter; 0 where it is none of this shape. */
static int read_parameter(int shape, const LOOSE_MECHANISM *mechanism, struct parameter *into)
{
    CK_BYTE_PTR given = mechanism->pParameter;
    CK_ULONG size = mechanism->ulParameterLen;

    *into = (struct parameter){0};
    if (shape == SHAPE_NONE)
        return size == 0;
    if (!given)
        return 0;
    switch (shape) {
    case SHAPE_VECTOR:
    case SHAPE_PSS:
        into->vector = given;
        into->vector_bytes = size;
        return 1;
    case SHAPE_COUNTER:
        memcpy(&into->number, given, sizeof into->number);
        into->vector = given + offsetof(CK_AES_CTR_PARAMS, cb);
        into->vector_bytes = BLOCK_BYTES;
        return size == sizeof(CK_AES_CTR_PARAMS);
    case SHAPE_GCM:
        return read_gcm(mechanism, into);
    case SHAPE_OAEP:
        return read_oaep(mechanism, into);
    case SHAPE_LENGTH:
        if (size != sizeof into->number)
            return 0;
        memcpy(&into->number, given, sizeof into->number);
        return 1;
    }
    return 0;
}

/* ---- C_<X>Init ---- */

/* Begin with a context, or put it by; the session's mutex is held. One that was made for another parameter is freed, as
 * Python may have granted this one. */
static int begin_with(struct session *session, struct context *context, const struct parameter *given)
{
    if (parameter_fits(&context->terms, given) && context_begin(context, given)) {
        session->active[context->terms.family] = context;
        session->is_pythons[context->terms.family] = 0;
        return 1;
    }
    if (context->terms.asked_bytes)
        context_free(context);
    else
        put_by(session, context);
    return 0;
}

static CK_RV datapath_init(int family, CK_SESSION_HANDLE handle, LOOSE_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    struct session *session = mechanism ? session_lock(handle) : NULL;
    struct context *context = NULL;
    struct parameter given;
    CK_RV rv = PASS;

    if (!session)
        return PASS;
    if (!session->active[family] && !session->is_pythons[family])
        context = context_for(session, family, key, mechanism->mechanism);
    if (context && !read_parameter(context->terms.shape, mechanism, &given))
        put_by(session, context);
    else if (context && begin_with(session, context, &given))
        rv = CKR_OK;
    session_unlock(session);
    return rv;
}

/* ---- the calls that follow ---- */

static int is_input(const CK_BYTE *in, CK_ULONG n)
{
    return !n || (in && n <= LONGEST);
}

/* Return the operation that this call goes on with, its session's mutex held; NULL, and nothing held, for what is
 * Python's. */
static struct context *going_on(struct session **session, int family, int step, CK_SESSION_HANDLE handle)
{
    *session = session_lock(handle);
    if (!*session)
        return NULL;
    struct context *context = (*session)->active[family];
    if (context && !(step == STEP_ONCE ? context->streaming : context->terms.one_part))
        return context;
    session_unlock(*session);
    return NULL;
}

/* End the call, and the operation unless it `lives`. */
static CK_RV gone_on(struct session *session, struct context *context, int step, CK_RV rv, int lives)
{
    if (step == STEP_UPDATE && rv == CKR_OK)
        context->streaming = context->streaming || !lives;
    if (rv != PASS) {
        session->served++;
        if (!lives && !(step == STEP_UPDATE && rv == CKR_OK)) {
            session->active[context->terms.family] = NULL;
            put_by(session, context);
        }
    }
    session_unlock(session);
    return rv;
}

static CK_RV datapath_crypt(int family, int step, CK_SESSION_HANDLE handle, CK_BYTE_PTR in, CK_ULONG n, CK_BYTE_PTR out,
                            LOOSE_ULONG *room)
{
    struct session *session;
    struct context *context = room && is_input(in, n) ? going_on(&session, family, step, handle) : NULL;
    CK_RV rv;

    if (!context)
        return PASS;
    rv = cipher_call(context, step, in, n, out, room);
    return gone_on(session, context, step, rv, (rv == CKR_OK && !out) || rv == CKR_BUFFER_TOO_SMALL);
}

static CK_RV datapath_absorb(int family, CK_SESSION_HANDLE handle, CK_BYTE_PTR in, CK_ULONG n)
{
    struct session *session;
    struct context *context = is_input(in, n) ? going_on(&session, family, STEP_UPDATE, handle) : NULL;

    return context ? gone_on(session, context, STEP_UPDATE, mac_update(context, in, n), 0) : PASS;
}

static CK_RV datapath_squeeze(int family, int step, CK_SESSION_HANDLE handle, CK_BYTE_PTR in, CK_ULONG n, CK_BYTE_PTR out,
                              LOOSE_ULONG *room)
{
    struct session *session;
    struct context *context = room && is_input(in, n) ? going_on(&session, family, step, handle) : NULL;
    CK_RV rv;

    if (!context)
        return PASS;
    rv = mac_call(context, in, n, out, room);
    return gone_on(session, context, step, rv, (rv == CKR_OK && !out) || rv == CKR_BUFFER_TOO_SMALL);
}

static CK_RV datapath_check(int step, CK_SESSION_HANDLE handle, CK_BYTE_PTR in, CK_ULONG n, CK_BYTE_PTR mac,
                            CK_ULONG mac_bytes)
{
    struct session *session;
    struct context *context =
        is_input(in, n) && is_input(mac, mac_bytes) ? going_on(&session, FAMILY_VERIFY, step, handle) : NULL;

    return context ? gone_on(session, context, step, mac_verify(context, in, n, mac, mac_bytes), 0) : PASS;
}

/* The operating system's generator, as in crypto/engine.py. */
static CK_RV datapath_random(CK_SESSION_HANDLE handle, CK_BYTE_PTR out, CK_ULONG n)
{
    struct session *session = is_input(out, n) ? session_lock(handle) : NULL;

    if (!session)
        return PASS;
    session->served++;
    session_unlock(session);
    while (n) {
        ssize_t got = getrandom(out, n, 0);

        if (got < 0 && errno != EINTR)
            return PASS;
        out += got > 0 ? got : 0;
        n -= got > 0 ? (CK_ULONG)got : 0;
    }
    return CKR_OK;
}

/* ---- for the Python side ---- */

/* Begin an operation in C under a grant; 0: it is Python's to begin. */
static int datapath_begin(int family, CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE key, CK_MECHANISM_TYPE mechanism,
                          const struct parameter *given)
{
    struct session *session = session_lock(handle);
    struct context *context;
    int begun;

    if (!session)
        return 0;
    context = session->active[family] ? NULL : context_for(session, family, key, mechanism);
    begun = context && begin_with(session, context, given);
    session_unlock(session);
    return begun;
}

/* Keep C from beginning operations of a family until one is begun for Python; 0: one of C's is active. */
static int datapath_claim(int family, CK_SESSION_HANDLE handle)
{
    struct session *session = session_lock(handle);
    int claimed = 1;

    if (session) {
        claimed = !session->active[family];
        session->is_pythons[family] |= claimed;
        session_unlock(session);
    }
    return claimed;
}

/* Hand an operation of C's over to Python, which frees it; NULL where there is none. */
static struct context *datapath_take(int family, CK_SESSION_HANDLE handle)
{
    struct session *session = session_lock(handle);
    struct context *taken = NULL;

    if (session) {
        taken = session->active[family];
        session->active[family] = NULL;
        session->is_pythons[family] |= taken != NULL;
        session_unlock(session);
    }
    return taken;
}

static CK_ULONG datapath_served(void)
{
    CK_ULONG served = 0;

    for (size_t i = 0; i < BUCKETS; i++)
        for (struct session *one = atomic_load(&buckets[i]); one; one = one->next) {
            pthread_mutex_lock(&one->mutex);
            served += one->served;
            pthread_mutex_unlock(&one->mutex);
        }
    return served;
}

/* What Python does with an operation that it has taken over, beside the calls of datapath_{context,cipher,mac}.c. */

static CK_ULONG context_size(const struct context *context, CK_ULONG n, int final)
{
    return is_cipher(context) ? cipher_size(context, n, final) : context->number;
}

static int context_streams(const struct context *context)
{
    return context->streaming;
}

static int context_is_one_part(const struct context *context)
{
    return context->terms.one_part;
}

/* Return another digest in the same state, NULL without memory. */
static struct context *context_copy(const struct context *context)
{
    struct context *copy = calloc(1, sizeof *copy);

    if (!copy)
        return NULL;
    copy->terms = context->terms;
    copy->number = context->number;
    copy->streaming = context->streaming;
    copy->evp = openssl.EVP_MD_CTX_new();
    if (copy->evp && openssl.EVP_MD_CTX_copy_ex(copy->evp, context->evp) == 1)
        return copy;
    context_free(copy);
    return NULL;
}

#include "datapath_keywrap.c"
#include "datapath_wrap.c"
#include "datapath_unwrap.c"
