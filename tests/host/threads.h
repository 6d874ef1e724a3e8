/* Threads and clocks of the host programs. */
#ifndef THREADS_H
#define THREADS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct running {
    pthread_t thread;
};

/* Start a thread; ends the program when there is none to be had. */
static __attribute__((unused)) struct running *begin(void *(*work)(void *), void *with)
{
    struct running *one = malloc(sizeof *one);

    if (!one || pthread_create(&one->thread, NULL, work, with) != 0) {
        printf("no thread\n");
        _exit(4);
    }
    return one;
}

static __attribute__((unused)) void join(struct running *one)
{
    pthread_join(one->thread, NULL);
    free(one);
}

/* Seconds of a clock that only goes forward. */
static __attribute__((unused)) double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

/* KiB of memory that this process has resident now. */
static __attribute__((unused)) long resident_kib(void)
{
    long pages = 0, ignored;
    FILE *file = fopen("/proc/self/statm", "r");

    if (!file || fscanf(file, "%ld %ld", &ignored, &pages) != 2)
        pages = 0;
    if (file)
        fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* Threads of this process. */
static __attribute__((unused)) int thread_count(void)
{
    char line[256];
    int threads = -1;
    FILE *file = fopen("/proc/self/status", "r");

    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "Threads: %d", &threads) == 1)
            break;
    if (file)
        fclose(file);
    return threads;
}

#endif
