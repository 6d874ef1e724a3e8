/* leave LIBRARY [thread] [early] [joined]: the ways a host may end.
 *
 * thread: C_Initialize ran on a thread that is gone; early: exit() is called by another thread; joined: an exit
 * handler waits for threads that are inside calls. Calls from exit handlers and destructors must be answered. */
#include <pthread.h>
#include <stdatomic.h>

#include "host.h"

static CK_FUNCTION_LIST_PTR p11;
static pthread_t workers[3];
static int joined;
static atomic_ulong answered;

static void *initialize(void *unused)
{
    show("initialize", p11->C_Initialize(NULL));
    return NULL;
}

static void *leave(void *unused)
{
    exit(0);
}

static void *work(void *unused)
{
    CK_INFO info;

    while (p11->C_GetInfo(&info) == CKR_OK)
        answered++;
    return NULL;
}

static void at_exit(void)
{
    CK_INFO info;

    show("exit handler: info", p11->C_GetInfo(&info));
    show("exit handler: finalize", p11->C_Finalize(NULL));
    for (int i = 0; joined && i < 3; i++)
        pthread_join(workers[i], NULL);
    printf("exit handler done\n");
    fflush(stdout);
}

__attribute__((destructor)) static void at_end(void)
{
    CK_INFO info;

    if (p11)
        show("destructor: info", p11->C_GetInfo(&info));
}

int main(int count, char **words)
{
    pthread_t thread;
    int early = 0, apart = 0;

    for (int i = 2; i < count; i++) {
        apart |= strcmp(words[i], "thread") == 0;
        early |= strcmp(words[i], "early") == 0;
        joined |= strcmp(words[i], "joined") == 0;
    }
    atexit(at_exit);
    p11 = load(words[1], RTLD_LAZY);
    if (apart) {
        pthread_create(&thread, NULL, initialize, NULL);
        pthread_join(thread, NULL);
    } else {
        initialize(NULL);
    }
    for (int i = 0; joined && i < 3; i++)
        pthread_create(&workers[i], NULL, work, NULL);
    while (joined && answered < 1000)
        usleep(1000);
    if (early) {
        pthread_create(&thread, NULL, leave, NULL);
        pause();
    }
    return 0;
}
