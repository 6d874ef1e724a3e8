/* What a target and the program that drives it (drive.c, or libFuzzer) share. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

struct fuzz {
    unsigned long calls; /* made by the target so far */
    int verbose;
    int strict; /* whether only answers that the standard lists are right */
    int news; /* the input under way showed something for the first time */
};
extern struct fuzz fuzz;

/* Tell that a function gave an answer: what does so for the first time is worth keeping. */
void fuzz_seen(unsigned function, unsigned long answer);

int LLVMFuzzerInitialize(int *count, char ***words);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
