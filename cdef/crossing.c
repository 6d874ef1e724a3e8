/* How the arguments of a call, and the memory that they lead to, cross to the isolated process and back.
 *
 * Both sides walk the same way. The host's side copies what the function may read into a message; the isolated side finds
 * it there in the same order, puts its own addresses where the host's stood, calls the function on the copy, and returns
 * what has changed. What leads where is a table that abi/isolation.py makes: nothing here names a function or a
 * structure, but for CK_ATTRIBUTE and CK_MECHANISM. */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crossing.h"

enum {
    MOST_ARGUMENTS = 10,
    ALIGNMENT = 16,
    SMALLEST_PAGE = 4096,
    MOST_HEAP = 1 << 26, /* of one buffer; callers may say that they have more room than there is memory */
    SLACK = 1 << 20 /* what an answer may be longer than the longest input */
};
static const CK_ULONG MOST_ELEMENTS = 1024; /* of a template or an array; more are refused unread */
static const CK_ULONG LOWEST_ADDRESS = 1 << 16;
static const CK_ULONG DEEPEST = 3; /* templates in templates */
static const unsigned char UNTOUCHED = 0xA5; /* no handle, number or structure that a function fills is all of these */

/* ---- memory that grows, and memory for one call ---- */

struct bytes {
    unsigned char *start;
    size_t used, room;
};

static int bytes_grow(struct bytes *bytes, size_t more)
{
    size_t wanted = bytes->used + more;
    unsigned char *start;

    if (more > SIZE_MAX / 4 || bytes->used > SIZE_MAX / 4)
        return 0; /* the sums here would begin anew at nought */
    if (wanted <= bytes->room)
        return 1;
    wanted += wanted / 2 + 4096;
    start = malloc(wanted);
    if (!start)
        return 0;
    if (bytes->used)
        memcpy(start, bytes->start, bytes->used);
    if (bytes->start)
        explicit_bzero(bytes->start, bytes->used);
    free(bytes->start);
    bytes->start = start;
    bytes->room = wanted;
    return 1;
}

/* Forget what passed through, which may have been a PIN or a key; keep the memory unless it is much. */
static void bytes_wipe(struct bytes *bytes)
{
    if (bytes->start)
        explicit_bzero(bytes->start, bytes->used);
    bytes->used = 0;
    if (bytes->room > 4 * SLACK) {
        free(bytes->start);
        bytes->start = NULL;
        bytes->room = 0;
    }
}

static void bytes_free(struct bytes *bytes)
{
    bytes_wipe(bytes);
    free(bytes->start);
    bytes->start = NULL;
    bytes->room = 0;
}

/* ---- the walk ---- */

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

/* ---- templates ---- */

static int is_nested(const struct crossing *table, CK_ULONG type)
{
    for (CK_ULONG i = 0; i < table->nested_count; i++)
        if (table->nested[i] == type)
            return 1;
    return 0;
}

/* Of an attribute without a buffer only the length is asked for: what the host has there need not be anything. */
static void blot_lengths(struct walk *walk, const unsigned char *attribute, CK_ULONG count)
{
    unsigned char *copy = walk->message->start + walk->message->used - aligned(count * sizeof(CK_ATTRIBUTE));

    for (CK_ULONG i = 0; i < count; i++, attribute += sizeof(CK_ATTRIBUTE), copy += sizeof(CK_ATTRIBUTE))
        if (!pointer_at(attribute + offsetof(CK_ATTRIBUTE, pValue)))
            memset(copy + offsetof(CK_ATTRIBUTE, ulValueLen), UNTOUCHED, sizeof(CK_ULONG));
}

/* Attributes with values, or (`wanted`) attributes whose values are asked for. */
static void carry_template(struct walk *walk, void *slot, CK_ULONG count, int wanted, CK_ULONG depth)
{
    unsigned char *attribute;

    if (count > MOST_ELEMENTS) {
        withhold(walk, slot);
        return;
    }
    attribute = carry(walk, slot, count * sizeof(CK_ATTRIBUTE));
    if (attribute && wanted && !walk->rebuilding)
        blot_lengths(walk, attribute, count);
    for (CK_ULONG i = 0; attribute && i < count && walk->rv == CKR_OK; i++, attribute += sizeof(CK_ATTRIBUTE)) {
        unsigned char *value = attribute + offsetof(CK_ATTRIBUTE, pValue);
        unsigned char *length = attribute + offsetof(CK_ATTRIBUTE, ulValueLen);
        CK_ULONG size = pointer_at(value) || !wanted ? number_at(length) : 0;
        int nested = is_nested(walk->table, number_at(attribute + offsetof(CK_ATTRIBUTE, type)));

        if (wanted && depth > 1)
            writable(walk, attribute, sizeof(CK_ULONG)); /* an inner array is told its types */
        if (nested && depth < DEEPEST && (wanted || size % sizeof(CK_ATTRIBUTE) == 0))
            carry_template(walk, value, size / sizeof(CK_ATTRIBUTE), wanted, depth + 1);
        else if (nested && size)
            withhold(walk, value);
        else if (wanted)
            lend(walk, value, size, 1, length, 1);
        else
            carry(walk, value, size);
        if (wanted)
            writable(walk, length, sizeof(CK_ULONG));
    }
}

/* ---- structures ---- */

static CK_ULONG bytes_of_bits(CK_ULONG bits)
{
    return bits / 8 + (bits % 8 != 0);
}

/* How many bytes or elements a member's pointer leads to. `outer` is the structure that led here. */
static CK_ULONG member_length(const struct crossing_member *member, const unsigned char *structure,
                              const unsigned char *outer)
{
    CK_ULONG length = member->length_kind == LENGTH_IS ? member->length
                                                       : number_at((member->length_kind == LENGTH_BITS_OUTSIDE
                                                                        ? outer
                                                                        : structure) +
                                                                   member->length);

    switch (member->length_kind) {
    case LENGTH_BITS:
    case LENGTH_BITS_OUTSIDE:
        return bytes_of_bits(length);
    case LENGTH_SOMETIMES_BITS:
        return length == 64 || length == 96 || length == 192 ? length / 8 : length;
    case LENGTH_POINTED_TO:
        return length ? number_at((void *)length) : 0;
    default:
        return length;
    }
}

static void carry_structure(struct walk *walk, unsigned char *place, CK_ULONG layout, const unsigned char *outer);

static void carry_array(struct walk *walk, void *slot, CK_ULONG count, CK_ULONG layout, const unsigned char *outer)
{
    CK_ULONG size = walk->table->layouts[layout].size;
    unsigned char *place;

    if (count > MOST_ELEMENTS) {
        withhold(walk, slot);
        return;
    }
    place = carry(walk, slot, count * size);
    for (CK_ULONG i = 0; place && i < count; i++)
        carry_structure(walk, place + i * size, layout, outer);
}

/* Whether there is memory at what may be no address at all: the kernel tells, by copying one byte of each page. */
static int is_readable(const unsigned char *place, CK_ULONG size)
{
    int ends[2], readable = 1;
    CK_ULONG at = 0;
    char byte;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return 0;
    while (readable && at < size) {
        readable = write(ends[1], place + at, 1) == 1 && read(ends[0], &byte, 1) == 1;
        at = at + 1 == size ? size : at + SMALLEST_PAGE < size ? at + SMALLEST_PAGE : size - 1;
    }
    close(ends[0]);
    close(ends[1]);
    return readable;
}

static CK_ULONG number_if_readable(CK_ULONG address)
{
    return is_readable((const unsigned char *)address, sizeof address)
               ? number_at((const void *)address)
               : LONGEST + 1; /* which every function refuses */
}

/* The length of a password may itself be pointed to (PKCS #5 parameters of 2.40). */
static CK_ULONG carry_length(struct walk *walk, unsigned char *slot)
{
    CK_ULONG length = number_at(slot);
    unsigned char *place;

    if (length < LOWEST_ADDRESS)
        return length;
    if (!walk->rebuilding) {
        length = number_if_readable(length);
        append(walk, &length, sizeof length);
        return length;
    }
    place = carry(walk, slot, sizeof length);
    return place ? number_at(place) : 0;
}

static void carry_member(struct walk *walk, const struct crossing_member *member, unsigned char *structure,
                         const unsigned char *outer)
{
    unsigned char *slot = structure + member->offset, *place;
    CK_ULONG length;

    if (member->kind == MEMBER_NUMBER) {
        writable(walk, slot, member->length);
        return;
    }
    length = member->length_kind == LENGTH_OR_POINTER ? carry_length(walk, structure + member->length)
                                                      : member_length(member, structure, outer);
    switch (member->kind) {
    case MEMBER_BYTES:
        carry(walk, slot, length);
        break;
    case MEMBER_PLACE:
        place = carry(walk, slot, length);
        if (place)
            writable(walk, place, length);
        break;
    case MEMBER_STRUCTURES:
        carry_array(walk, slot, length, member->layout, structure);
        break;
    case MEMBER_TEMPLATE:
        carry_template(walk, slot, length, 0, 1);
        break;
    }
}

static void carry_structure(struct walk *walk, unsigned char *place, CK_ULONG layout, const unsigned char *outer)
{
    const struct crossing_layout *it = &walk->table->layouts[layout];

    for (CK_ULONG i = 0; i < it->count && walk->rv == CKR_OK; i++)
        carry_member(walk, &walk->table->members[it->first + i], place, outer);
}

/* A structure of which only the size tells which it is, among `count` layouts. */
static int carry_sized(struct walk *walk, void *slot, CK_ULONG size, const CK_ULONG *layouts, CK_ULONG count)
{
    unsigned char *place;

    for (CK_ULONG i = 0; i < count; i++)
        if (walk->table->layouts[layouts[i]].size == size) {
            place = carry(walk, slot, size);
            if (place)
                carry_structure(walk, place, layouts[i], NULL);
            return 1;
        }
    return 0;
}

/* Whether a structure, were it of this layout, and all that it leads to can be read. */
static int layout_is_readable(const struct crossing *table, const struct crossing_layout *it, const unsigned char *place)
{
    if (!is_readable(place, it->size))
        return 0;
    for (CK_ULONG i = 0; i < it->count; i++) {
        const struct crossing_member *member = &table->members[it->first + i];
        const unsigned char *pointed = pointer_at(place + member->offset);
        CK_ULONG length = member->kind == MEMBER_NUMBER || !pointed ? 0 : member_length(member, place, NULL);

        if (length <= LONGEST && !is_readable(pointed, length))
            return 0;
    }
    return 1;
}

/* Which of the layouts is meant, the session's operation tells, on the other side. A caller who errs in it has something
 * else there, which the function refuses by its size, unread: as it does NULL, which is sent instead. */
static void carry_message(struct walk *walk, void *slot, CK_ULONG size)
{
    const struct crossing *table = walk->table;

    for (CK_ULONG i = 0; i < table->message_count && !walk->rebuilding && pointer_at(slot); i++) {
        const struct crossing_layout *it = &table->layouts[table->messages[i]];
        if (it->size == size && !layout_is_readable(table, it, pointer_at(slot)))
            put_pointer(slot, NULL);
    }
    if (!carry_sized(walk, slot, size, table->messages, table->message_count))
        withhold(walk, slot);
}

static void carry_parameter(struct walk *walk, void *slot, CK_ULONG size, CK_ULONG type, int message)
{
    const struct crossing_mechanism *it = walk->table->mechanisms;

    for (CK_ULONG i = 0; i < walk->table->mechanism_count; i++, it++) {
        if (it->type != type)
            continue;
        if (message) {
            if (!carry_sized(walk, slot, size, &it->message, it->message_count))
                withhold(walk, slot);
        } else if (it->bare == ANY_LENGTH || (size && it->bare == size))
            carry(walk, slot, size);
        else if (!carry_sized(walk, slot, size, it->layouts, it->layout_count))
            withhold(walk, slot);
        return;
    }
    withhold(walk, slot);
}

static void carry_mechanism(struct walk *walk, void *slot, CK_ULONG kind)
{
    unsigned char *place = carry(walk, slot, sizeof(CK_MECHANISM));
    CK_ULONG type, size;

    if (!place)
        return;
    type = number_at(place + offsetof(CK_MECHANISM, mechanism));
    size = number_at(place + offsetof(CK_MECHANISM, ulParameterLen));
    place += offsetof(CK_MECHANISM, pParameter);
    if (kind == STEP_SIZED_MECHANISM)
        withhold(walk, place);
    else
        carry_parameter(walk, place, size, type, kind == STEP_MESSAGE_MECHANISM);
}

/* ---- arguments ---- */

static void carry_room(struct walk *walk, CK_ULONG *arguments, CK_ULONG unit)
{
    unsigned char *length = arguments[0] ? carry(walk, &arguments[1], sizeof(CK_ULONG))
                                         : give(walk, &arguments[1], sizeof(CK_ULONG));

    if (!length) {
        withhold(walk, &arguments[0]);
        return;
    }
    if (arguments[0])
        lend(walk, &arguments[0], number_at(length), unit, length, 0);
    writable(walk, length, sizeof(CK_ULONG));
}

static void carry_found(struct walk *walk, CK_ULONG *arguments, CK_ULONG unit)
{
    unsigned char *count = give(walk, &arguments[2], sizeof(CK_ULONG));

    if (!count) {
        withhold(walk, &arguments[0]);
        return;
    }
    lend(walk, &arguments[0], arguments[1], unit, count, 0);
    writable(walk, count, sizeof(CK_ULONG));
}

static void carry_name(struct walk *walk, void *slot, CK_ULONG longest)
{
    const char *name = (const char *)pointer_at(slot);
    CK_ULONG size = 0;

    if (!name)
        return;
    if (!walk->rebuilding)
        size = strnlen(name, longest);
    else if (walk->at < walk->message->used)
        size = strnlen((char *)walk->message->start + walk->at, walk->message->used - walk->at);
    carry(walk, slot, size < longest ? size + 1 : longest);
}

static void carry_step(struct walk *walk, const struct crossing_step *step, CK_ULONG *arguments)
{
    CK_ULONG *slot = arguments + step->index;
    unsigned char *place;

    switch (step->kind) {
    case STEP_BYTES:
        carry(walk, slot, slot[1]);
        break;
    case STEP_FIXED:
        carry(walk, slot, step->size);
        break;
    case STEP_FILLED:
        place = give(walk, slot, step->size);
        if (place)
            writable(walk, place, step->size);
        break;
    case STEP_NAME:
        carry_name(walk, slot, step->size);
        break;
    case STEP_MECHANISM:
    case STEP_MESSAGE_MECHANISM:
    case STEP_SIZED_MECHANISM:
        carry_mechanism(walk, slot, step->kind);
        break;
    case STEP_MESSAGE:
        carry_message(walk, slot, slot[1]);
        break;
    case STEP_TEMPLATE:
        carry_template(walk, slot, slot[1], 0, 1);
        break;
    case STEP_WANTED:
        carry_template(walk, slot, slot[1], 1, 1);
        break;
    case STEP_ROOM:
        carry_room(walk, slot, step->size);
        break;
    case STEP_FILL:
        if (slot[1] > LONGEST)
            withhold(walk, slot);
        else
            lend(walk, slot, slot[1], 1, &slot[1], 0);
        break;
    case STEP_FOUND:
        carry_found(walk, slot, step->size);
        break;
    }
}

static void carry_arguments(struct walk *walk, CK_ULONG function, CK_ULONG *arguments)
{
    const struct crossing_function *it = &walk->table->functions[function];

    for (CK_ULONG i = 0; i < it->count && walk->rv == CKR_OK; i++)
        carry_step(walk, &walk->table->steps[it->first + i], arguments);
}

static void walk_end(struct walk *walk)
{
    while (walk->lumps) {
        struct lump *next = walk->lumps->next;
        if (walk->lumps->size > MOST_HEAP)
            munmap(walk->lumps, walk->lumps->size);
        else
            free(walk->lumps);
        walk->lumps = next;
    }
    walk->regions.used = 0;
}

/* ---- the answer ---- */

/* C_GetAttributeValue has been through all attributes whenever it answers one of these. */
static int looked_at_all(CK_RV rv)
{
    return rv == CKR_OK || rv == CKR_ATTRIBUTE_SENSITIVE || rv == CKR_ATTRIBUTE_TYPE_INVALID ||
           rv == CKR_BUFFER_TOO_SMALL;
}

/* How many bytes of a region the function has written. */
static CK_ULONG written(const struct region *it, CK_RV rv)
{
    CK_ULONG count;

    if (!it->length)
        return memcmp(it->before, it->place, it->size) == 0 ? 0 : it->size;
    if (it->attribute ? !looked_at_all(rv) : rv != CKR_OK)
        return 0;
    count = number_at(it->length);
    return count <= it->size / it->unit ? count * it->unit : 0;
}

/* ---- messages ---- */

struct request {
    CK_ULONG size; /* of the whole message */
    CK_ULONG function;
    CK_ULONG arguments[MOST_ARGUMENTS];
};

struct answer {
    CK_ULONG size;
    CK_RV rv; /* then, for each region, a length and so many bytes */
};

/* Whether to go on after a system call that failed; `since` is 0 at first. The host's links have time limits. */
static int worth_waiting(long *since);

static int send_all(int descriptor, const void *data, size_t size)
{
    const unsigned char *next = data;
    long since = 0;

    while (size > 0) {
        ssize_t sent = send(descriptor, next, size, MSG_NOSIGNAL);
        if (sent < 0 && worth_waiting(&since))
            continue;
        if (sent <= 0)
            return 0;
        next += sent;
        size -= (size_t)sent;
    }
    return 1;
}

static int receive_more(int descriptor, struct bytes *into, size_t until)
{
    long since = 0;

    while (into->used < until) {
        ssize_t got = recv(descriptor, into->start + into->used, into->room - into->used, 0);
        if (got < 0 && worth_waiting(&since))
            continue;
        if (got <= 0)
            return 0;
        into->used += (size_t)got;
    }
    return 1;
}

/* Receive one message, which begins with its size: one system call where it is short. Messages do not overlap: each side
 * sends its next one only after the other's. */
static int receive(int descriptor, struct bytes *into, size_t least)
{
    CK_ULONG size;

    into->used = 0;
    if (!bytes_grow(into, 4096) || !receive_more(descriptor, into, least))
        return 0;
    size = number_at(into->start);
    if (size < least || size < into->used || !bytes_grow(into, size - into->used))
        return 0;
    return receive_more(descriptor, into, size) && into->used == size;
}
