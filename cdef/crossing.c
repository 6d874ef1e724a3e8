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

#include "crossing_bytes.c"
#include "crossing_walk.c"
#include "crossing_structures.c"

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

#include "crossing_messages.c"
