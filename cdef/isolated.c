/* The isolated process's side: mrhsm_p11/abi/isolated.py runs this in an interpreter of its own, which loads the library
 * as any host does. The calls of the host end in the exported functions: all of the library's rules are here too. */

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int calls; /* under way */
    const struct crossing *table;
} service = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void count_calls(int more)
{
    pthread_mutex_lock(&service.mutex);
    service.calls += more;
    pthread_cond_broadcast(&service.changed);
    pthread_mutex_unlock(&service.mutex);
}

static int answer(int descriptor, struct walk *walk, struct bytes *into, CK_RV rv)
{
    struct answer *head;

    into->used = 0;
    if (!bytes_grow(into, sizeof *head))
        return 0;
    into->used = sizeof *head;
    for (size_t i = 0; i < region_count(walk); i++) {
        const struct region *it = region(walk, i);
        CK_ULONG size = walk->rv == CKR_OK ? written(it, rv) : 0;

        if (!bytes_grow(into, sizeof size + size))
            return 0;
        memcpy(into->start + into->used, &size, sizeof size);
        if (size) {
            memcpy(into->start + into->used + sizeof size, it->place, size);
            explicit_bzero(it->place, size);
        }
        into->used += sizeof size + size;
    }
    head = (struct answer *)into->start;
    head->size = into->used;
    head->rv = rv;
    return send_all(descriptor, into->start, into->used);
}

static int serve_one(int descriptor, struct walk *walk, struct bytes *out)
{
    struct request *request;
    CK_RV rv;
    int sent;

    if (!receive(descriptor, walk->message, sizeof *request))
        return 0;
    count_calls(1);
    request = (struct request *)walk->message->start;
    walk->at = sizeof *request;
    walk->rv = request->function < FUNCTION_COUNT ? CKR_OK : CKR_FUNCTION_NOT_SUPPORTED;
    if (walk->rv == CKR_OK)
        carry_arguments(walk, request->function, request->arguments);
    rv = walk->rv == CKR_OK ? invoke(request->function, request->arguments) : walk->rv;
    sent = answer(descriptor, walk, out, rv);
    bytes_wipe(out);
    bytes_wipe(walk->message);
    walk_end(walk);
    count_calls(-1);
    return sent;
}

static void *serve_link(void *argument)
{
    struct bytes message = {0}, out = {0};
    struct walk walk = {.table = service.table, .rebuilding = 1, .message = &message};
    int descriptor = (int)(long)argument;

    while (serve_one(descriptor, &walk, &out))
        continue;
    bytes_free(&message);
    bytes_free(&out);
    bytes_free(&walk.regions);
    close(descriptor);
    return NULL;
}

/* Returns a descriptor, or -1 when the host has closed its end. */
static int receive_descriptor(int control)
{
    int descriptor = -1;
    char room[CMSG_SPACE(sizeof descriptor)], byte;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *header;
    ssize_t got;

    do
        got = recvmsg(control, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    header = got == 1 ? CMSG_FIRSTHDR(&message) : NULL;
    if (header && header->cmsg_type == SCM_RIGHTS)
        memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
    return descriptor;
}

/* Wait for a link, or for the end of the host: a child that it forked behind our back may keep the links open. */
static int next_link(int control, int host)
{
    struct pollfd wanted[] = {{.fd = control, .events = POLLIN}, {.fd = host, .events = POLLIN}};

    while (poll(wanted, 2, -1) < 0)
        if (errno != EINTR)
            return -1;
    return wanted[0].revents ? receive_descriptor(control) : -1;
}

static void wait_for_calls(void)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 1;
    pthread_mutex_lock(&service.mutex);
    while (service.calls > 0 && pthread_cond_timedwait(&service.changed, &service.mutex, &until) == 0)
        continue;
    pthread_mutex_unlock(&service.mutex);
}

static int greet(int control, const struct crossing *table)
{
    struct greeting *greeting = calloc(1, sizeof *greeting);
    int sent;

    if (!greeting)
        return 0;
    greeting->size = sizeof *greeting;
    memcpy(greeting->build, BUILD, sizeof BUILD);
    greeting->pid = getpid();
    greeting->parent = getppid();
    greeting->table = *table;
    sent = send_all(control, greeting, sizeof *greeting);
    free(greeting);
    return sent;
}

/* Serve the host at the other end of `control` until it finalizes or ends; for the Python side. */
static void serve_host(int control, const struct crossing *table)
{
    struct ucred peer = {0};
    socklen_t size = sizeof peer;
    int host, descriptor;
    pthread_t thread;

    service.table = table;
    getsockopt(control, SOL_SOCKET, SO_PEERCRED, &peer, &size); /* of who made the socket pair */
    host = (int)syscall(SYS_pidfd_open, peer.pid, 0);
    if (!greet(control, table))
        return;
    while ((descriptor = next_link(control, host)) >= 0)
        if (pthread_create(&thread, NULL, serve_link, (void *)(long)descriptor) == 0)
            pthread_detach(thread);
        else
            close(descriptor);
    wait_for_calls();
}

/* Called before all else in this process: starts the Python side and initialises nothing. */
EXPORT int mrhsm_p11_start_isolated(void)
{
    serving = 1;
    return start() == CKR_OK;
}
