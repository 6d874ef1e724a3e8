/* What goes over a link: a request, and its answer. */

struct request {
    CK_ULONG size; /* of the whole message */
    CK_ULONG function;
    CK_ULONG arguments[MOST_ARGUMENTS];
};

struct answer {
    CK_ULONG size;
    CK_RV rv; /* then, for each region, a length and so many bytes */
};

/* Whether to go on after a system call that failed; `since` is 0 at first. The host's links have time limits. */
static int worth_waiting(long *since);

static int send_all(int descriptor, const void *data, size_t size)
{
    const unsigned char *next = data;
    long since = 0;

    while (size > 0) {
        ssize_t sent = send(descriptor, next, size, MSG_NOSIGNAL);
        if (sent < 0 && worth_waiting(&since))
            continue;
        if (sent <= 0)
            return 0;
        next += sent;
        size -= (size_t)sent;
    }
    return 1;
}

static int receive_more(int descriptor, struct bytes *into, size_t until)
{
    long since = 0;

    while (into->used < until) {
        ssize_t got = recv(descriptor, into->start + into->used, into->room - into->used, 0);
        if (got < 0 && worth_waiting(&since))
            continue;
        if (got <= 0)
            return 0;
        into->used += (size_t)got;
    }
    return 1;
}

/* Receive one message, which begins with its size: one system call where it is short. Messages do not overlap: each side
 * sends its next one only after the other's. */
static int receive(int descriptor, struct bytes *into, size_t least)
{
    CK_ULONG size;

    into->used = 0;
    if (!bytes_grow(into, 4096) || !receive_more(descriptor, into, least))
        return 0;
    size = number_at(into->start);
    if (size < least || size < into->used || !bytes_grow(into, size - into->used))
        return 0;
    return receive_more(descriptor, into, size) && into->used == size;
}
