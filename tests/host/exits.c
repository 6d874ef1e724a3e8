/* exits LIBRARY HOW WHAT: end in one way (HOW) while three threads do something (WHAT).
 *
 * HOW: return, exit, thread (exit() by another thread), quick, direct (_exit), handler (C_Finalize in an exit
 * handler that joins the threads), final (C_Finalize first), late (the exit handler was registered after the start).
 * WHAT: nothing, busy, waiting (in C_WaitForSlotEvent, without end). */
#include "host.h"
#include "threads.h"

static CK_FUNCTION_LIST_PTR p11;
static struct running *workers[3];
static int workers_count;
static atomic_ulong answered;

static void *busy(void *unused)
{
    CK_INFO info;

    while (p11->C_GetInfo(&info) == CKR_OK)
        answered++;
    return NULL;
}

static void *waiting(void *unused)
{
    CK_SLOT_ID slot;

    answered++;
    p11->C_WaitForSlotEvent(0, &slot, NULL);
    return NULL;
}

static void *leave(void *unused)
{
    exit(0);
}

static void finalize_and_join(void)
{
    p11->C_Finalize(NULL);
    for (int i = 0; i < workers_count; i++)
        join(workers[i]);
}

__attribute__((destructor)) static void at_end(void)
{
    CK_INFO info;

    if (p11 && p11->C_GetInfo(&info) == CKR_OK)
        _exit(9);
}

int main(int count, char **words)
{
    const char *how = words[2], *what = words[3];
    void *(*work)(void *) = strcmp(what, "busy") == 0 ? busy : strcmp(what, "waiting") == 0 ? waiting : NULL;

    if (strcmp(how, "handler") == 0)
        atexit(finalize_and_join);
    p11 = load(words[1], RTLD_LAZY);
    if (p11->C_Initialize(NULL) != CKR_OK)
        return 1;
    if (strcmp(how, "late") == 0)
        atexit(finalize_and_join);
    for (; work && workers_count < 3; workers_count++)
        workers[workers_count] = begin(work, NULL);
    while (work && answered < 3)
        usleep(500);
    if (strcmp(how, "final") == 0)
        p11->C_Finalize(NULL);
    if (strcmp(how, "exit") == 0)
        exit(0);
    if (strcmp(how, "quick") == 0)
        quick_exit(0);
    if (strcmp(how, "direct") == 0)
        _exit(0);
    if (strcmp(how, "thread") == 0) {
        begin(leave, NULL);
        pause();
    }
    return 0;
}
