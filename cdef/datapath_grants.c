/* Grants, and what ends them.
 *
 * Python says what it saw changing (`changes`) before it looked whether the key may be used: a grant that was overtaken
 * by any change is refused, so none can outlive what it rests on. One that stands is ended by a counter of its own key,
 * by that of all (the epoch), or by its lease. */

enum { KEY_BYTES = 128, WAYS = 4, WRAPPED_SETS = 16, SETS = 64 + WRAPPED_SETS, MARKS = 1024, VAULT_HEAD = 4096 };

struct grant {
    struct terms terms;
    CK_ULONG serial; /* of the key as it was granted: the same again is the same grant; 0: none */
    CK_ULONG under;  /* of a key that is wrapped: the serial of its wrapping key */
    CK_ULONG epoch, generation;
    uint64_t until_ms;
    CK_ULONG used;
    size_t key_bytes;
    void *algorithm;
    void *pair; /* a key that is one of OpenSSL's; its print is what lies in the vault */
};

/* Key bytes, and the epoch beside them: all of it reads as zero in a forked child, where so no grant stands, however
 * the child came to be. OpenSSL's contexts hold expanded keys on the heap; they live as long as the grant at most. */
struct vault {
    atomic_ulong epoch; /* 0: off */
    char rest_of_page[VAULT_HEAD - sizeof(atomic_ulong)];
    CK_BYTE keys[SETS * WAYS][KEY_BYTES];
};
static struct vault *_Atomic vault_pages; /* NULL until the first C_Initialize; then for good */
static int vault_is_locked;

static struct {
    pthread_mutex_t mutex;
    CK_ULONG epochs, serials, uses;
    struct grant all[SETS * WAYS];
} grants = {.mutex = PTHREAD_MUTEX_INITIALIZER};
static atomic_ulong changes = 1;
static atomic_ulong generations[MARKS + 1]; /* the last is that of what no key is for: never changed */
static unsigned char has_grants[MARKS + 1];

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static struct vault *vault(void)
{
    return atomic_load_explicit(&vault_pages, memory_order_acquire);
}

static CK_ULONG present_epoch(void)
{
    struct vault *pages = vault();

    return pages ? atomic_load_explicit(&pages->epoch, memory_order_acquire) : 0;
}

static struct vault *vault_map(void)
{
    size_t size = sizeof(struct vault);
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (pages == MAP_FAILED)
        return NULL;
    if (madvise(pages, size, MADV_WIPEONFORK) == 0 && madvise(pages, size, MADV_DONTDUMP) == 0)
        return pages;
    munmap(pages, size);
    return NULL;
}

/* Map the vault, once; lock it, where the limits of the process now let us. */
static int vault_open(void)
{
    struct vault *pages;

    pthread_mutex_lock(&grants.mutex);
    pages = vault() ? vault() : vault_map();
    vault_is_locked = pages && mlock(pages, sizeof *pages) == 0;
    atomic_store(&vault_pages, pages);
    pthread_mutex_unlock(&grants.mutex);
    return pages != NULL;
}

static int stands(CK_ULONG epoch, CK_ULONG generation, CK_ULONG mark)
{
    return epoch == present_epoch() && generation == atomic_load_explicit(&generations[mark], memory_order_acquire);
}

static int grant_stands(const struct grant *grant)
{
    return stands(grant->epoch, grant->generation, grant->terms.mark);
}

static int is_for(const struct terms *terms, int family, CK_OBJECT_HANDLE key, CK_MECHANISM_TYPE mechanism)
{
    return terms->key == key && terms->mechanism == mechanism && terms->family == family;
}

/* Keys that are wrapped have sets of their own: a host that wraps thousands drives out none that it works with. */
static size_t set_of(int family, CK_OBJECT_HANDLE key, CK_MECHANISM_TYPE mechanism)
{
    if (family == FAMILY_WRAPPED)
        return (SETS - WRAPPED_SETS + key % WRAPPED_SETS) * WAYS;
    return (key * 31 + mechanism * 7 + (CK_ULONG)family) % (SETS - WRAPPED_SETS) * WAYS;
}

static void wipe_grant(size_t place)
{
    explicit_bzero(vault()->keys[place], KEY_BYTES);
    if (grants.all[place].pair)
        openssl.EVP_PKEY_free(grants.all[place].pair);
    grants.all[place].pair = NULL;
    grants.all[place].serial = 0;
}

/* Where a grant is, or is to be: over one that has ended, else over the one that was used longest ago. */
static size_t place_for(const struct terms *terms)
{
    size_t first = set_of(terms->family, terms->key, terms->mechanism), oldest = first;

    for (size_t i = first; i < first + WAYS; i++) {
        struct grant *one = &grants.all[i];

        if (one->serial && !grant_stands(one))
            wipe_grant(i);
        if (one->serial && one->terms.token == terms->token &&
            is_for(&one->terms, terms->family, terms->key, terms->mechanism))
            return i;
        if (!one->serial || (grants.all[oldest].serial && one->used < grants.all[oldest].used))
            oldest = i;
    }
    return oldest;
}

/* Is it the same key again, granted for the same? Only then may those who hold it go on. */
static int is_same(const struct grant *grant, const struct terms *terms, const CK_BYTE *key, CK_ULONG key_bytes)
{
    return grant->serial && grant->terms.token == terms->token &&
           is_for(&grant->terms, terms->family, terms->key, terms->mechanism) &&
           grant->terms.asked_bytes == terms->asked_bytes &&
           memcmp(grant->terms.asked, terms->asked, sizeof terms->asked) == 0 && grant->key_bytes == key_bytes &&
           memcmp(vault()->keys[grant - grants.all], key, key_bytes) == 0;
}

/* What is kept of a key in the vault, its bytes or its print; and of a pair's key, what OpenSSL is to read. */
struct handed {
    const CK_BYTE *key, *der;
    CK_ULONG key_bytes, der_bytes;
};

/* Put a key where another may have been; 0: C cannot use it. */
static int put_handed(size_t place, const struct terms *terms, const struct handed *handed)
{
    struct grant *grant = &grants.all[place];

    wipe_grant(place);
    if (handed->der && !(grant->pair = pair_read(terms, handed->der, handed->der_bytes)))
        return 0;
    memcpy(vault()->keys[place], handed->key, handed->key_bytes);
    grant->key_bytes = handed->key_bytes;
    grant->serial = ++grants.serials;
    return 1;
}

static enum granted put_grant_with(const struct terms *terms, const struct handed *handed, void *fetched)
{
    size_t place = place_for(terms);
    struct grant *grant = &grants.all[place];

    if (!is_same(grant, terms, handed->key, handed->key_bytes) && !put_handed(place, terms, handed))
        return GRANT_UNFIT;
    grant->terms = *terms;
    grant->algorithm = fetched;
    grant->epoch = present_epoch();
    grant->generation = atomic_load(&generations[terms->mark]);
    grant->until_ms = now_ms() + terms->lease_ms;
    grant->used = ++grants.uses;
    has_grants[terms->mark] = 1;
    return GRANTED;
}

static enum granted put_grant_of_pair(const struct terms *terms, const CK_BYTE *der, CK_ULONG der_bytes)
{
    CK_BYTE print[PRINT_BYTES];
    struct handed handed = {print, der, sizeof print, der_bytes};
    void *fetched = terms->hashes ? algorithm(METHOD_DIGEST, terms->algorithm) : NULL;

    if ((terms->hashes && !fetched) || !pair_print(der, der_bytes, print))
        return GRANT_UNFIT;
    return put_grant_with(terms, &handed, fetched);
}

static enum granted put_grant(const struct terms *terms, const CK_BYTE *key, CK_ULONG key_bytes)
{
    struct handed handed = {key, NULL, key_bytes, 0};
    void *fetched;

    if (is_pairs(terms))
        return put_grant_of_pair(terms, key, key_bytes);
    fetched = algorithm(terms->method, terms->algorithm);
    return fetched ? put_grant_with(terms, &handed, fetched) : GRANT_UNFIT;
}

/* GRANTED: nothing speaks against a grant; the grants' mutex is held. */
static enum granted may_grant(CK_ULONG seen, const struct terms *terms, CK_ULONG key_bytes)
{
    CK_ULONG most = is_pairs(terms) ? MOST_DER_BYTES : KEY_BYTES;

    if (key_bytes > most || terms->mark > MARKS)
        return GRANT_UNFIT;
    if (!present_epoch() || seen != atomic_load(&changes))
        return GRANT_OVERTAKEN;
    if (key_bytes && !vault_is_locked)
        return GRANT_WITHOUT_LOCKED_MEMORY;
    return openssl_bound() ? GRANTED : GRANT_WITHOUT_OPENSSL;
}

/* For the Python side: `seen` is what datapath_changes() said before it looked. */
static int datapath_grant(CK_ULONG seen, const struct terms *terms, const CK_BYTE *key, CK_ULONG key_bytes)
{
    enum granted made;

    pthread_mutex_lock(&grants.mutex);
    made = may_grant(seen, terms, key_bytes);
    if (made == GRANTED)
        made = put_grant(terms, key, key_bytes);
    pthread_mutex_unlock(&grants.mutex);
    return made;
}

static CK_ULONG datapath_changes(void)
{
    return atomic_load(&changes);
}

/* End the grants of one key. Returns whether there may have been any. */
static int end_grants_of(CK_ULONG mark)
{
    int had;

    pthread_mutex_lock(&grants.mutex);
    atomic_fetch_add(&changes, 1);
    had = has_grants[mark];
    has_grants[mark] = 0;
    if (had) {
        atomic_fetch_add(&generations[mark], 1);
        for (size_t i = 0; i < SETS * WAYS; i++)
            if (grants.all[i].serial && grants.all[i].terms.mark == mark)
                wipe_grant(i);
    }
    pthread_mutex_unlock(&grants.mutex);
    return had;
}

/* End all grants; `on`: there may be new ones. */
static void end_all_grants(int on)
{
    if (!vault())
        return;
    pthread_mutex_lock(&grants.mutex);
    atomic_fetch_add(&changes, 1);
    atomic_store(&vault()->epoch, on ? ++grants.epochs : 0);
    for (size_t i = 0; i < SETS * WAYS; i++)
        wipe_grant(i);
    memset(has_grants, 0, sizeof has_grants);
    pthread_mutex_unlock(&grants.mutex);
}

/* In a child nobody needs them. A lock that another thread held at the fork says that they may be half made: then they
 * are left alone. */
static void forget_pairs(void)
{
    int whole = pthread_mutex_trylock(&grants.mutex) == 0;

    for (size_t i = 0; i < SETS * WAYS; i++) {
        if (whole && grants.all[i].pair)
            openssl.EVP_PKEY_free(grants.all[i].pair);
        grants.all[i].pair = NULL;
        grants.all[i].serial = 0;
    }
}
