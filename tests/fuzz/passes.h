/* Which calls faults.c makes: every argument of every function, every parameter, every type of attribute. */
#ifndef PASSES_H
#define PASSES_H

/* ---- functions ---- */

struct faults {
    const struct fault *rows;
    size_t count;
};
#define ROWS_OF(table) ((struct faults){table, sizeof(table) / sizeof((table)[0])})

static struct faults faults_of_step(const struct crossing_step *step)
{
    switch (step->kind) {
    case STEP_BYTES: return ROWS_OF(FAULTY_BYTES);
    case STEP_FIXED: return ROWS_OF(FAULTY_FIXED);
    case STEP_NAME: return ROWS_OF(FAULTY_NAME);
    case STEP_MESSAGE: return ROWS_OF(FAULTY_MESSAGE);
    case STEP_TEMPLATE: return ROWS_OF(FAULTY_TEMPLATE);
    case STEP_WANTED: return ROWS_OF(FAULTY_WANTED);
    case STEP_ROOM: return ROWS_OF(FAULTY_ROOM);
    case STEP_FILL: return ROWS_OF(FAULTY_FILL);
    case STEP_FOUND: return ROWS_OF(FAULTY_FOUND);
    case STEP_FILLED: return ROWS_OF(FAULTY_FILLED);
    default: return ROWS_OF(FAULTY_MECHANISM);
    }
}

static void try_session(CK_ULONG function, int argument, enum state state)
{
    const struct fault rows[] = {
        {"0", change_to, 0, REFUSED, CKR_SESSION_HANDLE_INVALID},
        {"2^64 - 1", change_to, ~0UL, REFUSED, CKR_SESSION_HANDLE_INVALID},
        {"an object", change_to, have.objects[DATA], REFUSED, CKR_SESSION_HANDLE_INVALID},
        {"a closed one", change_to, have.closed, REFUSED, CKR_SESSION_HANDLE_INVALID},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].number != have.session || state == NOT_INITIALIZED)
            try(function, argument, &rows[i], state);
}

/* Where the sound call names no object, none need be there. */
static void try_object(CK_ULONG function, int argument, enum state state)
{
    const struct sound *row = sound_of(FUNCTION_NAMES[function]);
    int is_data = row->keys[0] == DATA || strcmp(row->name, "C_DestroyObject") == 0;
    int any = is_data || strcmp(row->name, "C_GetObjectSize") == 0 || strcmp(row->name, "C_GetAttributeValue") == 0;
    const struct fault rows[] = {
        {"0", change_to, 0, strcmp(row->name, "C_SetOperationState") == 0 ? MAY_DO : REFUSED, 0},
        {"2^64 - 1", change_to, ~0UL, REFUSED, 0},
        {"a session", change_to, have.session, REFUSED, 0},
        {"a destroyed one", change_to, have.destroyed, REFUSED, 0},
        {"one of another class", change_to, have.objects[DATA], any ? MAY_DO : REFUSED, 0},
        {"a key of another type", change_to, have.objects[EC_PUBLIC], any ? MAY_DO : REFUSED, 0},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0] - (size_t)is_data * 2; i++)
        try(function, argument, &rows[i], state);
}

static void try_number(CK_ULONG function, int argument, enum state state)
{
    static const struct fault slots[] = {{"2^32", change_to, 1UL << 32, REFUSED, CKR_SLOT_ID_INVALID},
                                         {"2^64 - 1", change_to, ~0UL, REFUSED, CKR_SLOT_ID_INVALID}},
                              types[] = {{"no mechanism", change_to, 0x7FFFFFFF, REFUSED, CKR_MECHANISM_INVALID},
                                         {"2^64 - 1", change_to, ~0UL, REFUSED, CKR_MECHANISM_INVALID}},
                              users[] = {{"3", change_to, 3, REFUSED, CKR_USER_TYPE_INVALID},
                                         {"2^64 - 1", change_to, ~0UL, REFUSED, CKR_USER_TYPE_INVALID}},
                              others[] = {{"2^63 + 1", change_to, (1UL << 63) + 1, MAY_DO, 0},
                                          {"2^64 - 1", change_to, ~0UL, MAY_DO, 0}};
    char kind = FUNCTION_KINDS[function][argument];
    const struct fault *rows = kind == 'i' ? slots : kind == 'm' ? types : kind == 'u' ? users : others;

    for (int i = 0; i < 2; i++)
        try(function, argument, &rows[i], state);
}

static void try_value(CK_ULONG function, int argument, enum state state)
{
    switch (FUNCTION_KINDS[function][argument]) {
    case 's': try_session(function, argument, state); break;
    case 'o': try_object(function, argument, state); break;
    default: try_number(function, argument, state);
    }
}

static void every_argument(CK_ULONG function, enum state state)
{
    const struct crossing_function *it = &CROSSING.functions[function];
    CK_ULONG arguments[MOST_ARGUMENTS] = {0};
    unsigned char covered[MOST_ARGUMENTS];

    build(function, arguments, covered);
    memory_check(FUNCTION_NAMES[function]);
    places += state == BEGUN_STATE ? strlen(FUNCTION_KINDS[function]) : 0;
    for (CK_ULONG i = 0; i < it->count; i++) {
        const struct crossing_step *step = &CROSSING.steps[it->first + i];
        struct faults faults = faults_of_step(step);
        for (size_t row = 0; row < faults.count; row++)
            try(function, (int)step->index, &faults.rows[row], state);
    }
    for (int i = 0; FUNCTION_KINDS[function][i]; i++)
        if (!covered[i])
            try_value(function, i, state);
}

/* Without its beginning, a function is called in vain; others need none. */
static void every_function(enum state state)
{
    now.state = STATES[state];
    for (CK_ULONG function = 0; function < FUNCTION_COUNT; function++) {
        const struct sound *row = sound_of(FUNCTION_NAMES[function]);
        int operation = row->before[0] && (strstr(row->before[0], "Init") || strstr(row->before[0], "Begin") ||
                                           strstr(row->before[0], "Update"));
        now.function = row->name;
        if ((state == NOT_BEGUN && !operation) || (state == NOT_INITIALIZED && strcmp(row->name, "C_Initialize") == 0))
            continue;
        every_argument(function, state);
    }
}

/* What later rows take. */
static void make_values(void)
{
    now.state = "sound";
    for (size_t i = 0; i < sizeof SOUND / sizeof SOUND[0]; i++) {
        now.function = SOUND[i].name;
        prepare();
        sound_call(SOUND[i].name, 0);
    }
}

/* C_Initialize with arguments at an odd address, which are right; then with wrong ones. Leaves the library started. */
static void initialize_wrongly(void)
{
    CK_C_INITIALIZE_ARGS *odd = (CK_C_INITIALIZE_ARGS *)block(sizeof *odd, 1);
    CK_C_INITIALIZE_ARGS given = {.flags = CKF_OS_LOCKING_OK};

    now.function = "C_Initialize";
    given.pReserved = &given;
    memcpy(odd, &given, sizeof given);
    if (p11->C_Initialize(odd) != CKR_ARGUMENTS_BAD)
        tell("took what is reserved", 0);
    given.pReserved = NULL;
    given.CreateMutex = (void *)1; /* one of four */
    memcpy(odd, &given, sizeof given);
    if (p11->C_Initialize(odd) != CKR_ARGUMENTS_BAD)
        tell("took one function of four", 0);
    given.CreateMutex = NULL;
    memcpy(odd, &given, sizeof given);
    must(p11->C_Initialize(odd), "C_Initialize");
    memory_check("C_Initialize");
    cases += 3;
    calls += 3;
}

/* ---- parameters of mechanisms ---- */

static const CK_ULONG SIZES[] = {0, 1, 7, 24, (1UL << 30) + 1, 1UL << 31, 1UL << 63, ~0UL};
enum { SIZE_COUNT = sizeof SIZES / sizeof SIZES[0], OF_A_MEMBER = SIZE_COUNT + 1 };

/* All choices alike: a parameter that is the same each time. */
static void choose_always(unsigned char choice)
{
    static unsigned char all[4096];

    memset(all, choice, sizeof all);
    choices.next = all;
    choices.left = sizeof all;
}

/* Spoil one member of a structure: its pointer, then its length in each way. */
static void spoil_member(const struct crossing_member *member, unsigned char *structure, unsigned way)
{
    static const CK_ULONG nowhere = 0;

    if (way == 0)
        memcpy(structure + member->offset, &nowhere, sizeof nowhere);
    else if (member->length_kind == LENGTH_IS || member->length_kind == LENGTH_POINTED_TO ||
             member->length_kind == LENGTH_BITS_OUTSIDE)
        return;
    else if (SIZES[way - 1] < (member->kind == MEMBER_BYTES || member->kind == MEMBER_PLACE ? 16 : 1) || SIZES[way - 1] / (member->length_kind == LENGTH_BITS ? 8 : 1) > LONGEST)
        memcpy(structure + member->length, &SIZES[way - 1], sizeof SIZES[0]); /* not so many that there are fewer */
}

/* How many ways there are to spoil this row's parameter. */
static unsigned ways_of(const struct crossing_mechanism *row)
{
    unsigned ways = SIZE_COUNT;

    for (CK_ULONG i = 0; i < row->layout_count; i++)
        ways += (unsigned)CROSSING.layouts[row->layouts[i]].count * OF_A_MEMBER;
    return ways;
}

static CK_MECHANISM *spoiled_mechanism(const struct crossing_mechanism *row, unsigned way)
{
    CK_MECHANISM *it = (CK_MECHANISM *)block(sizeof *it, 0);

    it->mechanism = row->type;
    it->pParameter = choose_parameter(row, &it->ulParameterLen);
    if (way < SIZE_COUNT) {
        of_length((CK_ULONG *)&it, SIZES[way]);
        return it;
    }
    way -= SIZE_COUNT;
    for (CK_ULONG i = 0; it->pParameter && i < row->layout_count; i++) {
        const struct crossing_layout *layout = &CROSSING.layouts[row->layouts[i]];
        if (way < layout->count * OF_A_MEMBER && layout->size == it->ulParameterLen)
            spoil_member(&CROSSING.members[layout->first + way / OF_A_MEMBER], it->pParameter, way % OF_A_MEMBER);
        way -= (unsigned)layout->count * OF_A_MEMBER;
    }
    return it;
}

static CK_OBJECT_HANDLE key_for(CK_ULONG row, CK_ULONG function)
{
    int opens = strstr(FUNCTION_NAMES[function], "Sign") || strstr(FUNCTION_NAMES[function], "De");

    switch (MECHANISM_KEYS[row]) {
    case CKK_RSA: return have.objects[opens ? RSA_PRIVATE : RSA_PUBLIC];
    case CKK_EC: return have.objects[opens ? EC_PRIVATE : EC_PUBLIC];
    case CKK_ML_KEM: return have.objects[opens ? KEM_PRIVATE : KEM_PUBLIC];
    case CKK_AES: return have.objects[AES];
    default: return have.objects[SECRET];
    }
}

static void try_parameter(CK_ULONG function, CK_ULONG index, CK_ULONG row, unsigned way, unsigned char choice)
{
    CK_ULONG arguments[MOST_ARGUMENTS] = {0};
    unsigned char covered[MOST_ARGUMENTS];
    const char *kinds = FUNCTION_KINDS[function];
    CK_RV rv;

    build(function, arguments, covered);
    choose_always(choice);
    arguments[index] = (CK_ULONG)spoiled_mechanism(&CROSSING.mechanisms[row], way);
    if (kinds[index + 1] == 'o')
        arguments[index + 1] = key_for(row, function);
    rv = make_call(function, arguments);
    judge(function, &(struct fault){.outcome = MAY_DO}, BEGUN_STATE, rv);
    cases++;
    if (rv == CKR_OK) {
        take_handles(function, arguments, 0);
        must(p11->C_SessionCancel(have.session, ~0UL), "C_SessionCancel");
    }
    memory_check(now.function);
}

/* Each mechanism, in each function that takes it, with two parameters that are spoiled in each way. */
static void every_parameter(void)
{
    char name[64];

    now.state = "parameters";
    now.fault = name;
    prepare();
    for (CK_ULONG function = 0; function < FUNCTION_COUNT; function++) {
        const struct crossing_step *step = &CROSSING.steps[CROSSING.functions[function].first];
        now.function = FUNCTION_NAMES[function];
        if (!FUNCTION_USES[function] || !CROSSING.functions[function].count || step->kind < STEP_MECHANISM ||
            step->kind > STEP_SIZED_MECHANISM)
            continue;
        now.argument = (int)step->index;
        for (CK_ULONG row = 0; row < CROSSING.mechanism_count; row++)
            for (unsigned way = 0; (MECHANISM_USES[row] & FUNCTION_USES[function]) == FUNCTION_USES[function] &&
                                   way < 2 * ways_of(&CROSSING.mechanisms[row]); way++) {
                snprintf(name, sizeof name, "mechanism 0x%lx, way %u", MECHANISM_TYPES[row], way);
                try_parameter(function, step->index, row, way / 2, way % 2);
            }
        sound_call(now.function, 0);
        prepare();
    }
}

/* ---- attributes ---- */

static const struct fault FAULTY_ATTRIBUTES[] = {
    {"at NULL, of 1", value_nowhere, 1, MAY_DO, 0},
    {"of 0", value_of_length, 0, MAY_DO, 0},
    {"of 1", value_of_length, 1, MAY_DO, 0},
    {"of 2^31", value_of_length, 1UL << 31, MAY_DO, 0},
    {"of 2^64 - 1", value_of_length, ~0UL, MAY_DO, 0},
};
enum { FAULTY_AS_ROOM = 3 }; /* so many of them; room is believed, and filled */

static void try_attribute(CK_ULONG function, CK_ULONG index, CK_ULONG type, const struct fault *fault)
{
    CK_ULONG arguments[MOST_ARGUMENTS] = {0};
    unsigned char covered[MOST_ARGUMENTS];
    CK_RV rv;

    build(function, arguments, covered);
    if (!type_changed(arguments + index, type) || !fault->spoil(arguments + index, fault->number)) {
        memory_check(now.function);
        return;
    }
    rv = make_call(function, arguments);
    judge(function, fault, BEGUN_STATE, rv);
    cases++;
    if (rv == CKR_OK)
        take_handles(function, arguments, 0);
    memory_check(now.function);
}

/* Each type of attribute, in each function that takes a template, with a value that is none. */
static void every_attribute(void)
{
    char name[64];

    now.state = "attributes";
    now.fault = name;
    for (CK_ULONG function = 0; function < FUNCTION_COUNT; function++)
        for (CK_ULONG i = 0; i < CROSSING.functions[function].count; i++) {
            const struct crossing_step *step = &CROSSING.steps[CROSSING.functions[function].first + i];
            if (step->kind != STEP_TEMPLATE && step->kind != STEP_WANTED)
                continue;
            now.function = FUNCTION_NAMES[function];
            now.argument = (int)step->index;
            for (size_t type = 0; type < sizeof ATTRIBUTE_TYPES / sizeof ATTRIBUTE_TYPES[0]; type++)
                for (size_t row = 0; row < (step->kind == STEP_WANTED ? FAULTY_AS_ROOM : ROWS_OF(FAULTY_ATTRIBUTES).count); row++) {
                    snprintf(name, sizeof name, "attribute 0x%lx %s", ATTRIBUTE_TYPES[type], FAULTY_ATTRIBUTES[row].name);
                    try_attribute(function, step->index, ATTRIBUTE_TYPES[type], &FAULTY_ATTRIBUTES[row]);
                    if (strcmp(now.function, "C_FindObjectsInit") == 0)
                        p11->C_FindObjectsFinal(have.session);
                }
            prepare();
            sound_call(now.function, 0);
            prepare();
        }
}

#endif
