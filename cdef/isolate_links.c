/* The links of the calls under way, and what is done where nothing comes back over one. */

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
