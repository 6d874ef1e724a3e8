/* What C knows of sessions: whose they are, which operations C has begun in them, which contexts are at hand.
 *
 * A place is made for a session and never freed: it serves later sessions of the same bucket. So a handle is looked up
 * without a lock, and what was found is believed once its mutex is held. */

enum { BUCKETS = 4096, KEPT = 4 };

struct session {
    struct session *next; /* of the bucket; never changed */
    pthread_mutex_t mutex;
    atomic_ulong handle; /* 0: free */
    CK_ULONG token;
    CK_ULONG served, uses;
    struct context *active[FAMILY_COUNT]; /* operations that are C's */
    struct context *kept[KEPT];           /* keys without an operation */
    char is_pythons[FAMILY_COUNT];        /* Python has begun an operation, and not given the family back */
};

static _Atomic(struct session *) buckets[BUCKETS];
static pthread_mutex_t sessions_mutex = PTHREAD_MUTEX_INITIALIZER; /* of those who open sessions */

/* ---- finding ---- */

static struct session *session_at(CK_ULONG handle)
{
    struct session *one = atomic_load_explicit(&buckets[handle % BUCKETS], memory_order_acquire);

    while (one && atomic_load_explicit(&one->handle, memory_order_relaxed) != handle)
        one = one->next;
    return one;
}

/* Return the session with its mutex held, NULL where C knows none of this handle or the data path is off. */
static struct session *session_lock(CK_ULONG handle)
{
    struct session *found = present_epoch() && handle ? session_at(handle) : NULL;

    if (!found)
        return NULL;
    pthread_mutex_lock(&found->mutex);
    if (atomic_load_explicit(&found->handle, memory_order_relaxed) == handle)
        return found;
    pthread_mutex_unlock(&found->mutex);
    return NULL;
}

static void session_unlock(struct session *session)
{
    pthread_mutex_unlock(&session->mutex);
}

/* ---- contexts; the session's mutex is held ---- */

static void drop_operations(struct session *session)
{
    for (int i = 0; i < FAMILY_COUNT; i++) {
        context_free(session->active[i]);
        session->active[i] = NULL;
    }
}

static void drop_kept(struct session *session, int all)
{
    for (int i = 0; i < KEPT; i++)
        if (session->kept[i] && (all || !context_stands(session->kept[i]))) {
            context_free(session->kept[i]);
            session->kept[i] = NULL;
        }
}

/* Put a context by for its next operation, in place of the one that was used longest ago. */
static void put_by(struct session *session, struct context *context)
{
    int place = 0;

    if (!context_stands(context)) {
        context_free(context);
        return;
    }
    context_rest(context);
    context->used = ++session->uses;
    for (int i = 0; i < KEPT && session->kept[place]; i++)
        if (!session->kept[i] || session->kept[i]->used < session->kept[place]->used)
            place = i;
    context_free(session->kept[place]);
    session->kept[place] = context;
}

static struct context *take_kept(struct session *session, int family, CK_OBJECT_HANDLE key, CK_MECHANISM_TYPE mechanism)
{
    for (int i = 0; i < KEPT; i++) {
        struct context *one = session->kept[i];

        if (!one || !is_for(&one->terms, family, key, mechanism))
            continue;
        session->kept[i] = NULL;
        if (context_renewed(one))
            return one;
        context_free(one);
    }
    return NULL;
}

/* Return a context for a new operation: one that is kept, or one made of a grant; NULL where none stands. */
static struct context *context_for(struct session *session, int family, CK_OBJECT_HANDLE key,
                                   CK_MECHANISM_TYPE mechanism)
{
    struct context *found = take_kept(session, family, key, mechanism);
    struct grant *grant;

    if (found)
        return found;
    pthread_mutex_lock(&grants.mutex);
    grant = find_grant(session->token, family, key, mechanism);
    found = grant ? context_new(grant) : NULL;
    pthread_mutex_unlock(&grants.mutex);
    return found;
}

/* ---- their beginning and end, for the Python side ---- */

static struct session *free_place(CK_ULONG handle)
{
    struct session *one = atomic_load(&buckets[handle % BUCKETS]);

    while (one && atomic_load(&one->handle) != 0)
        one = one->next;
    if (one)
        return one;
    one = calloc(1, sizeof *one);
    if (one) {
        pthread_mutex_init(&one->mutex, NULL);
        one->next = atomic_load(&buckets[handle % BUCKETS]);
        atomic_store_explicit(&buckets[handle % BUCKETS], one, memory_order_release);
    }
    return one;
}

static void datapath_open(CK_ULONG handle, CK_ULONG token)
{
    struct session *session;

    pthread_mutex_lock(&sessions_mutex);
    session = present_epoch() ? free_place(handle) : NULL;
    if (session) {
        pthread_mutex_lock(&session->mutex);
        session->token = token;
        memset(session->is_pythons, 0, sizeof session->is_pythons);
        atomic_store(&session->handle, handle);
        pthread_mutex_unlock(&session->mutex);
    }
    pthread_mutex_unlock(&sessions_mutex);
}

static void empty(struct session *session)
{
    drop_operations(session);
    drop_kept(session, 1);
}

/* End what C does in a session; `closed`: for good. */
static void datapath_cancel(CK_ULONG handle, int closed)
{
    struct session *session = session_lock(handle);

    if (!session)
        return;
    empty(session);
    if (closed)
        atomic_store(&session->handle, 0);
    session_unlock(session);
}

/* Free the contexts whose grants have ended. A session that is at work does so itself when it has done. */
static void sweep(void)
{
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct session *one = atomic_load(&buckets[i]); one; one = one->next)
            if (atomic_load(&one->handle) && pthread_mutex_trylock(&one->mutex) == 0) {
                drop_kept(one, 0);
                pthread_mutex_unlock(&one->mutex);
            }
}

/* Forget all sessions, whichever epoch they are of. */
static void forget_sessions(void)
{
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct session *one = atomic_load(&buckets[i]); one; one = one->next) {
            pthread_mutex_lock(&one->mutex);
            empty(one);
            atomic_store(&one->handle, 0);
            pthread_mutex_unlock(&one->mutex);
        }
}

static void datapath_end_key(CK_ULONG mark)
{
    if (mark < MARKS && end_grants_of(mark))
        sweep();
}

static void datapath_end_all(void)
{
    if (!present_epoch())
        return;
    end_all_grants(1);
    sweep();
}

/* C_Initialize. Returns whether there is a data path. */
static int datapath_start(void)
{
    if (!vault_open())
        return 0;
    forget_sessions();
    end_all_grants(1);
    return 1;
}

/* C_Finalize. */
static void datapath_stop(void)
{
    if (!present_epoch())
        return;
    end_all_grants(0);
    forget_sessions();
}

/* The child has no grants, as the vault reads as zeros. Its locks are made anew; a context that another thread was at
 * work with is left alone, nobody knows in which state. */
static void datapath_after_fork_in_child(void)
{
    static const pthread_mutex_t open_mutex = PTHREAD_MUTEX_INITIALIZER;

    for (size_t i = 0; i < BUCKETS; i++)
        for (struct session *one = atomic_load(&buckets[i]); one; one = one->next) {
            if (pthread_mutex_trylock(&one->mutex) == 0) {
                empty(one);
            } else {
                memset(one->active, 0, sizeof one->active);
                memset(one->kept, 0, sizeof one->kept);
            }
            one->mutex = open_mutex;
            atomic_store(&one->handle, 0);
        }
    forget_pairs();
    grants.mutex = open_mutex;
    sessions_mutex = open_mutex;
}
