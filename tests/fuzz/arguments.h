/* Arguments of a call from the fuzzer's choices: pointers lead to guarded memory of the length that is said, or nowhere.
 *
 * What leads where is crossing.h's table, which tables.h holds; crossing.c is included for its reading of lengths. */
#ifndef FUZZ_ARGUMENTS_H
#define FUZZ_ARGUMENTS_H

#include "choices.h"
#include "memory.h"

enum { MOST_ATTRIBUTES = 6, PLENTY = 4 * PAGE };

/* A length; one that must be refused unread is told by `refused`. */
static CK_ULONG choose_length(int *refused)
{
    *refused = rarely(24);
    return *refused ? OF(MISTAKES) : OF(LENGTHS);
}

static size_t choose_shift(void)
{
    return rarely(8) ? 1 + among(7) : 0;
}

static unsigned char *input(size_t size)
{
    unsigned char *place = rarely(32) ? NULL : block(size, choose_shift());

    if (place) {
        choose_bytes(place, size);
        block_is_input();
    }
    return place;
}

/* Room for output of a size that the caller names. */
static unsigned char *room(CK_ULONG size)
{
    return rarely(16) ? NULL : block(size > PLENTY ? PLENTY : size, 0);
}

static CK_ULONG choose_number(void)
{
    return rarely(64) ? OF(MISTAKES) : rarely(4) ? OF(MECHANISM_TYPES) : OF(NUMBERS);
}

/* ---- templates ---- */

static unsigned char *choose_template(CK_ULONG count, int wanted, CK_ULONG depth);

static int type_is_nested(CK_ULONG type)
{
    return is_nested(&CROSSING, type);
}

static void nested_value(CK_ATTRIBUTE *it, int wanted, CK_ULONG depth)
{
    CK_ULONG count = depth < DEEPEST ? among(MOST_ATTRIBUTES) : 1;

    if (rarely(8)) {
        it->ulValueLen = rarely(2) ? 2000 * sizeof *it : 1 + among(sizeof *it - 1); /* no number of attributes */
        it->pValue = block(it->ulValueLen % sizeof *it, 0);
        return;
    }
    it->ulValueLen = count * sizeof *it;
    it->pValue = choose_template(count, wanted, depth + 1);
}

static void plain_value(CK_ATTRIBUTE *it, int wanted)
{
    int refused = 0;

    if (wanted) {
        it->ulValueLen = rarely(24) ? OF(MISTAKES) : OF(LENGTHS);
        it->pValue = rarely(3) ? NULL : room(it->ulValueLen);
    } else if (rarely(2)) {
        CK_ULONG number = rarely(2) ? OF(NUMBERS) : OF(VALUES);
        it->ulValueLen = rarely(3) ? 1 : sizeof number;
        it->pValue = block(it->ulValueLen, choose_shift());
        if (it->pValue)
            memcpy(it->pValue, &number, it->ulValueLen);
    } else {
        it->ulValueLen = choose_length(&refused);
        it->pValue = refused ? block(0, 0) : input(it->ulValueLen);
    }
}

static unsigned char *choose_template(CK_ULONG count, int wanted, CK_ULONG depth)
{
    size_t shift = choose_shift();
    unsigned char *place = block(count * sizeof(CK_ATTRIBUTE), shift);

    for (CK_ULONG i = 0; place && i < count; i++) {
        CK_ATTRIBUTE it = {.type = rarely(32) ? choose_number() : OF(ATTRIBUTE_TYPES)};
        if (type_is_nested(it.type))
            nested_value(&it, wanted, depth);
        else
            plain_value(&it, wanted);
        memcpy(place + i * sizeof it, &it, sizeof it);
    }
    return place;
}

static void choose_template_and_count(CK_ULONG *slot, int wanted)
{
    if (rarely(32)) {
        slot[1] = rarely(2) ? 1025 : OF(MISTAKES); /* more than may be read */
        slot[0] = (CK_ULONG)(rarely(2) ? NULL : block(0, 0));
        return;
    }
    slot[1] = among(MOST_ATTRIBUTES);
    slot[0] = (CK_ULONG)(rarely(32) ? NULL : choose_template(slot[1], wanted, 1));
}

/* ---- structures ---- */

static unsigned char *choose_structure(CK_ULONG layout, CK_ULONG count, CK_ULONG depth);

static CK_ULONG small_count(void)
{
    return rarely(32) ? OF(MISTAKES) : among(4);
}

/* The number that tells how long a member is. */
static void choose_member_length(const struct crossing_member *member, unsigned char *structure)
{
    CK_ULONG length = member->kind == MEMBER_STRUCTURES || member->kind == MEMBER_TEMPLATE
                          ? small_count()
                          : choose_length(&(int){0});
    unsigned char *place;

    switch (member->length_kind) {
    case LENGTH_BITS:
        length *= 8;
        break;
    case LENGTH_SOMETIMES_BITS:
        length = rarely(4) ? 96 : length;
        break;
    case LENGTH_OR_POINTER:
        if (length >= LOWEST_ADDRESS)
            length = LONGEST + 1; /* what is neither is asked of the kernel: only addresses of ours, or lengths */
        place = rarely(4) ? block(sizeof length, 0) : NULL;
        if (place) {
            memcpy(place, &length, sizeof length);
            length = (CK_ULONG)place;
        }
        break;
    case LENGTH_AT:
        break;
    default:
        return; /* a number of the table, or another member's */
    }
    memcpy(structure + member->length, &length, sizeof length);
}

static CK_ULONG chosen_length(const struct crossing_member *member, unsigned char *structure)
{
    CK_ULONG length;

    if (member->length_kind == LENGTH_BITS_OUTSIDE)
        return PAGE; /* at most what small_outside() leaves */
    if (member->length_kind == LENGTH_POINTED_TO)
        return PAGE;
    length = member->length_kind == LENGTH_OR_POINTER ? number_at(structure + member->length)
                                                      : member_length(member, structure, NULL);
    if (member->length_kind == LENGTH_OR_POINTER && length >= LOWEST_ADDRESS && length != LONGEST + 1)
        length = number_at((void *)length);
    return length;
}

static void choose_member(const struct crossing_member *member, unsigned char *structure, CK_ULONG depth)
{
    unsigned char *place = NULL;
    CK_ULONG length;

    if (member->kind == MEMBER_NUMBER)
        return;
    length = chosen_length(member, structure);
    if (member->kind == MEMBER_STRUCTURES)
        place = length > 3 ? block(0, 0) : depth < 4 ? choose_structure(member->layout, length, depth + 1) : NULL;
    else if (member->kind == MEMBER_TEMPLATE)
        place = length > 3 ? block(0, 0) : choose_template(length, 0, 1);
    else
        place = block(length > LONGEST ? 0 : length, 0);
    if (place && member->kind == MEMBER_PLACE && member->length_kind == LENGTH_IS && length == sizeof length)
        memcpy(place, &LENGTHS[among(20)], sizeof length); /* a length that is pointed to, or a handle */
    else if (place && (member->kind == MEMBER_PLACE || member->kind == MEMBER_BYTES) && length <= LARGEST_BLOCK)
        choose_bytes(place, length < 64 ? length : 64);
    if (rarely(24))
        place = NULL;
    memcpy(structure + member->offset, &place, sizeof place);
}

/* A structure that is asked for by another one's length in bits keeps that length small. */
static void small_outside(unsigned char *structure, const struct crossing_layout *it)
{
    for (CK_ULONG i = 0; i < it->count; i++) {
        const struct crossing_member *member = &CROSSING.members[it->first + i];
        const struct crossing_layout *inner = &CROSSING.layouts[member->layout];
        if (member->kind != MEMBER_STRUCTURES)
            continue;
        for (CK_ULONG j = 0; j < inner->count; j++)
            if (CROSSING.members[inner->first + j].length_kind == LENGTH_BITS_OUTSIDE) {
                CK_ULONG bits = 8 * LENGTHS[among(20)];
                memcpy(structure + CROSSING.members[inner->first + j].length, &bits, sizeof bits);
            }
    }
}

static void choose_members(unsigned char *structure, const struct crossing_layout *it, CK_ULONG depth)
{
    CK_ULONG at, number;

    for (at = 0; at + sizeof number <= it->size; at += sizeof number) {
        number = choose_number();
        memcpy(structure + at, &number, sizeof number);
    }
    choose_bytes(structure + at, it->size - at);
    small_outside(structure, it);
    for (CK_ULONG i = 0; i < it->count; i++)
        choose_member_length(&CROSSING.members[it->first + i], structure);
    for (CK_ULONG i = 0; i < it->count; i++)
        choose_member(&CROSSING.members[it->first + i], structure, depth);
}

static unsigned char *choose_structure(CK_ULONG layout, CK_ULONG count, CK_ULONG depth)
{
    const struct crossing_layout *it = &CROSSING.layouts[layout];
    unsigned char *place = block(count * it->size, choose_shift());

    for (CK_ULONG i = 0; place && i < count; i++)
        choose_members(place + i * it->size, it, depth);
    return place;
}

/* ---- mechanisms and parameters of messages ---- */

/* A parameter of a size that none of these layouts has, or one of them. */
static unsigned char *choose_sized(const CK_ULONG *layouts, CK_ULONG count, CK_ULONG *size)
{
    CK_ULONG chosen;

    if (count && !rarely(12)) {
        chosen = layouts[among((unsigned)count)];
        *size = CROSSING.layouts[chosen].size;
        return rarely(24) ? NULL : choose_structure(chosen, 1, 0);
    }
    *size = rarely(8) ? OF(MISTAKES) : OF(LENGTHS);
    for (CK_ULONG i = 0; i < count; i++)
        if (CROSSING.layouts[layouts[i]].size == *size)
            *size += 1;
    return *size > LARGEST_BLOCK ? block(0, 0) : input(*size);
}

static unsigned char *choose_parameter(const struct crossing_mechanism *it, CK_ULONG *size)
{
    int refused;

    if (it->bare == ANY_LENGTH || (it->bare && rarely(2))) {
        *size = rarely(4) ? choose_length(&refused) : 16;
        if (it->bare != ANY_LENGTH)
            *size = it->bare;
        return *size > LONGEST ? block(0, 0) : input(*size);
    }
    if (!it->layout_count && !rarely(12)) {
        *size = 0;
        return NULL;
    }
    return choose_sized(it->layouts, it->layout_count, size);
}

/* Mostly one that the function takes. */
static const struct crossing_mechanism *choose_row(CK_ULONG function)
{
    CK_ULONG count = CROSSING.mechanism_count, row = among((unsigned)count);

    if (!rarely(12))
        for (CK_ULONG i = 0; i < count && (MECHANISM_USES[row] & FUNCTION_USES[function]) != FUNCTION_USES[function]; i++)
            row = (row + 1) % count;
    return &CROSSING.mechanisms[row];
}

static unsigned char *choose_mechanism(CK_ULONG function, CK_ULONG kind)
{
    const struct crossing_mechanism *row = choose_row(function);
    CK_MECHANISM it = {.mechanism = row->type};
    unsigned char *place;

    if (kind == STEP_SIZED_MECHANISM && rarely(2))
        it.pParameter = input(it.ulParameterLen = OF(LENGTHS)); /* nothing in it is a pointer */
    else if (kind == STEP_MESSAGE_MECHANISM)
        it.pParameter = choose_sized(&row->message, row->message_count, &it.ulParameterLen);
    else
        it.pParameter = choose_parameter(row, &it.ulParameterLen);
    if (rarely(64) && !it.ulParameterLen)
        it.mechanism = choose_number();
    place = rarely(24) ? NULL : block(sizeof it, choose_shift());
    if (place)
        memcpy(place, &it, sizeof it);
    return place;
}

/* ---- steps ---- */

static void choose_bytes_and_length(CK_ULONG *slot, int is_pin)
{
    int refused;
    const char *pin = PINS[among(sizeof PINS / sizeof PINS[0])];
    unsigned char *place;

    if (is_pin && !rarely(4)) {
        slot[1] = strlen(pin);
        place = block(slot[1], 0);
        if (place)
            memcpy(place, pin, slot[1]);
        slot[0] = (CK_ULONG)place;
        return;
    }
    slot[1] = choose_length(&refused);
    slot[0] = (CK_ULONG)(refused ? block(0, 0) : input(slot[1]));
}

/* A pointer to a length, and room for so many. */
static void choose_room(CK_ULONG *slot, CK_ULONG unit)
{
    unsigned char *length = rarely(24) ? NULL : block(sizeof(CK_ULONG), choose_shift());
    CK_ULONG count = rarely(24) ? OF(MISTAKES) : rarely(2) ? 2000 : OF(LENGTHS);

    if (length)
        memcpy(length, &count, sizeof count);
    slot[1] = (CK_ULONG)length;
    slot[0] = (CK_ULONG)room(count > PLENTY ? PLENTY : count * unit);
}

static void choose_found(CK_ULONG *slot, CK_ULONG unit)
{
    slot[1] = rarely(24) ? OF(MISTAKES) : among(40);
    slot[0] = (CK_ULONG)room(slot[1] > PLENTY ? PLENTY : slot[1] * unit);
    slot[2] = (CK_ULONG)room(sizeof(CK_ULONG));
}

static void choose_name(CK_ULONG *slot, CK_ULONG longest)
{
    const char *name = FUNCTION_NAMES[among(FUNCTION_COUNT)];
    size_t size = rarely(4) ? longest : strlen(name) + 1;
    unsigned char *place = rarely(16) ? NULL : block(size, 0);

    if (place && size == longest)
        memset(place, 'C', size); /* which nothing ends */
    else if (place)
        memcpy(place, name, size);
    slot[0] = (CK_ULONG)place;
}

static void choose_fill(CK_ULONG *slot)
{
    int refused;

    slot[1] = choose_length(&refused);
    slot[0] = (CK_ULONG)(refused ? block(0, 0) : room(slot[1]));
}

static void choose_step(const struct crossing_step *step, CK_ULONG *arguments, CK_ULONG function)
{
    const char *kinds = FUNCTION_KINDS[function];
    CK_ULONG *slot = arguments + step->index;

    switch (step->kind) {
    case STEP_BYTES: choose_bytes_and_length(slot, kinds[step->index] == 'p'); break;
    case STEP_FIXED: *slot = (CK_ULONG)input(step->size); break;
    case STEP_FILLED: *slot = (CK_ULONG)room(step->size); break;
    case STEP_NAME: choose_name(slot, step->size); break;
    case STEP_MECHANISM:
    case STEP_MESSAGE_MECHANISM:
    case STEP_SIZED_MECHANISM: *slot = (CK_ULONG)choose_mechanism(function, step->kind); break;
    case STEP_MESSAGE: slot[0] = (CK_ULONG)choose_sized(CROSSING.messages, CROSSING.message_count, &slot[1]); break;
    case STEP_TEMPLATE: choose_template_and_count(slot, 0); break;
    case STEP_WANTED: choose_template_and_count(slot, 1); break;
    case STEP_ROOM: choose_room(slot, step->size); break;
    case STEP_FILL: choose_fill(slot); break;
    case STEP_FOUND: choose_found(slot, step->size); break;
    }
}

static void choose_pointers(CK_ULONG function, CK_ULONG *arguments)
{
    const struct crossing_function *it = &CROSSING.functions[function];

    for (CK_ULONG i = 0; i < it->count; i++)
        choose_step(&CROSSING.steps[it->first + i], arguments, function);
}

#endif
