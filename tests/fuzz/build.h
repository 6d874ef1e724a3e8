/* The arguments of a sound call (sound.h), along crossing.h's table; and what must be true of its outputs afterwards. */
#ifndef BUILD_H
#define BUILD_H

enum { ROOM_BYTES = 2048, LISTED_NUMBERS = 512, MOST_FOUND = 4, FILLED_BYTES = 32, IV_BYTES = 12, TAG_BYTES = 16, OUTPUTS = 16 };
static const unsigned char CANARY = 0xC5; /* no handle, number, structure or ciphertext is all of these */

static struct {
    CK_SESSION_HANDLE session, closed, opened;
    CK_SLOT_ID slot;
    CK_OBJECT_HANDLE objects[OBJECT_COUNT], destroyed, made;
    struct { unsigned char bytes[ROOM_BYTES]; CK_ULONG length; } values[VALUE_COUNT];
    unsigned char tag[TAG_BYTES];
} have = {.values = {[TEXT] = {"a text that is thirty-two bytes!", 32},
                     [ASIDE] = {"beside the text!", 16},
                     [SO_PIN] = {"so pin 1234", 11},
                     [PIN] = {"user pin 5678", 13}}};

static const struct sound *sound_of(const char *name)
{
    static struct sound none;

    for (size_t i = 0; i < sizeof SOUND / sizeof SOUND[0]; i++)
        if (strcmp(SOUND[i].name, name) == 0)
            return &SOUND[i];
    none = (struct sound){.name = name};
    return &none;
}

static CK_ULONG function_of(const char *name)
{
    CK_ULONG function = 0;

    while (strcmp(FUNCTION_NAMES[function], name) != 0)
        function++;
    return function;
}

/* ---- outputs ---- */

static struct output {
    unsigned char *place;
    size_t size, unit;
    CK_ULONG told; /* how much of it is to be written, unless `length` leads to that */
    const unsigned char *length;
} outputs[OUTPUTS];
static unsigned output_count;

static unsigned char *output(size_t size, size_t unit, const unsigned char *length)
{
    unsigned char *place = block(size, 0);

    memset(place, CANARY, size);
    outputs[output_count++] = (struct output){place, size, unit, size, length};
    return place;
}

static void move_output(const unsigned char *from, unsigned char *to)
{
    for (unsigned i = 0; i < output_count; i++) {
        if (outputs[i].place == from)
            outputs[i].place = to;
        if (outputs[i].length == from)
            outputs[i].length = to;
    }
}

/* Less room than there is. */
static void shorten_output(CK_ULONG place, CK_ULONG told)
{
    for (unsigned i = 0; i < output_count; i++)
        if (outputs[i].place == (unsigned char *)place && told < outputs[i].size)
            outputs[i].told = told;
}

/* Whether a buffer is NULL: only its size is asked for then, and nothing made. */
static int asks_size(const CK_ULONG *arguments)
{
    int asks = 0;

    for (unsigned i = 0; i < output_count; i++)
        for (int at = 0; at + 1 < MOST_ARGUMENTS && outputs[i].length; at++)
            asks |= arguments[at + 1] == (CK_ULONG)outputs[i].length && !arguments[at];
    return asks;
}

static int is_all(const unsigned char *place, size_t size, unsigned char value)
{
    for (size_t at = 0; at < size; at++)
        if (place[at] != value)
            return 0;
    return 1;
}

/* ---- input ---- */

static unsigned char *bytes_in(const void *bytes, size_t size)
{
    unsigned char *place = block(size, 0);

    memcpy(place, bytes, size);
    block_is_input();
    return place;
}

/* What is spoiled on purpose is input, too. */
static void look_again(void)
{
    for (unsigned i = 0; i < memory.used; i++)
        if (memory.blocks[i].copy)
            memcpy(memory.blocks[i].copy, memory.blocks[i].start, memory.blocks[i].size);
}

static unsigned char *value_in(const char *function, const char *argument, CK_ULONG *length)
{
    enum value value = TEXT;

    for (size_t i = sizeof INPUTS / sizeof INPUTS[0]; i-- > 0;)
        if (strncmp(INPUTS[i].function, function, strlen(INPUTS[i].function)) == 0 &&
            strcmp(INPUTS[i].argument, argument) == 0)
            value = INPUTS[i].value;
    *length = have.values[value].length;
    return bytes_in(have.values[value].bytes, *length);
}

static unsigned char *template_in(const CK_ATTRIBUTE *from, CK_ULONG count, int wanted)
{
    CK_ATTRIBUTE *copy = (CK_ATTRIBUTE *)block(count * sizeof *copy, 0);

    for (CK_ULONG i = 0; i < count; i++) {
        copy[i] = from[i];
        if (is_nested(&CROSSING, from[i].type))
            copy[i].pValue = template_in(from[i].pValue, from[i].ulValueLen / sizeof *from, wanted);
        else
            copy[i].pValue = wanted ? output(from[i].ulValueLen, 1, NULL) : bytes_in(from[i].pValue, from[i].ulValueLen);
    }
    return (unsigned char *)copy;
}

/* How many attributes of a list have values. */
static CK_ULONG template_length(enum template which)
{
    CK_ULONG count = 0;

    while (which && count < LONGEST_LIST && TEMPLATES[which][count].pValue)
        count++;
    return count;
}

/* ---- mechanisms ---- */

/* `opens`: the tag is that of what was sealed. */
static unsigned char *message_in(int opens)
{
    CK_GCM_MESSAGE_PARAMS *it = (CK_GCM_MESSAGE_PARAMS *)block(sizeof *it, 0);
    unsigned char *iv = block(IV_BYTES, 0), *tag = block(TAG_BYTES, 0);

    if (opens)
        memcpy(tag, have.tag, TAG_BYTES);
    *it = (CK_GCM_MESSAGE_PARAMS){iv, IV_BYTES, 0, CKG_NO_GENERATE, tag, TAG_BYTES * 8};
    return (unsigned char *)it;
}

static unsigned char *parameter_in(const struct sound *row, CK_ULONG kind, CK_ULONG *size)
{
    CK_KEY_DERIVATION_STRING_DATA string;

    *size = MECHANISMS[row->mechanism].bare;
    if (*size)
        return bytes_in(have.values[TEXT].bytes, *size);
    if (row->mechanism == GCM && kind == STEP_MESSAGE_MECHANISM) {
        *size = sizeof(CK_GCM_MESSAGE_PARAMS);
        return message_in(strstr(row->name, "Unwrap") != NULL);
    }
    if (row->mechanism != DERIVING)
        return NULL;
    *size = sizeof string;
    string = (CK_KEY_DERIVATION_STRING_DATA){bytes_in(have.values[TEXT].bytes, 32), 32};
    return bytes_in(&string, sizeof string);
}

static unsigned char *mechanism_in(const struct sound *row, CK_ULONG kind)
{
    CK_MECHANISM it = {.mechanism = MECHANISMS[row->mechanism].type};

    it.pParameter = parameter_in(row, kind, &it.ulParameterLen);
    return bytes_in(&it, sizeof it);
}

/* ---- arguments ---- */

static void build_room(CK_ULONG *slot, CK_ULONG unit)
{
    CK_ULONG count = unit == 1 ? ROOM_BYTES : LISTED_NUMBERS;
    unsigned char *length = block(sizeof count, 0);

    memcpy(length, &count, sizeof count);
    slot[1] = (CK_ULONG)length;
    slot[0] = (CK_ULONG)output(count * unit, unit, length);
}

static void build_found(CK_ULONG *slot, CK_ULONG unit)
{
    unsigned char *count = output(sizeof(CK_ULONG), 1, NULL);

    slot[2] = (CK_ULONG)count;
    slot[1] = MOST_FOUND;
    slot[0] = (CK_ULONG)output(MOST_FOUND * unit, unit, count);
}

static void build_template(CK_ULONG *slot, enum template which, int wanted)
{
    slot[1] = template_length(which);
    slot[0] = slot[1] ? (CK_ULONG)template_in(TEMPLATES[which], slot[1], wanted) : 0;
}

static int build_fixed(CK_ULONG *slot, const struct sound *row, CK_ULONG size)
{
    if (strcmp(row->name, "C_Initialize") != 0)
        *slot = (CK_ULONG)bytes_in(have.values[TEXT].bytes, size);
    return 1;
}

/* Returns how many arguments the step covers. */
static int build_step(const struct crossing_step *step, CK_ULONG *arguments, CK_ULONG function, int *templates)
{
    const struct sound *row = sound_of(FUNCTION_NAMES[function]);
    CK_ULONG *slot = arguments + step->index;

    switch (step->kind) {
    case STEP_BYTES:
        slot[0] = (CK_ULONG)value_in(row->name, ARGUMENT_NAMES[function][step->index], &slot[1]);
        return 2;
    case STEP_FIXED:
        return build_fixed(slot, row, step->size);
    case STEP_NAME:
        *slot = (CK_ULONG)bytes_in("C_Encrypt", 10);
        return 1;
    case STEP_MESSAGE:
        slot[0] = (CK_ULONG)message_in(strstr(row->name, "Decrypt") != NULL);
        slot[1] = sizeof(CK_GCM_MESSAGE_PARAMS);
        return 2;
    case STEP_TEMPLATE:
    case STEP_WANTED:
        build_template(slot, row->templates[(*templates)++], step->kind == STEP_WANTED);
        return 2;
    case STEP_ROOM:
        build_room(slot, step->size);
        return 2;
    case STEP_FILL:
        slot[0] = (CK_ULONG)output(slot[1] = FILLED_BYTES, 1, NULL);
        return 2;
    case STEP_FOUND:
        build_found(slot, step->size);
        return 3;
    case STEP_FILLED:
        *slot = (CK_ULONG)output(step->size, 1, NULL);
        return 1;
    default:
        *slot = (CK_ULONG)mechanism_in(row, step->kind);
        return 1;
    }
}

static CK_ULONG sound_flags(const char *name)
{
    if (strcmp(name, "C_OpenSession") == 0)
        return CKF_SERIAL_SESSION | CKF_RW_SESSION;
    return strcmp(name, "C_WaitForSlotEvent") == 0 ? CKF_DONT_BLOCK : strstr(name, "MessageNext") ? CKF_END_OF_MESSAGE : 0;
}

static CK_ULONG sound_number(const struct sound *row, char kind, int *keys)
{
    int which;

    switch (kind) {
    case 's': return strcmp(row->name, "C_CloseSession") == 0 ? have.opened : have.session;
    case 'i': return have.slot;
    case 'm': return CKM_AES_CBC;
    case 'u': return CKU_USER;
    case 'f': return sound_flags(row->name);
    case 'o':
        which = (*keys)++;
        return strcmp(row->name, "C_DestroyObject") == 0 ? have.made : have.objects[row->keys[which]];
    default: return strcmp(row->name, "C_Finalize") == 0 || strcmp(row->name, "C_GetSessionValidationFlags") == 0;
    }
}

/* `covered`, a byte an argument, tells which are numbers (0). */
static void build(CK_ULONG function, CK_ULONG *arguments, unsigned char *covered)
{
    const struct crossing_function *it = &CROSSING.functions[function];
    const char *kinds = FUNCTION_KINDS[function];
    int templates = 0, keys = 0;

    output_count = 0;
    memset(covered, 0, MOST_ARGUMENTS);
    for (CK_ULONG i = 0; i < it->count; i++) {
        const struct crossing_step *step = &CROSSING.steps[it->first + i];
        memset(covered + step->index, 1, (size_t)build_step(step, arguments, function, &templates));
    }
    for (int i = 0; kinds[i]; i++)
        if (!covered[i])
            arguments[i] = sound_number(sound_of(FUNCTION_NAMES[function]), kinds[i], &keys);
}

#endif
