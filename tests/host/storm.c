/* storm LIBRARY [restart]: two timers interrupt this process five thousand times a second each, with SA_RESTART or
 * without, while it uses the token; a line read from stdin comes before each further use.
 *
 * Prints what the calls answered, and how often a signal handler or the mask had changed after a call, a signal reached a
 * thread that is not this program's, or a signal was lost on the way. */
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include "token.h"

static volatile sig_atomic_t caught[2], strayed;
static pid_t own_thread;
static struct sigaction actions_before[65];
static sigset_t mask_before;
static int changed;

static void handler(int number)
{
    caught[number == SIGALRM]++;
    strayed += syscall(SYS_gettid) != own_thread;
}

static void set_off(int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    struct itimerval often = {{0, 200}, {0, 200}};
    struct itimerspec also = {{0, 200000}, {0, 170000}};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    timer_t timer;

    sigaction(SIGALRM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    for (int i = 1; i < 65; i++)
        sigaction(i, NULL, &actions_before[i]);
    pthread_sigmask(SIG_BLOCK, NULL, &mask_before);
    if (setitimer(ITIMER_REAL, &often, NULL) != 0 || timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 ||
        timer_settime(timer, 0, &also, NULL) != 0)
        exit(5);
}

static void look(void)
{
    struct sigaction action;
    sigset_t mask;

    for (int i = 1; i < 65; i++)
        if (i != 32 && i != 33 && sigaction(i, NULL, &action) == 0)
            changed += action.sa_handler != actions_before[i].sa_handler || action.sa_flags != actions_before[i].sa_flags;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    changed += memcmp(&mask, &mask_before, 8) != 0;
}

static void call(const char *what, CK_RV rv)
{
    show(what, rv);
    look();
}

/* A process-directed signal that this thread has blocked must wait, and not find another one. */
static void hold_back(void)
{
    sigset_t both, before, pending;
    int caught_before;

    sigemptyset(&both);
    sigaddset(&both, SIGALRM);
    sigaddset(&both, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &both, &before);
    caught_before = caught[0] + caught[1];
    show("use", use());
    usleep(20000);
    sigpending(&pending);
    printf("held back %d %d\n", sigismember(&pending, SIGALRM) && sigismember(&pending, SIGUSR1),
           caught[0] + caught[1] == caught_before);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Wait for a line, of which there is nothing to read. */
static int told(void)
{
    char byte;
    ssize_t got;

    do
        got = read(0, &byte, 1);
    while (got < 0 && errno == EINTR);
    return got == 1;
}

int main(int count, char **words)
{
    struct itimerval never = {{0, 0}, {0, 0}};

    own_thread = syscall(SYS_gettid);
    setvbuf(stdout, NULL, _IONBF, 0);
    p11 = load(words[1], RTLD_LAZY);
    set_off(count > 2 ? SA_RESTART : 0);
    call("initialize", p11->C_Initialize(NULL));
    for (int i = 0; i < 5; i++)
        call("use", use());
    hold_back();
    while (told())
        call("use", use());
    call("finalize", p11->C_Finalize(NULL));
    setitimer(ITIMER_REAL, &never, NULL);
    printf("changed %d, strayed %d, caught %d %d\n", changed, (int)strayed, caught[0] > 100, caught[1] > 100);
    return 0;
}
