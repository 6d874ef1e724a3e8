/* The isolated process: its birth, which the host does not notice, and its first words. */

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
