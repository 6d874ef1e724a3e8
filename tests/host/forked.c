/* forked LIBRARY: use a token key, fork, use it in the child after C_Initialize and again in the parent. The first slot's
 * token opens with no PIN. */
#include <sys/wait.h>

#include "token.h"

int main(int count, char **words)
{
    CK_ULONG slots;
    CK_INFO info;
    int status;

    p11 = load(words[1], RTLD_LAZY);
    show("initialize", p11->C_Initialize(NULL));
    show("use", use());
    show("info", p11->C_GetInfo(&info));
    pid_t pid = fork();
    if (pid == 0) {
        show("child: info", p11->C_GetInfo(&info));
        show("child: slots", p11->C_GetSlotList(CK_FALSE, NULL, &slots));
        show("child: initialize", p11->C_Initialize(NULL));
        show("child: use", use());
        show("child: finalize", p11->C_Finalize(NULL));
        exit(0);
    }
    waitpid(pid, &status, 0);
    printf("child ended %d\n", status);
    show("use", use());
    show("finalize", p11->C_Finalize(NULL));
    show("initialize", p11->C_Initialize(NULL));
    show("use", use());
    return 0;
}
