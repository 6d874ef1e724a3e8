/* What the parts of the C front share. All of it is one translation unit: build_ffi.py writes a file that includes
 * native.h, the function lists, datapath.c, gate.c, fork.c, wait.c, crossing.c, isolate.c, boot.c, answers.c, isolated.c,
 * interfaces.c and one stub for each function; cffi adds its glue below. */
#ifndef MRHSM_NATIVE_H
#define MRHSM_NATIVE_H

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pkcs11t.h"

#define EXPORT __attribute__((visibility("default")))
#define OTHER_STACK __attribute__((no_sanitize("address"))) /* which AddressSanitizer would take for damage */
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* How far the library has come. FAILED is final: a half-started interpreter is never tried again. ISOLATED is too: a
 * process of its own serves each call, and no interpreter starts in this one. */
enum { NOT_STARTED, READY, FAILED, ISOLATED };
static atomic_int state = NOT_STARTED;

/* The process is in exit(): Python and OpenSSL are about to go, so calls are answered without them. */
static atomic_int exiting;

/* We started the interpreter; otherwise the host is a Python of our version and everything here defers to it. */
static int own_python;

/* Held while the interpreter is started; and over a fork, so that a child never inherits half a start. */
static pthread_mutex_t start_mutex = PTHREAD_MUTEX_INITIALIZER;
static __thread int starting_here;

/* This is the isolated process of another one, which hears at this descriptor why it cannot serve. */
static int serving;
enum { CONTROL = 3 }; /* as abi/isolated.py */

/* A caller's: it may stand at any address, as callers pack structures as they like. */
typedef CK_ULONG LOOSE_ULONG __attribute__((aligned(1)));
typedef CK_MECHANISM LOOSE_MECHANISM __attribute__((aligned(1)));

/* Of any input, in bytes: what is said to be longer is refused unread. */
static const CK_ULONG LONGEST = 1UL << 30;

/* What enter() answers where the call is for the isolated process: no CKR. */
#define CALL_ISOLATED (~0UL)

#endif
