/* start LIBRARY TOKEN PIN: what a host waits for, from dlopen to its first operations, then what a call costs.
 *
 * PIN "-" logs in with NULL. Prints one figure a line: its name, a number, its unit. Any failed call ends it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pkcs11t.h"
#include "function_list.h"

static CK_FUNCTION_LIST_PTR p11;

static double now_ms(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e3 + time.tv_nsec * 1e-6;
}

static long resident_kb(void)
{
    long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    if (!file || fscanf(file, "%ld %ld", &size, &resident) != 2)
        exit(1);
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void must(const char *what, CK_RV rv)
{
    if (rv == CKR_OK)
        return;
    fprintf(stderr, "%s: 0x%lx\n", what, rv);
    exit(1);
}

/* Time one call and print it. */
#define TIMED(name, call)                                        \
    do {                                                         \
        double before = now_ms();                                \
        must(name, call);                                        \
        printf("%s %.3f ms\n", name, now_ms() - before);         \
    } while (0)

/* Print the mean of many calls. */
#define REPEATED(name, times, call)                                        \
    do {                                                                   \
        double before = now_ms();                                          \
        for (int i = 0; i < (times); i++)                                  \
            must(name, call);                                              \
        printf("%s %.3f us\n", name, (now_ms() - before) * 1e3 / (times)); \
    } while (0)

static void load(const char *path)
{
    CK_RV (*get)(CK_FUNCTION_LIST_PTR_PTR);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    *(void **)&get = dlsym(library, "C_GetFunctionList");
    must("C_GetFunctionList", get(&p11));
}

static CK_SLOT_ID slot_of(const char *label)
{
    CK_SLOT_ID slots[64];
    CK_ULONG count = 64;
    CK_TOKEN_INFO info;

    must("C_GetSlotList", p11->C_GetSlotList(CK_TRUE, slots, &count));
    for (CK_ULONG i = 0; i < count; i++)
        if (p11->C_GetTokenInfo(slots[i], &info) == CKR_OK && memcmp(info.label, label, strlen(label)) == 0)
            return slots[i];
    fprintf(stderr, "no token %s\n", label);
    exit(1);
}

static CK_OBJECT_HANDLE new_key(CK_SESSION_HANDLE session)
{
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ULONG length = 32;
    CK_ATTRIBUTE template[] = {
        {CKA_TOKEN, &no, 1},       {CKA_VALUE_LEN, &length, sizeof length}, {CKA_ENCRYPT, &yes, 1},
        {CKA_WRAP, &yes, 1},       {CKA_UNWRAP, &yes, 1},                   {CKA_EXTRACTABLE, &yes, 1},
        {CKA_SENSITIVE, &no, 1},
    };
    CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
    CK_OBJECT_HANDLE key = 0;

    must("C_GenerateKey", p11->C_GenerateKey(session, &mechanism, template, 7, &key));
    return key;
}

static CK_RV unwrap(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE with, CK_BYTE_PTR wrapped, CK_ULONG length)
{
    CK_BBOOL no = CK_FALSE;
    CK_ULONG class = CKO_SECRET_KEY, type = CKK_AES;
    CK_ATTRIBUTE template[] = {
        {CKA_CLASS, &class, sizeof class}, {CKA_KEY_TYPE, &type, sizeof type}, {CKA_TOKEN, &no, 1}};
    CK_MECHANISM mechanism = {CKM_AES_KEY_WRAP, NULL, 0};
    CK_OBJECT_HANDLE key = 0;

    return p11->C_UnwrapKey(session, &mechanism, with, wrapped, length, template, 3, &key);
}

static CK_RV encrypt(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key, CK_BYTE_PTR text, CK_ULONG length, CK_BYTE_PTR to)
{
    CK_BYTE iv[16] = {0};
    CK_MECHANISM mechanism = {CKM_AES_CBC_PAD, iv, sizeof iv};
    CK_ULONG room = length + 16;
    CK_RV rv = p11->C_EncryptInit(session, &mechanism, key);

    return rv ? rv : p11->C_Encrypt(session, text, length, to, &room);
}

static void operate(CK_SESSION_HANDLE session)
{
    enum { BIG = 1 << 20 };
    static CK_BYTE text[BIG], output[BIG + 16];
    CK_MECHANISM wrap = {CKM_AES_KEY_WRAP, NULL, 0};
    CK_BYTE wrapped[64], random[32];
    CK_ULONG length = sizeof wrapped;
    CK_SESSION_INFO info;
    CK_OBJECT_HANDLE kek = new_key(session), key = new_key(session);

    TIMED("first wrap", p11->C_WrapKey(session, &wrap, kek, key, wrapped, &length));
    TIMED("first unwrap", unwrap(session, kek, wrapped, length));
    TIMED("second unwrap", unwrap(session, kek, wrapped, length));
    TIMED("first encryption", encrypt(session, key, text, 32, output));
    printf("growth after first operations %ld kB\n", resident_kb());
    REPEATED("session info", 20000, p11->C_GetSessionInfo(session, &info));
    REPEATED("random 32 B", 5000, p11->C_GenerateRandom(session, random, sizeof random));
    REPEATED("CBC-PAD 32 B", 5000, encrypt(session, key, text, 32, output));
    REPEATED("CBC-PAD 1 MiB", 10, encrypt(session, key, text, BIG, output));
}

int main(int count, char **words)
{
    CK_SESSION_HANDLE session = 0;
    int no_pin;
    long before;

    if (count != 4)
        return 2;
    no_pin = strcmp(words[3], "-") == 0;
    before = resident_kb();
    printf("growth before %ld kB\n", before);
    double loading = now_ms();
    load(words[1]);
    printf("dlopen %.3f ms\n", now_ms() - loading);
    TIMED("C_Initialize", p11->C_Initialize(NULL));
    printf("growth after C_Initialize %ld kB\n", resident_kb());
    CK_SLOT_ID slot = slot_of(words[2]);
    CK_FLAGS flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
    must("C_OpenSession", p11->C_OpenSession(slot, flags, NULL, NULL, &session));
    TIMED("first login", p11->C_Login(session, CKU_USER, no_pin ? NULL : (CK_BYTE_PTR)words[3],
                                      no_pin ? 0 : strlen(words[3])));
    operate(session);
    TIMED("C_Finalize", p11->C_Finalize(NULL));
    return 0;
}
