/* The walk of one call: what the message holds so far, what the function may write, and memory for as long. */

/* Memory that the function may write. It is returned if it differs from `before`; without that, if the function says at
 * `length` that it has filled so many `unit`s. */
struct region {
    unsigned char *place;
    CK_ULONG size, unit;
    const unsigned char *before, *length;
    int attribute;
};

struct lump { /* one allocation of the isolated side; the memory follows */
    struct lump *next;
    size_t size; /* of all of it */
};

struct walk {
    const struct crossing *table;
    int rebuilding; /* on the isolated side */
    struct bytes *message;
    size_t at; /* rebuilding: what has been found in the message so far */
    struct bytes regions;
    struct lump *lumps;
    CK_RV rv;
};

static CK_ULONG number_at(const void *place)
{
    CK_ULONG number;

    memcpy(&number, place, sizeof number); /* callers pack structures as they like */
    return number;
}

static unsigned char *pointer_at(const void *place)
{
    return (unsigned char *)number_at(place);
}

static void put_pointer(void *place, const void *pointer)
{
    memcpy(place, &pointer, sizeof pointer);
}

static size_t region_count(const struct walk *walk)
{
    return walk->regions.used / sizeof(struct region);
}

static struct region *region(const struct walk *walk, size_t index)
{
    return (struct region *)walk->regions.start + index;
}

static unsigned char *allocate(struct walk *walk, CK_ULONG size)
{
    size_t whole = sizeof(struct lump) + size;
    struct lump *lump = whole > MOST_HEAP ? mmap(NULL, whole, PROT_READ | PROT_WRITE,
                                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
                                          : malloc(whole);

    if (!lump || lump == MAP_FAILED) {
        walk->rv = CKR_HOST_MEMORY;
        return NULL;
    }
    lump->next = walk->lumps;
    lump->size = whole;
    walk->lumps = lump;
    return (unsigned char *)(lump + 1);
}

static void add_region(struct walk *walk, struct region new)
{
    if (walk->rv != CKR_OK)
        return;
    if (walk->rebuilding && !new.length) {
        unsigned char *before = allocate(walk, new.size);
        if (before)
            memcpy(before, new.place, new.size);
        new.before = before;
    }
    if (!bytes_grow(&walk->regions, sizeof new)) {
        walk->rv = CKR_HOST_MEMORY;
        return;
    }
    memcpy(walk->regions.start + walk->regions.used, &new, sizeof new);
    walk->regions.used += sizeof new;
}

static void writable(struct walk *walk, unsigned char *place, CK_ULONG size)
{
    add_region(walk, (struct region){.place = place, .size = size});
}

static size_t aligned(size_t length)
{
    return (length + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void append(struct walk *walk, const void *place, CK_ULONG size)
{
    size_t padded = aligned(size);

    if (!bytes_grow(walk->message, padded)) {
        walk->rv = CKR_HOST_MEMORY;
        return;
    }
    memcpy(walk->message->start + walk->message->used, place, size);
    memset(walk->message->start + walk->message->used + size, 0, padded - size);
    walk->message->used += padded;
}

/* What a pointer leads to is not taken across, only that it is not NULL: the function will refuse it unread. */
static void withhold(struct walk *walk, void *slot)
{
    if (walk->rebuilding && pointer_at(slot))
        put_pointer(slot, walk->message->start);
}

/* Take across what the pointer at `slot` leads to; return where it lies on this side, NULL if nowhere. */
static unsigned char *carry(struct walk *walk, void *slot, CK_ULONG size)
{
    unsigned char *place = pointer_at(slot);

    if (walk->rv != CKR_OK || !place)
        return NULL;
    if (size > LONGEST) {
        withhold(walk, slot);
        return NULL;
    }
    if (!walk->rebuilding) {
        append(walk, place, size);
        return walk->rv == CKR_OK ? place : NULL;
    }
    if (aligned(size) > walk->message->used - walk->at) {
        walk->rv = CKR_ARGUMENTS_BAD; /* the host changed the memory meanwhile */
        return NULL;
    }
    place = walk->message->start + walk->at;
    walk->at += aligned(size);
    put_pointer(slot, place);
    return place;
}

/* Lend the function memory of so many bytes that it fills or leaves alone; what the host has there does not cross. While
 * it is as it was lent, nothing was written. The caller says when it is `writable`: after what has its length there. */
static unsigned char *give(struct walk *walk, void *slot, CK_ULONG size)
{
    unsigned char *place = pointer_at(slot);

    if (walk->rv != CKR_OK || !place || !walk->rebuilding)
        return walk->rv == CKR_OK ? place : NULL;
    place = allocate(walk, size);
    if (place) {
        memset(place, UNTOUCHED, size);
        put_pointer(slot, place);
    }
    return place;
}

/* Lend the function memory that it only writes: as many `unit`s as it says at `length`, at most `count`. */
static void lend(struct walk *walk, void *slot, CK_ULONG count, CK_ULONG unit, const void *length, int attribute)
{
    unsigned char *place = pointer_at(slot);
    CK_ULONG size = count > (LONGEST + SLACK) / unit ? LONGEST + SLACK : count * unit;

    if (walk->rv != CKR_OK || !place)
        return;
    if (walk->rebuilding) {
        place = allocate(walk, size);
        if (!place)
            return;
        put_pointer(slot, place);
    }
    add_region(walk, (struct region){place, size, unit, NULL, length, attribute});
}
