/* Memory that ends where no page is, so that one byte too many ends the program; all of it is given back at once. */
#ifndef FUZZ_MEMORY_H
#define FUZZ_MEMORY_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, ROOM_PAGES = 5, BLOCKS = 768, LARGEST_BLOCK = ROOM_PAGES * PAGE };
static const unsigned char BEFORE = 0xA5;

struct block {
    unsigned char *start;
    size_t size, shift;
    unsigned char *copy; /* of input, which no function may change */
};

static struct {
    unsigned char *pages; /* for each block: ROOM_PAGES that may be used, one that may not */
    struct block blocks[BLOCKS];
    unsigned used;
} memory;

static unsigned char *last_page_end(unsigned index)
{
    return memory.pages + ((size_t)index * (ROOM_PAGES + 1) + ROOM_PAGES) * PAGE;
}

static void memory_make(void)
{
    size_t whole = (size_t)BLOCKS * (ROOM_PAGES + 1) * PAGE;

    memory.pages = mmap(NULL, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory.pages == MAP_FAILED)
        abort();
    for (unsigned i = 0; i < BLOCKS; i++)
        if (mprotect(last_page_end(i) - LARGEST_BLOCK, LARGEST_BLOCK, PROT_READ | PROT_WRITE) != 0)
            abort();
}

/* NULL where there are no more; with a shift, what follows the block is watched by memory_check() instead. */
static unsigned char *block(size_t size, size_t shift)
{
    struct block *it = &memory.blocks[memory.used];

    if (memory.used == BLOCKS || size + shift > LARGEST_BLOCK)
        return NULL;
    *it = (struct block){.start = last_page_end(memory.used) - size - shift, .size = size, .shift = shift};
    memset(it->start, 0, size);
    memset(it->start + size, BEFORE, shift);
    if (size + shift < LARGEST_BLOCK)
        it->start[-1] = BEFORE;
    memory.used++;
    return it->start;
}

/* From here on the newest block is input. */
static void block_is_input(void)
{
    struct block *it = &memory.blocks[memory.used - 1];

    it->copy = malloc(it->size + 1);
    memcpy(it->copy, it->start, it->size);
}

static void fail(const char *what, const char *of)
{
    fprintf(stderr, "fuzz: %s: %s\n", of, what);
    abort();
}

/* Look at what was lent, and take it back. */
static void memory_check(const char *caller)
{
    for (unsigned i = 0; i < memory.used; i++) {
        struct block *it = &memory.blocks[i];
        if (it->size + it->shift < LARGEST_BLOCK && it->start[-1] != BEFORE)
            fail("wrote before its memory", caller);
        for (size_t at = 0; at < it->shift; at++)
            if (it->start[it->size + at] != BEFORE)
                fail("wrote behind its memory", caller);
        if (it->copy && memcmp(it->copy, it->start, it->size) != 0)
            fail("changed its input", caller);
        free(it->copy);
        it->copy = NULL;
    }
    memory.used = 0;
}

#endif
