/* Bytes of the fuzzer's input as choices; when none are left, every choice is the first. */
#ifndef FUZZ_CHOICES_H
#define FUZZ_CHOICES_H

#include <stdint.h>
#include <string.h>

static struct {
    const uint8_t *next;
    size_t left;
} choices;

static unsigned char choice(void)
{
    if (choices.left == 0)
        return 0;
    choices.left--;
    return *choices.next++;
}

static unsigned among(unsigned count)
{
    unsigned high = count > 256 ? choice() : 0;

    return (high << 8 | choice()) % count;
}

/* One in so many. */
static int rarely(unsigned times)
{
    return choice() % times == times - 1;
}

static void choose_bytes(unsigned char *place, size_t size)
{
    for (size_t at = 0; at < size; at++)
        place[at] = choice();
}

/* Numbers at which something changes: sizes of keys, blocks, digests; and mistakes. */
static const unsigned long LENGTHS[] = {16, 32, 8, 0, 1, 12, 24, 20, 48, 64, 128, 256, 7, 9, 15, 17, 31, 33, 65, 100, 4, 2, 5, 255, 1000, 4096};
static const unsigned long NUMBERS[] = {0, 1, 2, 3, 4, 8, 12, 13, 16, 20, 24, 31, 32, 64, 96, 128, 160, 192, 256, 512, 1000, 1024, 2048};
static const unsigned long MISTAKES[] = {~0UL, 0xAAAAAAAAAAAAA000UL, ~0UL - 1, 1UL << 63, (1UL << 63) - 1, 1UL << 32, 1UL << 31, (1UL << 30) + 1};
#define OF(array) array[among(sizeof array / sizeof array[0])]

#endif
