/* The library under test: its functions by name and by number, and what the standard lets each answer (tables.h). */
#ifndef LIBRARY_H
#define LIBRARY_H

#include <dlfcn.h>

/* Of what crossing.c has, only the reading of lengths is used. */
static int worth_waiting(long *since)
{
    return 0;
}

static CK_FUNCTION_LIST_3_2 *p11;

#include "invoke.h"

static void open_library(const char *path)
{
    void *library = dlopen(path, RTLD_NOW);
    CK_RV (*get)(CK_UTF8CHAR_PTR, CK_VERSION_PTR, CK_INTERFACE_PTR_PTR, CK_FLAGS);
    CK_INTERFACE_PTR found;

    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        exit(2);
    }
    *(void **)&get = dlsym(library, "C_GetInterface");
    if (get(NULL, &(CK_VERSION){3, 2}, &found, 0) != CKR_OK)
        fail("not found", "interface 3.2");
    p11 = found->pFunctionList;
}

static void must(CK_RV rv, const char *what)
{
    char text[64];

    if (rv == CKR_OK)
        return;
    snprintf(text, sizeof text, "answered 0x%lx in the preparation", rv);
    fail(text, what);
}

static int is_listed(CK_ULONG function, CK_RV rv)
{
    const CK_ULONG *it = LISTED[function];

    while (*it != CKR_OK && *it != rv)
        it++;
    return *it == rv;
}

#endif
