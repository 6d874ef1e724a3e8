/* quiet LIBRARY: a host that forbids the library threads of its own, and sees to it: whoever calls pthread_create() in
 * this process gets none, and is counted. Prints what C_Initialize says to each way to lock, then uses the token, with a
 * line read from stdin before each further use. */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "token.h"

static atomic_int asked_for;

/* The library's calls come here, for a program's own functions are found first. */
__attribute__((visibility("default"))) int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                                                          void *(*work)(void *), void *with)
{
    asked_for++;
    return EAGAIN;
}

static int tasks(void)
{
    DIR *folder = opendir("/proc/self/task");
    int count = -2; /* . and .. */

    while (folder && readdir(folder))
        count++;
    if (folder)
        closedir(folder);
    return count;
}

static CK_RV no_mutex(CK_VOID_PTR mutex)
{
    return CKR_GENERAL_ERROR;
}

static CK_RV no_new_mutex(CK_VOID_PTR_PTR mutex)
{
    return CKR_GENERAL_ERROR;
}

static CK_C_INITIALIZE_ARGS arguments(int some, int all, CK_FLAGS flags)
{
    CK_C_INITIALIZE_ARGS made = {.flags = flags};

    made.CreateMutex = some ? no_new_mutex : NULL;
    if (all) {
        made.DestroyMutex = no_mutex;
        made.LockMutex = no_mutex;
        made.UnlockMutex = no_mutex;
    }
    return made;
}

static void ways_to_lock(void)
{
    const CK_FLAGS system = CKF_OS_LOCKING_OK, quiet = CKF_LIBRARY_CANT_CREATE_OS_THREADS;
    CK_C_INITIALIZE_ARGS given[] = {
        arguments(0, 0, quiet),          arguments(0, 0, quiet | system), arguments(1, 1, quiet),
        arguments(1, 1, quiet | system), arguments(1, 0, quiet | system), arguments(0, 1, quiet),
    };

    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        if (show("way", p11->C_Initialize(&given[i])) == CKR_OK)
            p11->C_Finalize(NULL);
    }
}

int main(int count, char **words)
{
    CK_C_INITIALIZE_ARGS quiet = arguments(0, 0, CKF_LIBRARY_CANT_CREATE_OS_THREADS);
    char line[16];

    p11 = load(words[1], RTLD_NOW);
    ways_to_lock();
    show("initialize", p11->C_Initialize(&quiet));
    show("use", use());
    while (fgets(line, sizeof line, stdin))
        show("use", use());
    printf("tasks %d, asked for %d\n", tasks(), asked_for);
    show("finalize", p11->C_Finalize(NULL));
    return 0;
}
