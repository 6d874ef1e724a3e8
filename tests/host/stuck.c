/* stuck LIBRARY [wait]: fork while another thread is inside C_GetInfo, or in C_WaitForSlotEvent, which C_Finalize then
 * ends; prints whether the fork was quick and what the child is
 * answered. Signals, SIGPIPE included, keep their default action. */
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>

#include "host.h"

static CK_FUNCTION_LIST_PTR p11;

static void *wait_for_event(void *unused)
{
    CK_SLOT_ID slot;

    show("event", p11->C_WaitForSlotEvent(0, &slot, NULL));
    return NULL;
}

static void *call(void *unused)
{
    CK_INFO info;

    show("info", p11->C_GetInfo(&info));
    return NULL;
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

int main(int count, char **words)
{
    pthread_t thread;
    CK_ULONG slots;
    double before;
    int status;

    p11 = load(words[1], RTLD_LAZY);
    show("initialize", p11->C_Initialize(NULL));
    pthread_create(&thread, NULL, count > 2 ? wait_for_event : call, NULL);
    usleep(300000);
    before = now();
    pid_t pid = fork();
    if (pid == 0) {
        show("child: slots", p11->C_GetSlotList(CK_FALSE, NULL, &slots));
        show("child: initialize", p11->C_Initialize(NULL));
        show("child: slots", p11->C_GetSlotList(CK_FALSE, NULL, &slots));
        exit(0);
    }
    printf("fork quick %d\n", now() - before < 1);
    waitpid(pid, &status, 0);
    printf("child ended %d\n", status);
    if (count > 2)
        show("finalize", p11->C_Finalize(NULL));
    pthread_join(thread, NULL);
    show("slots", p11->C_GetSlotList(CK_FALSE, NULL, &slots));
    return 0;
}
