/* begotten LIBRARY: C_GetInfo of this library forks, with other threads inside calls, and returns in both processes. The
 * child forks as a host does; its child starts the library anew. */
#include <sys/wait.h>

#include "host.h"
#include "threads.h"

static CK_FUNCTION_LIST_PTR p11;
static atomic_int stop;

static void *busy(void *unused)
{
    CK_ULONG slots;

    while (!stop)
        p11->C_GetSlotList(CK_FALSE, NULL, &slots);
    return NULL;
}

static int ending_of(pid_t pid)
{
    int status = -1;

    waitpid(pid, &status, 0);
    return status;
}

static void be_the_child(void)
{
    CK_ULONG slots;
    pid_t pid = fork();

    if (pid == 0) {
        show("grandchild: slots", p11->C_GetSlotList(CK_FALSE, NULL, &slots));
        show("grandchild: initialize", p11->C_Initialize(NULL));
        show("grandchild: slots", p11->C_GetSlotList(CK_FALSE, NULL, &slots));
        exit(0);
    }
    printf("grandchild ended %d\n", ending_of(pid));
    exit(0);
}

int main(int count, char **words)
{
    struct running *workers[3];
    pid_t parent = getpid();
    int status = -1;
    CK_INFO info;
    CK_RV rv;

    p11 = load(words[1], RTLD_LAZY);
    if (p11->C_Initialize(NULL) != CKR_OK)
        return 1;
    for (int i = 0; i < 3; i++)
        workers[i] = begin(busy, NULL);
    rv = p11->C_GetInfo(&info);
    if (getpid() != parent)
        be_the_child();
    wait(&status);
    printf("child ended %d\n", status);
    stop = 1;
    for (int i = 0; i < 3; i++)
        join(workers[i]);
    show("info", rv);
    return 0;
}
