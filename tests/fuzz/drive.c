/* Drives a target where libFuzzer is not: TARGET LIBRARY SEED CALLS LAST_INPUT [KEEP|-] [INPUT ...].
 *
 * First the inputs named, then changed and mixed ones, until so many calls were made. Each input stands in the file
 * LAST_INPUT while it is tried, so that a crash leaves it there. What showed an answer of a function for the first time is
 * changed further and written to the folder KEEP. The same seed makes the same inputs. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"

enum { LONGEST_INPUT = 1024, INPUTS = 8192, SEEN = 1 << 16, LIMIT_S = 120 };

struct fuzz fuzz;

struct input {
    uint32_t size; /* as a file has it: only the bytes follow */
    uint8_t bytes[LONGEST_INPUT];
};
static struct input *kept[INPUTS];
static unsigned kept_count;
static uint8_t *last; /* the file LAST_INPUT: two bytes of size, then the input */
static uint64_t random_state;

/* splitmix64 */
static uint64_t chance(uint64_t below)
{
    uint64_t mixed = random_state += 0x9E3779B97F4A7C15u;

    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBu;
    return (mixed ^ (mixed >> 31)) % below;
}

void fuzz_seen(unsigned function, unsigned long answer)
{
    static uint8_t seen[SEEN];
    unsigned place = (unsigned)((function * 4099u + answer) % SEEN);

    fuzz.news |= !seen[place];
    seen[place] = 1;
}

static void keep(const struct input *input, const char *folder)
{
    char path[4096];
    FILE *file;

    if (kept_count == INPUTS)
        return;
    kept[kept_count] = malloc(sizeof *input);
    memcpy(kept[kept_count++], input, sizeof *input);
    if (!folder)
        return;
    snprintf(path, sizeof path, "%s/%05u", folder, kept_count);
    file = fopen(path, "we");
    if (file) {
        fwrite(input->bytes, 1, input->size, file);
        fclose(file);
    }
}

static void try(const struct input *input, const char *folder)
{
    memcpy(last, input->bytes, LONGEST_INPUT);
    last[LONGEST_INPUT] = input->size & 255;
    last[LONGEST_INPUT + 1] = (uint8_t)(input->size >> 8);
    fuzz.news = 0;
    alarm(LIMIT_S);
    LLVMFuzzerTestOneInput(input->bytes, input->size);
    alarm(0);
    if (fuzz.news)
        keep(input, folder);
}

static void read_input(const char *path, struct input *input)
{
    FILE *file = fopen(path, "re");

    memset(input, 0, sizeof *input);
    if (!file) {
        perror(path);
        exit(2);
    }
    input->size = (uint32_t)fread(input->bytes, 1, LONGEST_INPUT, file);
    fclose(file);
}

static void change(struct input *input)
{
    unsigned at = input->size ? (unsigned)chance(input->size) : 0;

    switch (chance(5)) {
    case 0:
    case 1: input->bytes[at] = (uint8_t)chance(256); break;
    case 2: input->bytes[at] ^= (uint8_t)(1u << chance(8)); break;
    case 3: /* one more */
        memmove(input->bytes + at + 1, input->bytes + at, LONGEST_INPUT - at - 1);
        input->size += input->size < LONGEST_INPUT;
        break;
    default: /* one less */
        memmove(input->bytes + at, input->bytes + at + 1, LONGEST_INPUT - at - 1);
        input->size -= input->size > 0;
    }
}

static void invent(struct input *input)
{
    input->size = 1 + (uint32_t)chance(LONGEST_INPUT);
    for (unsigned at = 0; at < input->size; at++)
        input->bytes[at] = (uint8_t)chance(256);
}

/* The beginning of one, then another. */
static void mix(struct input *input, const struct input *other)
{
    unsigned at = (unsigned)chance(input->size + 1), more = LONGEST_INPUT - at;

    if (more > other->size)
        more = other->size;
    memcpy(input->bytes + at, other->bytes, more);
    input->size = at + more;
}

static void next_input(struct input *input)
{
    if (!kept_count || chance(4) == 0) {
        invent(input);
        return;
    }
    *input = *kept[chance(kept_count)];
    if (chance(3) == 0)
        mix(input, kept[chance(kept_count)]);
    for (uint64_t times = 1 + chance(8); times > 0; times--)
        change(input);
}

static uint8_t *open_last(const char *path)
{
    int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    uint8_t *place;

    if (descriptor < 0 || ftruncate(descriptor, LONGEST_INPUT + 2) != 0)
        exit(2);
    place = mmap(NULL, LONGEST_INPUT + 2, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    return place == MAP_FAILED ? exit(2), NULL : place;
}

int main(int count, char **words)
{
    static struct input input;
    struct timespec before, after;
    const char *folder = count > 5 && strcmp(words[5], "-") != 0 ? words[5] : NULL;
    unsigned long wanted, tried = 0;

    if (count < 5)
        return 2;
    random_state = strtoul(words[2], NULL, 0);
    wanted = strtoul(words[3], NULL, 0);
    last = open_last(words[4]);
    fuzz.verbose = getenv("FUZZ_VERBOSE") != NULL;
    fuzz.strict = getenv("FUZZ_STRICT") != NULL;
    LLVMFuzzerInitialize(&count, &words);
    clock_gettime(CLOCK_MONOTONIC, &before);
    for (int i = 6; i < count; i++, tried++) {
        read_input(words[i], &input);
        try(&input, NULL);
    }
    for (; fuzz.calls < wanted; tried++) {
        next_input(&input);
        try(&input, folder);
    }
    clock_gettime(CLOCK_MONOTONIC, &after);
    double seconds = (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9;
    printf("%lu inputs, %lu calls in %.1f s: %.0f inputs and %.0f calls a second; %u kept\n", tried, fuzz.calls, seconds,
           (double)tried / seconds, (double)fuzz.calls / seconds, kept_count);
    return 0;
}
