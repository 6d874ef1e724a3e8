/* The library served by a process of its own: where the host contains another Python, or wants none inside.
 *
 * C_Initialize starts the isolated process, C_Finalize ends it; it never outlives the host. Each call under way has a
 * link, a socket pair, of which the process serves every one by a thread. The host sees no child: neither wait() nor
 * SIGCHLD tell of it, and its end is noticed on the links. */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ISOLATED_START_MS = 60000, ISOLATED_END_MS = 3000, IDLE_LINKS = 32 };
enum { LOOK_MS = 2000, ALIVE_MS = 15000 }; /* how often a call asks whether the process lives, and how long it waits */

struct link {
    struct link *next;
    int descriptor, idle;
    unsigned generation;
    struct bytes message;
    struct walk walk;
};

static struct {
    pthread_mutex_t starting; /* held over C_Initialize and C_Finalize */
    pthread_mutex_t mutex;    /* of all below; `starting` is taken first, neither is held while a call is served */
    int running, broken;
    int control;         /* descriptors of links are sent over it */
    pid_t pid, parent;   /* the process, and whose child it has become */
    unsigned generation; /* counts starts */
    int idle;
    struct link *links; /* busy and idle ones */
    struct crossing table;
} isolated = {.starting = PTHREAD_MUTEX_INITIALIZER, .mutex = PTHREAD_MUTEX_INITIALIZER, .control = -1};

static void refuse(const char *format, ...);

/* What the isolated process says first. */
struct greeting {
    CK_ULONG size;
    char build[sizeof BUILD];
    int pid, parent;
    struct crossing table;
};

#include "isolate_process.c"
#include "isolate_links.c"

/* ---- a call ---- */

/* Put what has changed where the host has it. Returns whether the answer is whole. */
static int take_answer(struct link *link, CK_RV *rv)
{
    const struct answer *answer = (const struct answer *)link->message.start;
    const unsigned char *next = link->message.start + sizeof *answer, *end = link->message.start + link->message.used;

    *rv = answer->rv;
    for (size_t i = 0; i < region_count(&link->walk); i++) {
        const struct region *it = region(&link->walk, i);
        CK_ULONG size;

        if ((size_t)(end - next) < sizeof size)
            return 0;
        size = number_at(next);
        next += sizeof size;
        if (size > it->size || size > (size_t)(end - next))
            return 0;
        if (size)
            memcpy(it->place, next, size);
        next += size;
    }
    return next == end;
}

static CK_RV ask(struct link *link, CK_ULONG function, CK_ULONG *arguments, CK_ULONG count, int *usable)
{
    struct request *request;
    CK_RV rv;

    link->walk.rv = CKR_OK;
    *usable = 1;
    link->message.used = 0;
    if (!bytes_grow(&link->message, sizeof *request))
        return CKR_HOST_MEMORY;
    link->message.used = sizeof *request;
    carry_arguments(&link->walk, function, arguments);
    if (link->walk.rv != CKR_OK)
        return link->walk.rv;
    request = (struct request *)link->message.start;
    memset(request, 0, sizeof *request);
    request->size = link->message.used;
    request->function = function;
    memcpy(request->arguments, arguments, count * sizeof *arguments);
    *usable = send_all(link->descriptor, link->message.start, link->message.used);
    if (*usable) {
        explicit_bzero(link->message.start, link->message.used);
        *usable = receive(link->descriptor, &link->message, sizeof(struct answer)) && take_answer(link, &rv);
    }
    return *usable ? rv : CKR_DEVICE_ERROR;
}

static CK_RV ask_isolated(CK_ULONG function, CK_ULONG *arguments, CK_ULONG count)
{
    CK_RV rv;
    int usable;
    struct link *link = link_take(&rv);

    if (!link)
        return rv;
    rv = ask(link, function, arguments, count, &usable);
    if (!usable) {
        pthread_mutex_lock(&isolated.mutex);
        if (link->generation != isolated.generation || !isolated.running)
            rv = CKR_CRYPTOKI_NOT_INITIALIZED; /* another thread called C_Finalize */
        else
            isolated.broken = 1;
        pthread_mutex_unlock(&isolated.mutex);
    }
    link_give_back(link, usable);
    return rv;
}

/* ---- its end ---- */

static void forget_process(void)
{
    struct link *next;

    pthread_mutex_lock(&isolated.mutex);
    isolated.running = 0;
    isolated.idle = 0;
    for (struct link *link = isolated.links; link; link = next) {
        next = link->next;
        if (link->idle)
            link_end(link);
    }
    pthread_mutex_unlock(&isolated.mutex);
}

/* End the process and see it off: what it holds, locks of files above all, is free when C_Finalize returns. A host that
 * adopts orphans has adopted it, and would find it in wait(). */
static void end_process(void)
{
    char byte;

    forget_process();
    shutdown(isolated.control, SHUT_WR);
    if (!wait_readable(isolated.control, ISOLATED_END_MS) || recv(isolated.control, &byte, 1, 0) > 0)
        kill(isolated.pid, SIGKILL);
    close(isolated.control);
    isolated.control = -1;
    if (isolated.parent == getpid())
        while (waitpid(isolated.pid, NULL, 0) < 0 && errno == EINTR)
            continue;
}

/* Calls under way come back: an exit handler of the host may be about to join their threads. The process itself ends
 * with ours. */
static void isolated_at_exit(void)
{
    struct timespec until = in_milliseconds(EXIT_WAIT_MS);

    at_exit();
    if (pthread_mutex_timedlock(&isolated.mutex, &until) != 0)
        return; /* only by a signal handler that interrupted the thread that has it */
    isolated.running = 0;
    for (struct link *link = isolated.links; link; link = link->next)
        shutdown(link->descriptor, SHUT_RDWR);
    pthread_mutex_unlock(&isolated.mutex);
}

/* ---- what begins and ends it ---- */

enum { FUNCTION_INITIALIZE, FUNCTION_FINALIZE }; /* the first two of pkcs11f.h */

static CK_RV isolated_initialize(CK_ULONG *arguments)
{
    CK_RV rv = CKR_OK;
    int fresh;

    pthread_mutex_lock(&isolated.starting);
    fresh = !isolated.running;
    if (isolated.broken && !fresh)
        rv = CKR_CRYPTOKI_ALREADY_INITIALIZED;
    else if (fresh)
        rv = isolated_start();
    if (rv == CKR_OK)
        rv = ask_isolated(FUNCTION_INITIALIZE, arguments, 1);
    if (rv != CKR_OK && fresh && isolated.running)
        end_process();
    pthread_mutex_unlock(&isolated.starting);
    return rv;
}

static CK_RV isolated_finalize(CK_ULONG *arguments)
{
    CK_RV rv;

    pthread_mutex_lock(&isolated.starting);
    rv = ask_isolated(FUNCTION_FINALIZE, arguments, 1);
    if (isolated.running && isolated.broken)
        rv = CKR_OK; /* nothing is left to finalize */
    if (isolated.running && rv == CKR_OK)
        end_process();
    pthread_mutex_unlock(&isolated.starting);
    return rv;
}

/* No cancellation point, as a call of our own interpreter is none. */
static CK_RV call_isolated(CK_ULONG function, CK_ULONG *arguments, CK_ULONG count)
{
    int cancel_state_before;
    CK_RV rv;

    if (inside)
        return CKR_FUNCTION_FAILED; /* a signal handler that interrupted a call, which may hold what is locked here */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state_before);
    inside = 1;
    if (function == FUNCTION_INITIALIZE)
        rv = isolated_initialize(arguments);
    else if (function == FUNCTION_FINALIZE)
        rv = isolated_finalize(arguments);
    else
        rv = ask_isolated(function, arguments, count);
    inside = 0;
    pthread_setcancelstate(cancel_state_before, NULL);
    return rv;
}

/* ---- fork ---- */

static __thread int locked_for_fork;

static void isolated_before_fork(void)
{
    locked_for_fork = !inside; /* a signal handler that interrupted a call would wait for itself */
    if (!locked_for_fork)
        return;
    pthread_mutex_lock(&isolated.starting);
    pthread_mutex_lock(&isolated.mutex);
}

static void isolated_after_fork_in_parent(void)
{
    if (!locked_for_fork)
        return;
    pthread_mutex_unlock(&isolated.mutex);
    pthread_mutex_unlock(&isolated.starting);
}

/* The process is the parent's: the child drops its ends and may start one of its own. The memory of a link that was busy
 * may be half written, by a thread that is gone: it is left alone. */
static void isolated_after_fork_in_child(void)
{
    static const pthread_mutex_t open_mutex = PTHREAD_MUTEX_INITIALIZER;
    struct link *next;

    isolated.starting = open_mutex;
    isolated.mutex = open_mutex;
    for (struct link *link = isolated.links; link; link = next) {
        next = link->next;
        if (link->idle)
            link_end(link);
        else
            close(link->descriptor);
    }
    if (isolated.control >= 0)
        close(isolated.control);
    isolated.links = NULL;
    isolated.control = -1;
    isolated.running = isolated.broken = isolated.idle = 0;
}

#include "isolate_settings.c"
