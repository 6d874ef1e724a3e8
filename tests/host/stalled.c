/* stalled LIBRARY: fork while a call of another thread waits for a key manager that is silent. A line read from stdin
 * comes after the call has begun, and one before the child uses the token.
 *
 * Prints whether the fork was quick, what the child is answered, and whether each of its calls ended in time. */
#include <sys/wait.h>

#include "threads.h"
#include "token.h"

static void *call(void *answer)
{
    *(CK_RV *)answer = use();
    return NULL;
}

static void wait_for_a_line(void)
{
    char byte;

    while (read(0, &byte, 1) == 1 && byte != '\n')
        continue;
}

static void be_the_child(void)
{
    CK_ULONG slots;

    show("child: slots", p11->C_GetSlotList(CK_FALSE, NULL, &slots));
    show("child: initialize", p11->C_Initialize(NULL));
    wait_for_a_line();
    show("child: use", use());
    show("child: finalize", p11->C_Finalize(NULL));
    exit(0);
}

int main(int count, char **words)
{
    CK_RV answer = CKR_GENERAL_ERROR;
    int status;

    p11 = load(words[1], RTLD_LAZY);
    show("initialize", p11->C_Initialize(NULL));
    struct running *thread = begin(call, &answer);
    wait_for_a_line();
    double before = now();
    pid_t pid = fork();
    if (pid == 0)
        be_the_child();
    printf("fork quick %d\n", now() - before < 1);
    fflush(stdout);
    waitpid(pid, &status, 0);
    printf("child ended %d\n", status);
    join(thread);
    show("stalled", answer);
    show("finalize", p11->C_Finalize(NULL));
    return 0;
}
