/* walks: what crosses to an isolated process and back, without the process: cdef/crossing.c and both its ends.
 *
 * The first choice of an input tells which of four is tried: arguments that go there and back, a request, an answer and a
 * stream of chance bytes. Run it under AddressSanitizer: messages and lumps have no guard pages. */
#define BUILD "fuzz"
#define BASE_PREFIX ""
#define PURELIB ""
#define PLATLIB ""
#define PY_MAJOR_VERSION 3
#define PY_MINOR_VERSION 0
#define _GNU_SOURCE
#include "native.h"

/* What the isolation needs of the rest of the library, none of which a walk calls. */
enum { EXIT_WAIT_MS = 1 };
static __thread int inside;
static struct timespec in_milliseconds(long milliseconds)
{
    return (struct timespec){milliseconds, 0};
}
static void at_exit(void)
{
}
static int start(void)
{
    return 0;
}
static CK_RV invoke(CK_ULONG function, const CK_ULONG *arguments)
{
    return CKR_OK;
}

#include "tables.h"
#include "crossing.c"
#include "isolate.c"
#include "isolated.c"
#include "arguments.h"
#include "fuzz.h"

static void refuse(const char *format, ...)
{
}

static struct link host; /* the walk of the host's side */
static struct walk there;
static struct bytes request_there, answer_there;

static void begin_walk(CK_ULONG function, CK_ULONG *arguments)
{
    const char *kinds = FUNCTION_KINDS[function];

    for (int i = 0; kinds[i]; i++)
        arguments[i] = choose_number();
    choose_pointers(function, arguments);
    host.walk = (struct walk){.table = &CROSSING, .message = &host.message, .regions = host.walk.regions};
    host.message.used = 0;
    if (!bytes_grow(&host.message, sizeof(struct request)))
        abort();
    memset(host.message.start, 0, sizeof(struct request));
    host.message.used = sizeof(struct request);
}

static void end_walk(const char *name)
{
    walk_end(&host.walk);
    walk_end(&there);
    memory_check(name);
}

/* Let the isolated side read a message, whose memory ends where the message does. */
static void rebuild(CK_ULONG function, CK_ULONG *arguments, const void *bytes, size_t size)
{
    free(request_there.start);
    request_there = (struct bytes){.start = malloc(size), .used = size, .room = size};
    memcpy(request_there.start, bytes, size);
    there = (struct walk){
        .table = &CROSSING, .rebuilding = 1, .message = &request_there, .at = sizeof(struct request), .regions = there.regions};
    carry_arguments(&there, function, arguments);
}

/* What the function would do: write to what it was lent, and say how much. */
static void write_all(unsigned char with)
{
    for (size_t i = 0; i < region_count(&there); i++) {
        struct region *it = region(&there, i);
        if (it->size <= LARGEST_BLOCK)
            memset(it->place, with, it->size);
    }
    for (size_t i = 0; i < region_count(&there); i++) {
        struct region *it = region(&there, i);
        CK_ULONG count = it->size <= LARGEST_BLOCK && it->unit ? it->size / it->unit : 0;
        if (it->length)
            memcpy((void *)it->length, &count, sizeof count);
    }
}

/* Each side sees as many places of the same sizes, the message is read to its end, and what was written there is here. */
static void there_and_back(CK_ULONG function)
{
    CK_ULONG arguments[MOST_ARGUMENTS] = {0}, theirs[MOST_ARGUMENTS];
    const char *name = FUNCTION_NAMES[function];
    CK_RV rv;

    begin_walk(function, arguments);
    carry_arguments(&host.walk, function, arguments);
    if (host.walk.rv != CKR_OK)
        fail("does not go there", name);
    memcpy(theirs, arguments, sizeof theirs);
    rebuild(function, theirs, host.message.start, host.message.used);
    if (there.rv != CKR_OK || there.at != request_there.used)
        fail("is not read as it was written", name);
    if (region_count(&there) != region_count(&host.walk))
        fail("lends other memory there than here", name);
    for (size_t i = 0; i < region_count(&there); i++)
        if (region(&there, i)->size != region(&host.walk, i)->size)
            fail("lends more or less there than here", name);
    write_all(choice());
    answer(-1, &there, &answer_there, CKR_OK);
    host.message.used = 0;
    if (!bytes_grow(&host.message, answer_there.used))
        abort();
    memcpy(host.message.start, answer_there.start, answer_there.used);
    host.message.used = answer_there.used;
    if (!take_answer(&host, &rv) || rv != CKR_OK)
        fail("does not come back", name);
    end_walk(name);
}

/* Chance bytes as a request: whatever the function then reads lies in the message, or in what it is lent. */
static void chance_request(CK_ULONG function)
{
    CK_ULONG arguments[MOST_ARGUMENTS];
    size_t size = sizeof(struct request) + choices.left;
    unsigned char *bytes = calloc(1, size);

    for (int i = 0; i < MOST_ARGUMENTS; i++)
        arguments[i] = choose_number();
    memcpy(bytes + sizeof(struct request), choices.next, choices.left);
    rebuild(function, arguments, bytes, size);
    free(bytes);
    if (there.rv == CKR_OK) {
        write_all(0);
        answer(-1, &there, &answer_there, CKR_OK);
        host.walk = (struct walk){.table = &CROSSING, .message = &host.message, .regions = host.walk.regions};
        host.message.used = 0;
        carry_arguments(&host.walk, function, arguments); /* reads all that the function may read */
    }
    end_walk(FUNCTION_NAMES[function]);
}

/* Chance bytes as an answer: none but the memory lent is written. */
static void chance_answer(CK_ULONG function)
{
    CK_ULONG arguments[MOST_ARGUMENTS] = {0};
    CK_RV rv;

    begin_walk(function, arguments);
    carry_arguments(&host.walk, function, arguments);
    host.message.used = 0;
    if (!bytes_grow(&host.message, sizeof(struct answer) + choices.left))
        abort();
    memset(host.message.start, 0, sizeof(struct answer));
    memcpy(host.message.start + sizeof(struct answer), choices.next, choices.left);
    host.message.used = sizeof(struct answer) + choices.left;
    take_answer(&host, &rv);
    walk_end(&host.walk);
    end_walk(FUNCTION_NAMES[function]);
}

/* Chance bytes on a link, whose end is closed then: either a whole message is received, or none. */
static void chance_stream(CK_ULONG function)
{
    struct bytes into = {0};
    CK_ULONG size = choose_number();
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        abort();
    if (rarely(2))
        size = sizeof size + choices.left;
    if (rarely(4))
        choose_bytes((unsigned char *)&size, sizeof size);
    if (size > 1 << 24)
        size |= 1UL << 63; /* what there is memory for only takes time */
    if (!send_all(ends[0], &size, sizeof size) || !send_all(ends[0], choices.next, choices.left))
        abort();
    close(ends[0]);
    if (receive(ends[1], &into, sizeof size) && (into.used != size || into.room < size))
        fail("received what was not sent", "receive");
    bytes_free(&into);
    close(ends[1]);
}

int LLVMFuzzerInitialize(int *count, char ***words)
{
    memory_make();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const ways[])(CK_ULONG) = {there_and_back, chance_request, chance_answer, chance_stream};
    CK_ULONG function;
    unsigned way;

    choices.next = data;
    choices.left = size;
    way = among(sizeof ways / sizeof ways[0]);
    function = among(FUNCTION_COUNT);
    ways[way](function);
    fuzz.calls++;
    fuzz_seen((unsigned)function, way);
    return 0;
}
