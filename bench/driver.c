/* driver start|serve LIBRARY TOKEN PIN, driver follow LIBRARY TOKEN PIN SECONDS: one PKCS #11 library under measurement.
 * PIN "-" logs in with NULL.
 *
 * start: one figure a line, its name, a number, its unit: what a host waits for up to its first operation.
 * follow: see follow.c.
 * serve: find or make the keys, answer "ready", then obey lines of standard input until it ends:
 *     measure SIZE THREADS MILLISECONDS NAME    the operation of that name through the library
 *     bare SIZE THREADS MILLISECONDS NAME       the same asked of libcrypto
 *     fill FIRST END                            token objects with these numbers
 *     memory                                    peak and present resident memory
 * A measurement answers "ok" and: operations a second; p50, p95, p99 of one in ns; CPU time of one in ns; the first one
 * in ns; how many were done. What the library refuses answers "error 0x<CKR>". */
#define _GNU_SOURCE
#include "driver.h"

#include "keys.c"
#include "bare.c"
#include "operations.c"

enum { MOST_SAMPLES = 1 << 14 };
enum phase { WAIT, COUNT, TIME, END };
static atomic_int phase;
static double clock_ns; /* what asking the clock costs */

struct thread {
    struct worker worker;
    pthread_t id;
    CK_RV (*run)(struct worker *);
    CK_RV rv;
    pthread_barrier_t *ready;
    double first_ns, seconds;
    long counted, timed;
    double samples[MOST_SAMPLES];
};
static struct thread *threads[MOST_THREADS];

/* ---- one measurement ---- */

/* Operations without a look at the clock give the rate, operations between two looks the percentiles. */
static void count_then_time(struct thread *it)
{
    double began = now_ns(), before, after;

    do
        it->rv = it->run(&it->worker);
    while (++it->counted && it->rv == CKR_OK && atomic_load_explicit(&phase, memory_order_relaxed) == COUNT);
    it->seconds = (now_ns() - began) * 1e-9;
    while (it->rv == CKR_OK) {
        before = now_ns();
        it->rv = it->run(&it->worker);
        after = now_ns();
        it->samples[it->timed++ % MOST_SAMPLES] = after - before - clock_ns;
        if (atomic_load_explicit(&phase, memory_order_relaxed) == END)
            break;
    }
}

static void *work(void *argument)
{
    struct thread *it = argument;
    double began = now_ns();

    it->rv = it->run(&it->worker);
    it->first_ns = now_ns() - began;
    pthread_barrier_wait(it->ready);
    pthread_barrier_wait(it->ready); /* the phase has been set */
    if (it->rv == CKR_OK)
        count_then_time(it);
    return NULL;
}

static struct thread *thread_at(int number, CK_SLOT_ID slot)
{
    struct thread *it = threads[number];

    if (it)
        return it;
    it = threads[number] = calloc(1, sizeof *it);
    it->worker.text = calloc(1, ROOM);
    it->worker.output = calloc(1, ROOM);
    must("C_OpenSession", p11->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &it->worker.session));
    return it;
}

static CK_RV prepare(struct thread *it, const struct operation *operation, int bare, CK_ULONG size,
                     pthread_barrier_t *ready)
{
    if (bare && !it->worker.bare)
        make_bare(&it->worker);
    it->worker.size = size;
    it->run = bare ? operation->bare : operation->run;
    it->ready = ready;
    it->counted = it->timed = 0;
    return bare || !operation->prepare ? CKR_OK : operation->prepare(&it->worker);
}

static void rest(double milliseconds)
{
    struct timespec time = {(time_t)(milliseconds / 1e3), (long)(milliseconds * 1e6) % 1000000000};

    nanosleep(&time, NULL);
}

static double cpu_ns(void)
{
    struct rusage used;

    getrusage(RUSAGE_SELF, &used);
    return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e9 + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e3;
}

/* Returns the CPU time that the operations took. */
static double run_phases(int count, double milliseconds, pthread_barrier_t *ready)
{
    double before;

    pthread_barrier_wait(ready);
    before = cpu_ns();
    atomic_store(&phase, COUNT);
    pthread_barrier_wait(ready);
    rest(milliseconds / 2);
    atomic_store(&phase, TIME);
    rest(milliseconds / 2);
    atomic_store(&phase, END);
    for (int i = 0; i < count; i++)
        pthread_join(threads[i]->id, NULL);
    return cpu_ns() - before;
}

static int ascending(const void *one, const void *other)
{
    double difference = *(const double *)one - *(const double *)other;

    return (difference > 0) - (difference < 0);
}

static void tell(int count, double cpu)
{
    double rate = 0, *all = calloc((size_t)count * MOST_SAMPLES, sizeof *all);
    long samples = 0, done = 0;

    for (int i = 0; i < count; i++) {
        long kept = threads[i]->timed < MOST_SAMPLES ? threads[i]->timed : MOST_SAMPLES;
        memcpy(all + samples, threads[i]->samples, (size_t)kept * sizeof *all);
        samples += kept;
        done += threads[i]->counted + threads[i]->timed;
        rate += threads[i]->counted / threads[i]->seconds;
    }
    qsort(all, (size_t)samples, sizeof *all, ascending);
    printf("ok %.3f %.0f %.0f %.0f %.0f %.0f %ld\n", rate, all[samples / 2], all[samples * 95 / 100],
           all[samples * 99 / 100], cpu / done, threads[0]->first_ns, done);
    free(all);
}

static void measure(const struct operation *operation, int bare, CK_SLOT_ID slot, CK_ULONG size, int count, double ms)
{
    pthread_barrier_t ready;
    CK_RV rv = bare && !operation->bare ? CKR_FUNCTION_NOT_SUPPORTED : CKR_OK;
    double cpu;

    pthread_barrier_init(&ready, NULL, (unsigned)count + 1);
    for (int i = 0; i < count && rv == CKR_OK; i++)
        rv = prepare(thread_at(i, slot), operation, bare, size, &ready);
    if (rv == CKR_OK) {
        for (int i = 0; i < count; i++)
            pthread_create(&threads[i]->id, NULL, work, threads[i]);
        cpu = run_phases(count, ms, &ready);
        for (int i = 0; i < count; i++)
            rv = rv ? rv : threads[i]->rv;
    }
    if (rv)
        printf("error 0x%lx\n", rv);
    else
        tell(count, cpu);
    pthread_barrier_destroy(&ready);
}

/* ---- orders ---- */

static void tell_memory(void)
{
    char line[256];
    long peak = 0, present = 0;
    FILE *file = fopen("/proc/self/status", "r");

    while (file && fgets(line, sizeof line, file)) {
        sscanf(line, "VmHWM: %ld kB", &peak);
        sscanf(line, "VmRSS: %ld kB", &present);
    }
    if (file)
        fclose(file);
    printf("ok %ld %ld\n", peak, present);
}

static void obey(const char *line, CK_SLOT_ID slot, CK_SESSION_HANDLE session)
{
    char verb[16], name[64];
    unsigned long size;
    int count;
    double ms;
    long first, end;

    if (sscanf(line, "fill %ld %ld", &first, &end) == 2) {
        fill(session, first, end);
        printf("ok\n");
    } else if (strcmp(line, "memory\n") == 0) {
        tell_memory();
    } else if (sscanf(line, "%15s %lu %d %lf %63[^\n]", verb, &size, &count, &ms, name) == 5 && operation_named(name) &&
               size <= LARGEST && count > 0 && count <= MOST_THREADS) {
        measure(operation_named(name), strcmp(verb, "bare") == 0, slot, size, count, ms);
    } else {
        printf("error order\n");
    }
}

static void calibrate(void)
{
    enum { ROUNDS = 10000 };
    double began = now_ns();

    for (int i = 0; i < ROUNDS; i++)
        now_ns();
    clock_ns = (now_ns() - began) / ROUNDS;
}

static int serve(CK_SLOT_ID slot, CK_SESSION_HANDLE session)
{
    char line[256];

    setvbuf(stdout, NULL, _IOLBF, 0);
    calibrate();
    find_or_make_keys(session);
    printf("ready\n");
    while (fgets(line, sizeof line, stdin))
        obey(line, slot, session);
    return 0;
}

#include "start.c"
#include "follow.c"

int main(int count, char **words)
{
    CK_SESSION_HANDLE session;
    CK_SLOT_ID slot;

    if (count == 6 && strcmp(words[1], "follow") == 0) {
        setvbuf(stdout, NULL, _IOLBF, 0);
        return follow(words[2], words[3], words[4], atof(words[5]));
    }
    if (count != 5)
        return 2;
    if (strcmp(words[1], "start") == 0)
        return start(words[2], words[3], words[4]);
    load(words[2]);
    initialize();
    slot = slot_of(words[3]);
    session = logged_in(slot, words[4], NULL);
    return serve(slot, session);
}
