/* What can be wrong with one argument: one row a fault, by the way in which the argument crosses. */
#ifndef SPOIL_H
#define SPOIL_H

/* Whether CKR_OK is wrong. Where it is not, what was asked for must have been done. */
enum outcome { MAY_DO, REFUSED };

/* Spoil what begins at an argument; returns whether there was anything of the kind. */
typedef int spoiling(CK_ULONG *slot, CK_ULONG number);

struct fault {
    const char *name;
    spoiling *spoil;
    CK_ULONG number;
    enum outcome outcome;
    CK_RV answer; /* the only right one; 0 where any will do that the standard lists */
};

static struct block *block_at(CK_ULONG place)
{
    for (unsigned i = 0; i < memory.used; i++)
        if (memory.blocks[i].start == (unsigned char *)place)
            return &memory.blocks[i];
    return NULL;
}

static int change_to(CK_ULONG *slot, CK_ULONG number)
{
    slot[0] = number;
    return 1;
}

static int change_second(CK_ULONG *slot, CK_ULONG number)
{
    shorten_output(slot[0], number);
    slot[1] = number;
    return 1;
}

static int of_one_byte(CK_ULONG *slot, CK_ULONG unused)
{
    return slot[1] ? change_second(slot, 1) : 0;
}

static int nowhere(CK_ULONG *slot, CK_ULONG index)
{
    slot[index] = 0;
    return 1;
}

static int nowhere_of_none(CK_ULONG *slot, CK_ULONG unused)
{
    slot[0] = slot[1] = 0;
    return 1;
}

/* The same bytes at an address that no structure has by itself. */
static int moved(CK_ULONG *slot, CK_ULONG shift)
{
    struct block *it = block_at(*slot);
    unsigned char *place;

    if (!it)
        return 0;
    place = block(it->size, shift);
    if (!place)
        return 0;
    memcpy(place, it->start, it->size);
    if (it->copy)
        block_is_input();
    move_output(it->start, place);
    *slot = (CK_ULONG)place;
    return 1;
}

static int moved_second(CK_ULONG *slot, CK_ULONG shift)
{
    return moved(slot + 1, shift);
}

static int moved_third(CK_ULONG *slot, CK_ULONG shift)
{
    return moved(slot + 2, shift);
}

/* Another number where an argument leads to one. */
static int told_at_second(CK_ULONG *slot, CK_ULONG number)
{
    memcpy((void *)slot[1], &number, sizeof number);
    return 1;
}

static int endless_name(CK_ULONG *slot, CK_ULONG longest)
{
    unsigned char *place = block(longest, 0);

    memset(place, 'C', longest);
    *slot = (CK_ULONG)place;
    return 1;
}

/* ---- mechanisms ---- */

static int of_type(CK_ULONG *slot, CK_ULONG type)
{
    ((CK_MECHANISM *)*slot)->mechanism = type;
    return 1;
}

/* So many bytes are there, unless they are more than may be read. */
static int of_length(CK_ULONG *slot, CK_ULONG length)
{
    CK_MECHANISM *it = (CK_MECHANISM *)*slot;

    if (length > it->ulParameterLen && length <= PAGE)
        it->pParameter = block(length, 0);
    it->ulParameterLen = length;
    return 1;
}

static int of_length_and_nowhere(CK_ULONG *slot, CK_ULONG length)
{
    ((CK_MECHANISM *)*slot)->ulParameterLen = length;
    ((CK_MECHANISM *)*slot)->pParameter = NULL;
    return 1;
}

static int moved_parameter(CK_ULONG *slot, CK_ULONG shift)
{
    CK_ULONG place = (CK_ULONG)((CK_MECHANISM *)*slot)->pParameter;

    if (!moved(&place, shift))
        return 0;
    ((CK_MECHANISM *)*slot)->pParameter = (void *)place;
    return 1;
}

/* ---- templates: the first attribute is spoiled ---- */

static CK_ATTRIBUTE *first(const CK_ULONG *slot)
{
    return slot[1] ? (CK_ATTRIBUTE *)slot[0] : NULL;
}

static int value_nowhere(CK_ULONG *slot, CK_ULONG length)
{
    if (!first(slot))
        return 0;
    *first(slot) = (CK_ATTRIBUTE){first(slot)->type, NULL, length};
    return 1;
}

static int value_of_length(CK_ULONG *slot, CK_ULONG length)
{
    if (!first(slot))
        return 0;
    first(slot)->ulValueLen = length;
    return 1;
}

static int value_moved(CK_ULONG *slot, CK_ULONG shift)
{
    CK_ULONG place = first(slot) ? (CK_ULONG)first(slot)->pValue : 0;

    if (!moved(&place, shift))
        return 0;
    first(slot)->pValue = (void *)place;
    return 1;
}

static int type_changed(CK_ULONG *slot, CK_ULONG type)
{
    if (!first(slot))
        return 0;
    first(slot)->type = type;
    return 1;
}

/* A template inside: so long, at so many bytes that may be read. */
static int nested_of(CK_ULONG *slot, CK_ULONG length)
{
    CK_ULONG size = length > PAGE ? 0 : length;

    if (!first(slot))
        return 0;
    *first(slot) = (CK_ATTRIBUTE){CKA_UNWRAP_TEMPLATE, block(size, 0), length};
    return 1;
}

/* A template that holds itself. */
static int nested_in_itself(CK_ULONG *slot, CK_ULONG number)
{
    if (!first(slot))
        return 0;
    *first(slot) = (CK_ATTRIBUTE){CKA_UNWRAP_TEMPLATE, first(slot), sizeof(CK_ATTRIBUTE)};
    return 1;
}

/* ---- the tables ---- */

#define TOO_MANY(spoil, outcome)                                                                       \
    {"2^30 + 1", spoil, (1UL << 30) + 1, outcome, 0}, {"2^31", spoil, 1UL << 31, outcome, 0},           \
        {"2^63", spoil, 1UL << 63, outcome, 0}, {"2^64 - 1", spoil, ~0UL, outcome, 0}
#define MISALIGNED(spoil) {"off by 1", spoil, 1, MAY_DO, 0}, {"off by 7", spoil, 7, MAY_DO, 0}

static const struct fault FAULTY_BYTES[] = {
    {"NULL", nowhere, 0, MAY_DO, 0}, /* as a PIN it asks for the protected path; as a part, of 0 bytes or refused */
    {"NULL of 0", nowhere_of_none, 0, MAY_DO, 0},
    {"0", change_second, 0, MAY_DO, 0},
    {"1", of_one_byte, 0, MAY_DO, 0},
    TOO_MANY(change_second, REFUSED),
    MISALIGNED(moved),
};
static const struct fault FAULTY_FIXED[] = {{"NULL", nowhere, 0, MAY_DO, 0}, MISALIGNED(moved)};
static const struct fault FAULTY_NAME[] = {{"NULL", nowhere, 0, REFUSED, 0}, {"no end", endless_name, 64, REFUSED, 0}, MISALIGNED(moved)};
static const struct fault FAULTY_MECHANISM[] = {
    {"NULL", nowhere, 0, REFUSED, 0},
    MISALIGNED(moved),
    {"no mechanism", of_type, 0x7FFFFFFF, REFUSED, 0},
    {"a vendor's", of_type, ~0UL, REFUSED, 0},
    {"parameter off by 1", moved_parameter, 1, MAY_DO, 0},
    {"parameter at NULL, of 0", of_length_and_nowhere, 0, MAY_DO, 0},
    {"parameter at NULL, of 16", of_length_and_nowhere, 16, REFUSED, 0},
    {"parameter of 0", of_length, 0, MAY_DO, 0},
    {"parameter of 1", of_length, 1, REFUSED, 0},
    {"parameter of half a structure", of_length, 24, REFUSED, 0}, /* as of 32-bit numbers */
    TOO_MANY(of_length, REFUSED),
};
static const struct fault FAULTY_MESSAGE[] = {
    {"NULL", nowhere, 0, MAY_DO, 0},
    {"NULL of 0", nowhere_of_none, 0, MAY_DO, 0},
    {"0", change_second, 0, MAY_DO, 0},
    {"1", change_second, 1, REFUSED, 0},
    {"the size of another's", change_second, sizeof(CK_CCM_MESSAGE_PARAMS), REFUSED, 0},
    {"the size of a third's", change_second, sizeof(CK_SALSA20_CHACHA20_POLY1305_MSG_PARAMS), REFUSED, 0},
    TOO_MANY(change_second, REFUSED),
    MISALIGNED(moved),
};
#define COMMON_TO_TEMPLATES                                                                             \
    {"NULL", nowhere, 0, MAY_DO, 0}, {"0 at an address", change_second, 0, MAY_DO, 0},                  \
        {"1,025", change_second, 1025, REFUSED, 0}, TOO_MANY(change_second, REFUSED), MISALIGNED(moved), \
        {"value off by 1", value_moved, 1, MAY_DO, 0}
static const struct fault FAULTY_TEMPLATE[] = {
    COMMON_TO_TEMPLATES,
    {"no such type", type_changed, 0x7FFFFFFF, MAY_DO, 0}, /* a search finds nothing */
    {"value at NULL, of 1", value_nowhere, 1, REFUSED, 0},
    {"value of 0", value_of_length, 0, MAY_DO, 0},
    {"value of 1", value_of_length, 1, MAY_DO, 0},
    TOO_MANY(value_of_length, REFUSED),
    {"inner template of 1 byte", nested_of, 1, REFUSED, 0},
    {"inner template of zeros", nested_of, sizeof(CK_ATTRIBUTE), MAY_DO, 0},
    {"inner template of 2^31 bytes", nested_of, 1UL << 31, REFUSED, 0},
    {"inner template of 2,000 attributes", nested_of, 2000 * sizeof(CK_ATTRIBUTE), REFUSED, 0},
    {"inner template of itself", nested_in_itself, 0, REFUSED, 0},
};
static const struct fault FAULTY_WANTED[] = {
    COMMON_TO_TEMPLATES,
    {"no such type", type_changed, 0x7FFFFFFF, REFUSED, CKR_ATTRIBUTE_TYPE_INVALID},
    {"value at NULL", value_nowhere, ~0UL, MAY_DO, 0},
    {"value of 0", value_of_length, 0, REFUSED, CKR_BUFFER_TOO_SMALL},
    {"value of 1", value_of_length, 1, REFUSED, CKR_BUFFER_TOO_SMALL},
    TOO_MANY(value_of_length, MAY_DO), /* only what there is gets written */
    {"inner template of 1 byte", nested_of, 1, MAY_DO, 0},
};
static const struct fault FAULTY_ROOM[] = {
    {"buffer at NULL", nowhere, 0, MAY_DO, 0},
    {"length at NULL", nowhere, 1, MAY_DO, 0},
    {"both at NULL", nowhere_of_none, 0, MAY_DO, 0},
    {"room for 0", told_at_second, 0, MAY_DO, 0}, /* where nothing comes out */
    {"room for 1", told_at_second, 1, MAY_DO, 0},
    {"room for 2^63", told_at_second, 1UL << 63, MAY_DO, 0},
    {"room for 2^64 - 1", told_at_second, ~0UL, MAY_DO, 0},
    MISALIGNED(moved),
    MISALIGNED(moved_second),
};
static const struct fault FAULTY_FILL[] = {
    {"NULL", nowhere, 0, REFUSED, CKR_ARGUMENTS_BAD},
    {"0", change_second, 0, MAY_DO, 0},
    {"1", change_second, 1, MAY_DO, 0},
    TOO_MANY(change_second, REFUSED),
    MISALIGNED(moved),
};
static const struct fault FAULTY_FOUND[] = {
    {"array at NULL", nowhere, 0, REFUSED, CKR_ARGUMENTS_BAD},
    {"count at NULL", nowhere, 2, REFUSED, CKR_ARGUMENTS_BAD},
    {"at most 0", change_second, 0, MAY_DO, 0},
    {"at most 2^63", change_second, 1UL << 63, MAY_DO, 0},
    {"at most 2^64 - 1", change_second, ~0UL, MAY_DO, 0},
    MISALIGNED(moved),
    MISALIGNED(moved_third),
};
static const struct fault FAULTY_FILLED[] = {{"NULL", nowhere, 0, REFUSED, CKR_ARGUMENTS_BAD}, MISALIGNED(moved)};

#endif
