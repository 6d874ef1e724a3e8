/* Answers that are told again without Python until something changes.
 *
 * Python gives each for the first time. It is kept under the generation of before that call; Python ends the generation
 * (answers_end) after each change of what these functions tell, and before the call that made the change returns
 * (mrhsm_p11/answers.py). So a kept answer of the present generation is what Python would say at some moment of this
 * call, and there is none while the library is not initialised. What Python refuses is never kept.
 *
 * Nothing here waits: a place that another thread is writing counts as empty. A child that was forked meanwhile does
 * without that place. */

static atomic_ulong answers_generation = 1; /* 0 is the generation of an empty place */

/* For the Python side: what has been told so far may be otherwise now. */
static void answers_end(void)
{
    atomic_fetch_add(&answers_generation, 1);
}

struct question {
    CK_ULONG function, first, second; /* what is asked, and its numbers */
};

enum { PLACES = 512, NEIGHBOURS = 8, ANSWER_WORDS = sizeof(CK_SLOT_INFO) / sizeof(CK_ULONG) };

/* `version` is odd while the rest is written. */
static struct kept {
    atomic_ulong version, generation, question[3], words[ANSWER_WORDS];
} all_kept[PLACES];

/* An answer is in one of the places from here on. */
static size_t first_place(const struct question *question)
{
    CK_ULONG mixed = question->first;

    mixed = (mixed ^ mixed >> 32) * 0x9e3779b97f4a7c15UL + question->second;
    mixed = (mixed ^ mixed >> 32) * 0x9e3779b97f4a7c15UL + question->function;
    mixed = (mixed ^ mixed >> 32) * 0x9e3779b97f4a7c15UL;
    return mixed >> 32;
}

static int holds(const struct kept *place, CK_ULONG generation, const struct question *question)
{
    return atomic_load_explicit(&place->generation, memory_order_relaxed) == generation &&
           atomic_load_explicit(&place->question[0], memory_order_relaxed) == question->function &&
           atomic_load_explicit(&place->question[1], memory_order_relaxed) == question->first &&
           atomic_load_explicit(&place->question[2], memory_order_relaxed) == question->second;
}

static int read_place(struct kept *place, CK_ULONG generation, const struct question *question, CK_ULONG *words)
{
    CK_ULONG version = atomic_load_explicit(&place->version, memory_order_acquire);

    if (version & 1 || !holds(place, generation, question))
        return 0;
    for (size_t i = 0; i < ANSWER_WORDS; i++)
        words[i] = atomic_load_explicit(&place->words[i], memory_order_relaxed);
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&place->version, memory_order_relaxed) == version;
}

/* Find the answer of this generation to a question; 0: Python is to be asked. `told` is written only if there is one. */
static int recall(const struct question *question, CK_ULONG generation, void *told, size_t size)
{
    size_t first = first_place(question);
    CK_ULONG words[ANSWER_WORDS];

    for (size_t i = first; i < first + NEIGHBOURS; i++)
        if (read_place(&all_kept[i % PLACES], generation, question, words)) {
            memcpy(told, words, size);
            return 1;
        }
    return 0;
}

static void keep(const struct question *question, CK_ULONG generation, const void *told, size_t size)
{
    size_t first = first_place(question), i = first;
    CK_ULONG version, words[ANSWER_WORDS] = {0};
    struct kept *place;

    while (i < first + NEIGHBOURS - 1 && atomic_load(&all_kept[i % PLACES].generation) == generation)
        i++; /* what is of another generation is worth nothing */
    place = &all_kept[i % PLACES];
    memcpy(words, told, size);
    version = atomic_load_explicit(&place->version, memory_order_relaxed);
    if (version & 1 || !atomic_compare_exchange_strong(&place->version, &version, version + 1))
        return;
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&place->generation, generation, memory_order_relaxed);
    atomic_store_explicit(&place->question[0], question->function, memory_order_relaxed);
    atomic_store_explicit(&place->question[1], question->first, memory_order_relaxed);
    atomic_store_explicit(&place->question[2], question->second, memory_order_relaxed);
    for (size_t j = 0; j < ANSWER_WORDS; j++)
        atomic_store_explicit(&place->words[j], words[j], memory_order_relaxed);
    atomic_store_explicit(&place->version, version + 2, memory_order_release);
}

/* ---- the functions: build_ffi.py calls told_C_Xyz() where others have py_C_Xyz() ----
 *
 * Python fills memory of ours, which no other thread of the host can touch before it is kept. */

enum { ASKS_INFO = 1, ASKS_SLOT, ASKS_SESSION, ASKS_MECHANISM, ASKS_MECHANISMS };

/* What Python leaves as it was in the structure stays so in the caller's. */
#define TOLD(name, type, declared, asked, ...)                              \
    _Static_assert(sizeof(type) % sizeof(CK_ULONG) == 0, #type);            \
    _Static_assert(sizeof(type) <= ANSWER_WORDS * sizeof(CK_ULONG), #type); \
    static CK_RV told_##name declared                                       \
    {                                                                       \
        const struct question question = asked;                             \
        CK_ULONG generation = atomic_load(&answers_generation);             \
        type told;                                                          \
        CK_RV rv;                                                           \
                                                                            \
        if (!pInfo)                                                         \
            return py_##name(__VA_ARGS__ pInfo);                            \
        if (recall(&question, generation, pInfo, sizeof told))              \
            return CKR_OK;                                                  \
        memcpy(&told, pInfo, sizeof told);                                  \
        rv = py_##name(__VA_ARGS__ & told);                                 \
        memcpy(pInfo, &told, sizeof told);                                  \
        if (rv == CKR_OK)                                                   \
            keep(&question, generation, &told, sizeof told);                \
        return rv;                                                          \
    }

#define ASKED(...) {__VA_ARGS__}
TOLD(C_GetInfo, CK_INFO, (CK_INFO_PTR pInfo), ASKED(ASKS_INFO, 0, 0), )
TOLD(C_GetSlotInfo, CK_SLOT_INFO, (CK_SLOT_ID slotID, CK_SLOT_INFO_PTR pInfo), ASKED(ASKS_SLOT, slotID, 0), slotID,)
TOLD(C_GetSessionInfo, CK_SESSION_INFO, (CK_SESSION_HANDLE hSession, CK_SESSION_INFO_PTR pInfo),
     ASKED(ASKS_SESSION, hSession, 0), hSession,)
TOLD(C_GetMechanismInfo, CK_MECHANISM_INFO, (CK_SLOT_ID slotID, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO_PTR pInfo),
     ASKED(ASKS_MECHANISM, slotID, type), slotID, type,)

/* A list is kept in parts, behind its count. All parts of one generation are of one list. */
enum { PART = ANSWER_WORDS, MOST_PARTS = 64, LIST_ROOM = MOST_PARTS * PART };

static int recall_list(CK_SLOT_ID slot, CK_ULONG generation, CK_ULONG *list)
{
    struct question question = {ASKS_MECHANISMS, slot, 0};

    do
        if (!recall(&question, generation, list + question.second * PART, PART * sizeof *list))
            return 0;
    while (++question.second * PART <= list[0]);
    return 1;
}

static void keep_list(CK_SLOT_ID slot, CK_ULONG generation, const CK_ULONG *list)
{
    struct question question = {ASKS_MECHANISMS, slot, 0};

    do
        keep(&question, generation, list + question.second * PART, PART * sizeof *list);
    while (++question.second * PART <= list[0]);
}

/* Whatever the caller has room for, Python is asked for all of it. */
static CK_RV told_C_GetMechanismList(CK_SLOT_ID slotID, CK_MECHANISM_TYPE_PTR pMechanismList, CK_ULONG_PTR pulCount)
{
    CK_ULONG list[LIST_ROOM], room, generation = atomic_load(&answers_generation);
    CK_RV rv = CKR_OK;

    if (!pulCount)
        return py_C_GetMechanismList(slotID, pMechanismList, pulCount);
    if (!recall_list(slotID, generation, list)) {
        list[0] = LIST_ROOM - 1;
        rv = py_C_GetMechanismList(slotID, list + 1, list);
        if (rv == CKR_BUFFER_TOO_SMALL)
            return py_C_GetMechanismList(slotID, pMechanismList, pulCount);
        if (rv == CKR_OK)
            keep_list(slotID, generation, list);
    }
    if (rv != CKR_OK)
        return rv;
    memcpy(&room, pulCount, sizeof room);
    memcpy(pulCount, list, sizeof *list);
    if (pMechanismList && room >= list[0])
        memcpy(pMechanismList, list + 1, list[0] * sizeof *list);
    return pMechanismList && room < list[0] ? CKR_BUFFER_TOO_SMALL : CKR_OK;
}
