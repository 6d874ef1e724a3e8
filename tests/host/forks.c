/* forks LIBRARY SCENARIO FORKS: the main thread forks, in one of the ways of the table below; each child must be
 * answered CKR_CRYPTOKI_NOT_INITIALIZED, start the library anew and use it.
 *
 * Prints how many children ended otherwise than well, how many had to be killed, and how long fork() took. */
#include <spawn.h>
#include <sys/wait.h>

#include "host.h"
#include "threads.h"

extern char **environ;
static CK_FUNCTION_LIST_PTR p11;
static atomic_int stop;
static atomic_ulong calls, failures;
static double longest, total;

/* ---- what goes on meanwhile ---- */

static void call(void)
{
    CK_INFO info;
    CK_ULONG slots = 8;
    CK_SLOT_ID list[8];

    failures += p11->C_GetInfo(&info) != CKR_OK;
    failures += p11->C_GetSlotList(CK_FALSE, list, &slots) != CKR_OK;
    calls += 2;
}

static void *work(void *unused)
{
    for (int i = 0; i < 20; i++)
        call();
    return NULL;
}

static void *busy(void *unused)
{
    while (!stop)
        call();
    return NULL;
}

/* Threads that come, call and go. */
static void *passing(void *unused)
{
    while (!stop)
        join(begin(work, NULL));
    return NULL;
}

/* ---- what a child does ---- */

static int anew(void)
{
    CK_INFO info;
    CK_ULONG slots = 0;

    if (p11->C_GetInfo(&info) != CKR_CRYPTOKI_NOT_INITIALIZED)
        return 1;
    if (p11->C_Initialize(NULL) != CKR_OK)
        return 2;
    if (p11->C_GetSlotList(CK_FALSE, NULL, &slots) != CKR_OK)
        return 3;
    join(begin(work, NULL));
    return p11->C_Finalize(NULL) == CKR_OK && failures == 0 ? 0 : 5;
}

/* Wait for a child for as many seconds as HOST_LIMIT_S says, or fifty; -1 when it had to be killed. */
static int ending_of(pid_t pid)
{
    const char *limit = getenv("HOST_LIMIT_S");
    double until = now() + (limit ? atof(limit) : 50);
    int status = 0;

    while (now() < until) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        usleep(1000);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return -1;
}

static pid_t timed_fork(void)
{
    double before = now();
    pid_t pid = fork();

    if (pid > 0) {
        double took = now() - before;
        total += took;
        longest = took > longest ? took : longest;
    }
    return pid;
}

/* ---- one fork of each kind ---- */

static int plain(void)
{
    pid_t pid = timed_fork();

    if (pid == 0)
        _exit(anew());
    return ending_of(pid);
}

/* The child forks before and after it starts anew; its own child starts anew, too. */
static int nested(void)
{
    pid_t pid = timed_fork();

    if (pid == 0) {
        pid_t first = fork();
        if (first == 0)
            _exit(anew());
        if (ending_of(first) != 0 || p11->C_Initialize(NULL) != CKR_OK)
            _exit(6);
        pid_t second = fork();
        if (second == 0)
            _exit(anew());
        _exit(ending_of(second) == 0 && p11->C_Finalize(NULL) == CKR_OK ? 0 : 7);
    }
    return ending_of(pid);
}

static int replaced(void)
{
    pid_t pid = timed_fork();

    if (pid == 0) {
        execl("/bin/true", "true", NULL);
        _exit(8);
    }
    return ending_of(pid);
}

static int shared(void)
{
    double before = now();
    pid_t pid = vfork();

    if (pid == 0) {
        execl("/bin/true", "true", NULL);
        _exit(8);
    }
    longest = now() - before > longest ? now() - before : longest;
    return ending_of(pid);
}

static int spawned(void)
{
    char *words[] = {"true", NULL};
    pid_t pid;

    return posix_spawn(&pid, "/bin/true", NULL, NULL, words, environ) == 0 ? ending_of(pid) : 9;
}

static void *fork_here(void *ending)
{
    *(int *)ending = plain();
    return NULL;
}

/* By a thread that has never called the library. */
static int stranger(void)
{
    int ending = 10;

    join(begin(fork_here, &ending));
    return ending;
}

/* The child uses exit(): every exit handler runs, without C_Finalize. */
static int exiting(void)
{
    pid_t pid = timed_fork();

    if (pid == 0)
        exit(p11->C_Initialize(NULL) == CKR_OK ? 0 : 2);
    return ending_of(pid);
}

static void *initialize(void *unused)
{
    CK_RV rv = p11->C_Initialize(NULL);

    failures += rv != CKR_OK && rv != CKR_CRYPTOKI_ALREADY_INITIALIZED;
    for (int i = 0; i < 50; i++)
        call();
    return NULL;
}

static int anew_or_first(void)
{
    CK_INFO info;

    return p11->C_GetInfo(&info) == CKR_CRYPTOKI_NOT_INITIALIZED ? anew() : 1;
}

/* In a process's first moments: four forks while two threads make their first calls. */
static int early_process(void)
{
    int bad = 0;
    struct running *threads[] = {begin(initialize, NULL), begin(initialize, NULL)};

    for (int i = 0; i < 4; i++) {
        usleep(i * 9000);
        pid_t pid = fork();
        if (pid == 0)
            _exit(anew_or_first());
        int ending = ending_of(pid);
        if (ending)
            printf("child of its first moments ended %d\n", ending);
        bad += ending != 0;
    }
    join(threads[0]);
    join(threads[1]);
    if (failures)
        printf("failures %lu\n", failures);
    fflush(stdout);
    return bad + (failures != 0);
}

static const char *program, *path;

static int early(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        execl(program, program, path, "first", "1", NULL);
        _exit(8);
    }
    return ending_of(pid);
}

/* ---- the table ---- */

static const struct {
    const char *name;
    int (*once)(void);
    void *(*meanwhile)(void *);
} scenarios[] = {
    {"idle", plain, NULL},        {"busy", plain, busy},        {"passing", plain, passing}, {"nested", nested, busy},
    {"exec", replaced, busy},     {"vfork", shared, busy},      {"spawn", spawned, busy},    {"stranger", stranger, busy},
    {"exit", exiting, passing},   {"early", early, NULL},       {"first", early_process, NULL},
};

int main(int count, char **words)
{
    int forks = atoi(words[3]), bad = 0, hung = 0, which = 0;
    struct running *workers[4] = {NULL};

    program = words[0];
    path = words[1];
    while (strcmp(scenarios[which].name, words[2]) != 0)
        which++;
    p11 = load(words[1], RTLD_LAZY);
    if (scenarios[which].once == early_process)
        return early_process();
    if (p11->C_Initialize(NULL) != CKR_OK)
        return 1;
    for (int i = 0; scenarios[which].meanwhile && i < 4; i++)
        workers[i] = begin(scenarios[which].meanwhile, NULL);
    for (int i = 0; i < forks; i++) {
        int ending = scenarios[which].once();
        if (ending)
            printf("child ended %d\n", ending);
        bad += ending != 0;
        hung += ending == -1;
    }
    stop = 1;
    for (int i = 0; i < 4 && workers[i]; i++)
        join(workers[i]);
    printf("bad %d\nhung %d\nfailures %lu\nworked %d\n", bad, hung, failures, !scenarios[which].meanwhile || calls > 0);
    show("finalize", p11->C_Finalize(NULL));
    fprintf(stderr, "fork() took %.2f ms, at most %.2f\n", total / forks * 1000, longest * 1000);
    return 0;
}
