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

/* ---- starting the process ---- */

struct birth {
    const char *path;
    char *const *arguments, *const *environment;
    int control;
    sigset_t none;
    unsigned char *stack; /* of two parts */
};
enum { STACK = 1 << 16 };

/* The tables of signals and descriptors are the child's own; the memory is the host's until execve(). */
static OTHER_STACK int become_isolated(void *argument)
{
    const struct birth *birth = argument;
    int control, nothing;
    struct sigaction standard;
    struct rlimit descriptors;

    if (getrlimit(RLIMIT_NOFILE, &descriptors) == 0) {
        descriptors.rlim_cur = descriptors.rlim_max; /* it needs one for each call under way */
        setrlimit(RLIMIT_NOFILE, &descriptors);
    }
    memset(&standard, 0, sizeof standard);
    for (int number = 1; number < NSIG; number++)
        sigaction(number, &standard, NULL);
    setsid();
    control = fcntl(birth->control, F_DUPFD, 10);
    nothing = open("/dev/null", O_RDWR);
    if (control < 0 || nothing < 0 || dup2(control, CONTROL) < 0)
        _exit(1);
    for (int standard_one = 0; standard_one < CONTROL; standard_one++)
        if (dup2(nothing, standard_one) < 0)
            _exit(1);
    if (syscall(SYS_close_range, CONTROL + 1, ~0U, 0) != 0)
        for (int other = CONTROL + 1, most = (int)descriptors.rlim_max; other < most; other++)
            close(other);
    sigprocmask(SIG_SETMASK, &birth->none, NULL);
    execve(birth->path, birth->arguments, birth->environment);
    _exit(1);
}

/* Ends at once, so that its child belongs to init; made without exit signal, it is no child that wait() would tell of. */
static OTHER_STACK int be_between(void *argument)
{
    const struct birth *birth = argument;

    _exit(clone(become_isolated, birth->stack + 2 * STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, argument) < 0);
}

static int give_birth(struct birth *birth)
{
    sigset_t everything, before;
    int status = 0;
    pid_t between;

    birth->stack = mmap(NULL, 2 * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (birth->stack == MAP_FAILED)
        return 0;
    sigemptyset(&birth->none);
    sigfillset(&everything);
    pthread_sigmask(SIG_SETMASK, &everything, &before);
    between = clone(be_between, birth->stack + STACK, CLONE_VM | CLONE_VFORK, birth);
    if (between > 0)
        while (waitpid(between, &status, __WCLONE) < 0 && errno == EINTR)
            continue;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    munmap(birth->stack, 2 * STACK);
    return between > 0;
}

/* A failure to get as far as refuse() is said in the form that say() has. */
static char begin[] = "import os, sys\n"
                      "sys.path += sys.argv[3:]\n"
                      "try:\n"
                      "    from mrhsm_p11.abi.isolated import main\n"
                      "    main(sys.argv[1], int(sys.argv[2]))\n"
                      "except BaseException as error:\n"
                      "    text = f'{type(error).__name__}: {error}'.encode()\n"
                      "    os.write(3, (8 + len(text)).to_bytes(8, sys.byteorder) + text)\n";

/* The interpreter that the library was built with; the folders are those that find_packages() would add. */
static int start_process(int control)
{
    char path[PATH_MAX], library[PATH_MAX], site[PATH_MAX], processes_before[16];
    char *arguments[] = {path,  "-I",    "-S",             "-B", "-X",    "utf8",  "-c",
                         begin, library, processes_before, site, PURELIB, PLATLIB, NULL};
    char *nothing[] = {NULL};
    Dl_info place = {0};
    struct birth birth = {.path = path, .arguments = arguments, .control = control};

    birth.environment = getauxval(AT_SECURE) ? nothing : environ;
    snprintf(processes_before, sizeof processes_before, "%u", isolated.generation);
    snprintf(path, sizeof path, "%s/bin/python%d.%d", BASE_PREFIX, PY_MAJOR_VERSION, PY_MINOR_VERSION);
    if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) != 0) { /* access() would ask for the real user */
        refuse("%s: %s", path, strerror(errno));
        return 0;
    }
    if (!dladdr((void *)start_process, &place) || !realpath(place.dli_fname, library)) {
        refuse("cannot find its own path");
        return 0;
    }
    strcpy(site, library);
    for (int parts = 0; parts < 2; parts++) {
        char *slash = strrchr(site, '/');
        if (slash)
            *slash = '\0';
    }
    if (give_birth(&birth))
        return 1;
    refuse("cannot start %s: %s", path, strerror(errno));
    return 0;
}

static long milliseconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int wait_readable(int descriptor, int milliseconds)
{
    struct pollfd wanted = {.fd = descriptor, .events = POLLIN};
    long until = milliseconds_now() + milliseconds, left = milliseconds;
    int got;

    while ((got = poll(&wanted, 1, (int)left)) < 0 && errno == EINTR) {
        left = until - milliseconds_now();
        left = left > 0 ? left : 0;
    }
    return got > 0;
}

static void limit(int descriptor, int option, int milliseconds)
{
    struct timeval time = {milliseconds / 1000, milliseconds % 1000 * 1000};

    setsockopt(descriptor, SOL_SOCKET, option, &time, sizeof time);
}

/* The process's first words: what leads where, and that it is of our build; or why it cannot serve. */
static int meet_process(int control)
{
    struct bytes heard = {0};
    const struct greeting *greeting;
    int known = 0;

    if (!wait_readable(control, ISOLATED_START_MS)) {
        refuse("the isolated process did not answer in %d seconds", ISOLATED_START_MS / 1000);
        return 0;
    }
    if (!receive(control, &heard, sizeof(CK_ULONG))) {
        refuse("the isolated process ended (%s/bin/python%d.%d)", BASE_PREFIX, PY_MAJOR_VERSION, PY_MINOR_VERSION);
    } else if (heard.used < sizeof *greeting) {
        refuse("%.*s", (int)(heard.used - sizeof(CK_ULONG)), (char *)heard.start + sizeof(CK_ULONG));
    } else {
        greeting = (const struct greeting *)heard.start;
        known = heard.used == sizeof *greeting && memcmp(greeting->build, BUILD, sizeof BUILD) == 0;
        if (known) {
            isolated.pid = greeting->pid;
            isolated.parent = greeting->parent;
            isolated.table = greeting->table;
        } else {
            refuse("the library was replaced after this process loaded it");
        }
    }
    bytes_free(&heard);
    return known;
}

static CK_RV isolated_start(void)
{
    int ends[2], met;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        refuse("no socket pair: %s", strerror(errno));
        return CKR_GENERAL_ERROR;
    }
    met = start_process(ends[1]);
    close(ends[1]);
    met = met && meet_process(ends[0]);
    if (!met) {
        close(ends[0]);
        return CKR_GENERAL_ERROR;
    }
    limit(ends[0], SO_SNDTIMEO, ALIVE_MS);
    pthread_mutex_lock(&isolated.mutex);
    isolated.control = ends[0];
    isolated.generation++;
    isolated.running = 1;
    isolated.broken = 0;
    pthread_mutex_unlock(&isolated.mutex);
    return CKR_OK;
}

/* ---- links ---- */

static void link_end(struct link *link)
{
    for (struct link **at = &isolated.links; *at; at = &(*at)->next)
        if (*at == link) {
            *at = link->next;
            break;
        }
    close(link->descriptor);
    bytes_free(&link->message);
    walk_end(&link->walk);
    bytes_free(&link->walk.regions);
    free(link);
}

/* Send one end of a new socket pair to the process; it is in order with every other. */
static int send_descriptor(int descriptor)
{
    char room[CMSG_SPACE(sizeof descriptor)] = {0}, byte = 0;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    ssize_t sent;

    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof descriptor);
    memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
    do
        sent = sendmsg(isolated.control, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == 1;
}

static struct link *link_make(CK_RV *rv)
{
    struct link *link = calloc(1, sizeof *link);
    int ends[2];

    *rv = CKR_HOST_MEMORY;
    if (!link || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        free(link);
        return NULL;
    }
    if (!send_descriptor(ends[1])) {
        isolated.broken = 1;
        *rv = CKR_DEVICE_ERROR;
        close(ends[0]);
        free(link);
        link = NULL;
    } else {
        limit(ends[0], SO_SNDTIMEO, LOOK_MS);
        limit(ends[0], SO_RCVTIMEO, LOOK_MS);
        link->descriptor = ends[0];
        link->generation = isolated.generation;
        link->walk.table = &isolated.table;
        link->walk.message = &link->message;
        link->next = isolated.links;
        isolated.links = link;
    }
    close(ends[1]);
    return link;
}

static struct link *link_take(CK_RV *rv)
{
    struct link *link = NULL;

    pthread_mutex_lock(&isolated.mutex);
    if (!isolated.running || atomic_load(&exiting)) {
        *rv = CKR_CRYPTOKI_NOT_INITIALIZED;
    } else if (isolated.broken) {
        *rv = CKR_DEVICE_ERROR;
    } else {
        for (link = isolated.links; link && !(link->idle && link->generation == isolated.generation); link = link->next)
            continue;
        if (link) {
            link->idle = 0;
            isolated.idle--;
        } else {
            link = link_make(rv);
        }
    }
    pthread_mutex_unlock(&isolated.mutex);
    return link;
}

static void link_give_back(struct link *link, int usable)
{
    bytes_wipe(&link->message);
    walk_end(&link->walk);
    pthread_mutex_lock(&isolated.mutex);
    if (usable && isolated.running && link->generation == isolated.generation && isolated.idle < IDLE_LINKS) {
        link->idle = 1;
        isolated.idle++;
    } else {
        link_end(link);
    }
    pthread_mutex_unlock(&isolated.mutex);
}

/* ---- a process that does not answer ----
 *
 * A call may take as long as it needs: to make a key, to wait for an event. But a process that was stopped, or is stuck,
 * must not hold the host for ever. So a call that waits asks now and then, over a link of its own, for a function that
 * there is not: that is answered in no time, without Python. */

static struct link *ping(unsigned *generation)
{
    struct request request = {.size = sizeof request, .function = FUNCTION_COUNT};
    struct link *link;
    CK_RV rv;

    pthread_mutex_lock(&isolated.mutex);
    *generation = isolated.generation;
    link = isolated.running ? link_make(&rv) : NULL;
    pthread_mutex_unlock(&isolated.mutex);
    if (link && send(link->descriptor, &request, sizeof request, MSG_NOSIGNAL) < 0)
        shutdown(link->descriptor, SHUT_RDWR);
    return link;
}

static int process_answers(void)
{
    unsigned generation;
    struct link *link = ping(&generation);
    int answers = link && wait_readable(link->descriptor, ALIVE_MS);

    pthread_mutex_lock(&isolated.mutex);
    if (link)
        link_end(link);
    else
        answers = isolated.running && !isolated.broken; /* no descriptors are left to ask with */
    if (!answers && isolated.running && isolated.generation == generation) {
        isolated.broken = 1;
        kill(isolated.pid, SIGKILL);
    }
    pthread_mutex_unlock(&isolated.mutex);
    return answers;
}

static int worth_waiting(long *since)
{
    if (errno == EINTR && (serving || *since == 0 || milliseconds_now() - *since < LOOK_MS)) {
        *since = *since ? *since : milliseconds_now();
        return 1;
    }
    if (serving || (errno != EAGAIN && errno != EINTR))
        return 0;
    *since = 0;
    return process_answers();
}

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

/* ---- when ---- */

/* The one line of maprhsm.conf that C reads: `isolation = "process"` below [library]. config.py refuses every other way
 * to write the same, so the two cannot disagree. */
static int says_isolation(const char *line, int *in_library)
{
    char value[16], rest;

    line += strspn(line, " \t");
    if (*line == '[')
        *in_library = strncmp(line, "[library]", 9) == 0;
    if (!*in_library || strncmp(line, "isolation", 9) != 0)
        return 0;
    return sscanf(line + 9, " = \"%15[a-z]\" %c", value, &rest) >= 1 && strcmp(value, "process") == 0;
}

static int file_says_isolation(const char *path)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t room = 0;
    int in_library = 0, found = 0;

    if (!file)
        return 0;
    while (!found && getline(&line, &room, file) >= 0)
        found = says_isolation(line, &in_library);
    free(line);
    fclose(file);
    return found;
}

/* As config.py's places(). */
static int settings_say_isolation(void)
{
    char path[PATH_MAX], home[PATH_MAX] = "";
    const char *named = secure_getenv("MRHSM_CONF"), *variable = secure_getenv("MAPR_HOME");
    Dl_info place = {0};
    char *slash;
    FILE *record;

    if (named && *named)
        return file_says_isolation(named);
    if (variable && *variable) {
        snprintf(home, sizeof home, "%s", variable);
    } else if (dladdr((void *)settings_say_isolation, &place) && realpath(place.dli_fname, path)) {
        slash = strrchr(path, '/');
        snprintf(slash, sizeof path - (size_t)(slash - path), "/installed.home");
        record = fopen(path, "re");
        if (record) {
            if (!fgets(home, sizeof home, record))
                home[0] = '\0';
            home[strcspn(home, "\r\n")] = '\0';
            fclose(record);
        }
    }
    snprintf(path, sizeof path, "%.4000s/conf/maprhsm.conf", home[0] ? home : "/opt/mapr");
    return file_says_isolation(path);
}
