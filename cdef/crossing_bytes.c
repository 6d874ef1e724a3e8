/* Memory that grows: of a message, and of a list. */

struct bytes {
    unsigned char *start;
    size_t used, room;
};

static int bytes_grow(struct bytes *bytes, size_t more)
{
    size_t wanted = bytes->used + more;
    unsigned char *start;

    if (more > SIZE_MAX / 4 || bytes->used > SIZE_MAX / 4)
        return 0; /* the sums here would begin anew at nought */
    if (wanted <= bytes->room)
        return 1;
    wanted += wanted / 2 + 4096;
    start = malloc(wanted);
    if (!start)
        return 0;
    if (bytes->used)
        memcpy(start, bytes->start, bytes->used);
    if (bytes->start)
        explicit_bzero(bytes->start, bytes->used);
    free(bytes->start);
    bytes->start = start;
    bytes->room = wanted;
    return 1;
}

/* Forget what passed through, which may have been a PIN or a key; keep the memory unless it is much. */
static void bytes_wipe(struct bytes *bytes)
{
    if (bytes->start)
        explicit_bzero(bytes->start, bytes->used);
    bytes->used = 0;
    if (bytes->room > 4 * SLACK) {
        free(bytes->start);
        bytes->start = NULL;
        bytes->room = 0;
    }
}

static void bytes_free(struct bytes *bytes)
{
    bytes_wipe(bytes);
    free(bytes->start);
    bytes->start = NULL;
    bytes->room = 0;
}
