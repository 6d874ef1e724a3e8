/* The gate: each call of a host is inside; whoever must find nobody inside closes it: a fork, and an exit.
 *
 * So no thread is inside Python, OpenSSL or a library's one-time initialiser, whose locks nobody could release in the
 * child, at the moment of the fork. A call lets go of it while it waits on the network (wait.c).
 *
 * Calls count themselves in lanes, each of a cache line: those of threads on two processors touch nothing in common
 * unless the gate is closed. To come in is to be counted and then to look whether it is closed; to close it is to say so
 * and then to look whether anybody is counted. All of that is in one order (seq_cst), so one of the two sees the other,
 * and no call comes in past a gate that is being closed. */

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LANES = 64, CACHE_LINE_BYTES = 64 };

static struct lane {
    _Alignas(CACHE_LINE_BYTES) atomic_int inside;
} lanes[LANES];
static struct {
    _Alignas(CACHE_LINE_BYTES) atomic_int closed;
    atomic_uint next_lane;
    _Alignas(CACHE_LINE_BYTES) atomic_int left; /* how often a call has left a closed gate */
} gate;
static __thread struct lane *own_lane; /* shared with others where there are more threads than lanes */
static __thread int inside_gate;       /* what this thread has in it */

/* ---- waiting ---- */

/* Sleep until the word is woken, unless it is another already; NULL: without a limit. */
static void sleep_while(atomic_int *word, int value, const struct timespec *at_most)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, at_most, NULL, 0);
}

static void wake(atomic_int *word, int threads)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, threads, NULL, NULL, 0);
}

/* A point in time, which no change of the clock moves. */
static struct timespec in_milliseconds(long milliseconds)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += milliseconds / 1000;
    until.tv_nsec += milliseconds % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    return until;
}

/* Tell whether there is time left, and how much. */
static int time_left(struct timespec until, struct timespec *left)
{
    clock_gettime(CLOCK_MONOTONIC, left);
    left->tv_sec = until.tv_sec - left->tv_sec;
    left->tv_nsec = until.tv_nsec - left->tv_nsec;
    if (left->tv_nsec < 0) {
        left->tv_sec--;
        left->tv_nsec += 1000000000;
    }
    return left->tv_sec >= 0;
}

/* ---- calls ---- */

static void gate_go_out(void)
{
    inside_gate--;
    atomic_fetch_sub(&own_lane->inside, 1);
    if (UNLIKELY(atomic_load(&gate.closed))) {
        atomic_fetch_add(&gate.left, 1);
        wake(&gate.left, 1);
    }
}

/* Come in unless the gate is closed: whoever closes it comes first. */
static int gate_try(void)
{
    if (UNLIKELY(!own_lane))
        own_lane = &lanes[atomic_fetch_add(&gate.next_lane, 1) % LANES];
    atomic_fetch_add(&own_lane->inside, 1);
    inside_gate++;
    if (!UNLIKELY(atomic_load(&gate.closed)))
        return 1;
    gate_go_out();
    return 0;
}

static void gate_go_in(void)
{
    while (UNLIKELY(!gate_try()))
        sleep_while(&gate.closed, 1, NULL);
}

/* ---- closing ---- */

static void gate_open(void)
{
    atomic_store(&gate.closed, 0);
    wake(&gate.closed, INT_MAX);
}

static int anybody_inside(void)
{
    for (int i = 0; i < LANES; i++)
        if (atomic_load(&lanes[i].inside))
            return 1;
    return 0;
}

/* Close the gate and wait until no call is inside, but not beyond this; 0, and the gate is not ours, when one still is,
 * or another thread has it closed. */
static int gate_close(struct timespec until)
{
    struct timespec left;
    int open = 0;

    while (!atomic_compare_exchange_strong(&gate.closed, &open, 1)) {
        if (!time_left(until, &left))
            return 0;
        sleep_while(&gate.closed, 1, &left);
        open = 0;
    }
    for (;;) {
        int seen = atomic_load(&gate.left); /* first: who leaves after the look wakes us */

        if (!anybody_inside())
            return 1;
        if (!time_left(until, &left))
            break;
        sleep_while(&gate.left, seen, &left);
    }
    gate_open();
    return 0;
}

/* The child has one thread: the calls of all others have gone, its own goes on. */
static void gate_after_fork_in_child(void)
{
    for (int i = 0; i < LANES; i++)
        atomic_store(&lanes[i].inside, 0);
    if (inside_gate)
        atomic_store(&own_lane->inside, inside_gate);
    atomic_store(&gate.closed, 0);
}
