/* What the parts of the driver share: one thread's place of work, and the table of operations. */
#ifndef BENCH_DRIVER_H
#define BENCH_DRIVER_H

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "pkcs11t.h"

#include "function_list.h"

enum { LARGEST = 1 << 20, ROOM = LARGEST + 64, MOST_THREADS = 64, SIGNATURE = 512, DIGEST = 32 };

static CK_FUNCTION_LIST_PTR p11;

struct worker {
    CK_SESSION_HANDLE session;
    CK_ULONG size; /* of the text, in bytes */
    CK_BYTE *text, *output;
    CK_BYTE made[SIGNATURE]; /* what the operation undoes: a signature, a wrapped key */
    CK_ULONG made_size;
    CK_OBJECT_HANDLE key; /* made by the operation */
    struct bare *bare;
};

/* `prepare` makes what one operation needs, once a measurement; `bare` is the same work asked of libcrypto alone. */
struct operation {
    const char *name;
    CK_RV (*run)(struct worker *);
    CK_RV (*bare)(struct worker *);
    CK_RV (*prepare)(struct worker *);
};

static double now_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

static void must(const char *what, CK_RV rv)
{
    if (rv == CKR_OK)
        return;
    fprintf(stderr, "%s: 0x%lx\n", what, rv);
    exit(1);
}

#endif
