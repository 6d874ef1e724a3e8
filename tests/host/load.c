/* load LIBRARY [lazy|now] [global] [deepbind] [reload]: the whole life of the library in a plain C host. */
#include "host.h"

static void use(const char *path, int flags)
{
    CK_FUNCTION_LIST_PTR p11 = load(path, flags);
    CK_INFO info;
    CK_ULONG slots = 0;

    show("before", p11->C_GetInfo(&info));
    show("initialize", p11->C_Initialize(NULL));
    show("again", p11->C_Initialize(NULL));
    show("info", p11->C_GetInfo(&info));
    printf("cryptoki %d.%d\n", info.cryptokiVersion.major, info.cryptokiVersion.minor);
    show("slots", p11->C_GetSlotList(CK_FALSE, NULL, &slots));
    printf("count %lu\n", slots);
    show("finalize", p11->C_Finalize(NULL));
    show("after", p11->C_GetInfo(&info));
    show("initialize", p11->C_Initialize(NULL));
    show("info", p11->C_GetInfo(&info));
    show("finalize", p11->C_Finalize(NULL));
}

int main(int count, char **words)
{
    int flags = 0, times = 1;

    for (int i = 2; i < count; i++) {
        flags |= strcmp(words[i], "lazy") == 0 ? RTLD_LAZY : 0;
        flags |= strcmp(words[i], "now") == 0 ? RTLD_NOW : 0;
        flags |= strcmp(words[i], "global") == 0 ? RTLD_GLOBAL : 0;
        flags |= strcmp(words[i], "deepbind") == 0 ? RTLD_DEEPBIND : 0;
        times = strcmp(words[i], "reload") == 0 ? 3 : times;
    }
    for (int i = 0; i < times; i++) {
        use(words[1], flags);
        dlclose(library);
        printf("mapped %d\n", dlopen(words[1], RTLD_LAZY | RTLD_NOLOAD) != NULL);
    }
    printf("end\n");
    return 0;
}
