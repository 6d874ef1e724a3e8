/* What every host program of the tests begins with. */
#ifndef HOST_H
#define HOST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkcs11t.h"
#include "function_list.h"

static void *library;

/* dlopen the library and return its function list; ends the program when there is none. */
static CK_FUNCTION_LIST_PTR load(const char *path, int flags)
{
    CK_RV (*get)(CK_FUNCTION_LIST_PTR_PTR);
    CK_FUNCTION_LIST_PTR list = NULL;

    library = dlopen(path, flags);
    if (!library) {
        printf("dlopen: %s\n", dlerror());
        exit(2);
    }
    *(void **)&get = dlsym(library, "C_GetFunctionList");
    if (!get || get(&list) != CKR_OK || !list) {
        printf("no function list\n");
        exit(3);
    }
    return list;
}

/* Print the answer of a call. */
static __attribute__((unused)) CK_RV show(const char *what, CK_RV rv)
{
    printf("%s 0x%lx\n", what, rv);
    fflush(stdout);
    return rv;
}

#endif
