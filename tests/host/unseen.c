/* unseen LIBRARY [ignore|adopt]: a host that waits for any child while the library is served by a process: it must see
 * none but its own. With `ignore`, SIGCHLD is ignored; with `adopt`, the host adopts orphans, as init does. */
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "host.h"

static volatile sig_atomic_t told;

static void tell(int number)
{
    told++;
}

/* Print whether there is any child, of whatever kind. */
static void look(const char *when)
{
    int status, found = waitpid(-1, &status, WNOHANG | __WALL);

    printf("%s: %s, told %d\n", when, found < 0 && errno == ECHILD ? "no child" : "a child", (int)told);
    told = 0;
}

static void own_child(void)
{
    int status = 0;
    pid_t pid = fork(), found;

    if (pid == 0)
        _exit(7);
    found = waitpid(-1, &status, 0);
    if (found < 0)
        printf("own child gone\n"); /* as always where SIGCHLD is ignored */
    else
        printf("own child %d %d\n", found == pid, WEXITSTATUS(status));
    told = 0;
}

int main(int count, char **words)
{
    CK_FUNCTION_LIST_PTR p11 = load(words[1], RTLD_LAZY);
    int ignore = count > 2 && strcmp(words[2], "ignore") == 0, adopt = count > 2 && strcmp(words[2], "adopt") == 0;
    CK_INFO info;

    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGCHLD, ignore ? SIG_IGN : tell);
    if (adopt)
        prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (int i = 0; i < 3; i++) {
        show("initialize", p11->C_Initialize(NULL));
        if (!adopt)
            look("started");
        show("info", p11->C_GetInfo(&info));
        own_child();
        show("finalize", p11->C_Finalize(NULL));
        if (adopt)
            told = 0;
        look("ended");
    }
    return 0;
}
