/* Templates, and the structures that mechanisms and messages have as parameters. */

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
