/* many LIBRARY WHAT TIMES: repeat something, and print how much memory the first tenth and the rest have cost.
 *
 * threads: a thread that makes three calls and ends; restarts: C_Finalize and C_Initialize; reloads: the same with
 * dlclose and dlopen; cancelled: a thread that is cancelled between calls or in them. */
#include "host.h"
#include "threads.h"

static CK_FUNCTION_LIST_PTR p11;
static const char *path;
static atomic_ulong failures;

static void *work(void *unused)
{
    CK_INFO info;
    CK_BYTE bytes[16];
    CK_SESSION_HANDLE session = 0;
    CK_SLOT_ID slots[8];
    CK_ULONG count = 8;

    failures += p11->C_GetInfo(&info) != CKR_OK;
    failures += p11->C_GetSlotList(CK_FALSE, slots, &count) != CKR_OK;
    failures += p11->C_GenerateRandom(session, bytes, 16) != CKR_SESSION_HANDLE_INVALID;
    return NULL;
}

static void thread(void)
{
    join(begin(work, NULL));
}

static void restart(void)
{
    failures += p11->C_Finalize(NULL) != CKR_OK || p11->C_Initialize(NULL) != CKR_OK;
}

static void reload(void)
{
    failures += p11->C_Finalize(NULL) != CKR_OK || dlclose(library) != 0;
    p11 = load(path, RTLD_NOW);
    failures += p11->C_Initialize(NULL) != CKR_OK;
}

/* Ends between two calls. */
static void *called_off(void *unused)
{
    while (failures == 0) {
        work(unused);
        pthread_testcancel();
    }
    return NULL;
}

static void cancel(void)
{
    static int turn;
    struct running *one = begin(called_off, NULL);

    usleep(turn++ % 700);
    pthread_cancel(one->thread);
    join(one);
}

static const struct {
    const char *name;
    void (*once)(void);
} kinds[] = {{"threads", thread}, {"restarts", restart}, {"reloads", reload}, {"cancelled", cancel}};

int main(int count, char **words)
{
    int times = atoi(words[3]), which = 0;
    long first = 0;

    path = words[1];
    p11 = load(path, RTLD_NOW);
    while (strcmp(kinds[which].name, words[2]) != 0)
        which++;
    if (p11->C_Initialize(NULL) != CKR_OK)
        return 1;
    long begun = resident_kib();
    for (int i = 0; i < times; i++) {
        if (i == times / 10)
            first = resident_kib();
        kinds[which].once();
    }
    long last = resident_kib();
    thread();
    show("finalize", p11->C_Finalize(NULL));
    printf("failures %lu\nthreads %d\ngrown %ld\n", failures, thread_count(), last - first);
    fprintf(stderr, "%ld KiB at first, %ld after a tenth, %ld at last\n", begun, first, last);
    return 0;
}
