/* forks LIBRARY FORKS THREADS: threads that come, call and go while the main thread forks; each child starts anew.
 *
 * Prints how many children ended otherwise than well, and how many had to be killed. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "host.h"

static CK_FUNCTION_LIST_PTR p11;
static atomic_int stop;
static atomic_ulong calls, failures;

static void *work(void *unused)
{
    CK_INFO info;
    CK_ULONG slots = 0;
    CK_SLOT_ID list[8];

    for (int i = 0; i < 20; i++) {
        failures += p11->C_GetInfo(&info) != CKR_OK;
        slots = 8;
        failures += p11->C_GetSlotList(CK_FALSE, list, &slots) != CKR_OK;
        calls += 2;
    }
    return NULL;
}

static void *keep_working(void *unused)
{
    while (!stop) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, NULL) == 0)
            pthread_join(thread, NULL);
    }
    return NULL;
}

static int child(void)
{
    CK_INFO info;
    CK_ULONG slots = 0;
    pthread_t thread;

    if (p11->C_GetInfo(&info) != CKR_CRYPTOKI_NOT_INITIALIZED)
        return 1;
    if (p11->C_Initialize(NULL) != CKR_OK)
        return 2;
    if (p11->C_GetSlotList(CK_FALSE, NULL, &slots) != CKR_OK)
        return 3;
    if (pthread_create(&thread, NULL, work, NULL) != 0 || pthread_join(thread, NULL) != 0)
        return 4;
    return p11->C_Finalize(NULL) == CKR_OK ? 0 : 5;
}

/* Wait for a child for at most ten seconds; -1 when it had to be killed. */
static int ending_of(pid_t pid)
{
    int status = 0;

    for (int i = 0; i < 10000; i++) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        usleep(1000);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return -1;
}

int main(int count, char **words)
{
    int forks = atoi(words[2]), threads = atoi(words[3]), bad = 0, hung = 0;
    pthread_t workers[16];

    p11 = load(words[1], RTLD_LAZY);
    show("initialize", p11->C_Initialize(NULL));
    for (int i = 0; i < threads; i++)
        pthread_create(&workers[i], NULL, keep_working, NULL);
    for (int i = 0; i < forks; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(child());
        int ending = ending_of(pid);
        if (ending)
            printf("child ended %d\n", ending);
        bad += ending != 0;
        hung += ending == -1;
        usleep(500);
    }
    stop = 1;
    for (int i = 0; i < threads; i++)
        pthread_join(workers[i], NULL);
    printf("bad %d\nhung %d\nfailures %lu\nworked %d\n", bad, hung, failures, threads == 0 || calls > 0);
    show("finalize", p11->C_Finalize(NULL));
    return 0;
}
