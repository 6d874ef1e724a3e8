/* humble LIBRARY ID: give up root for the user of that number, as a server does, and only then start the library. */
#include "host.h"

int main(int count, char **words)
{
    CK_FUNCTION_LIST_PTR p11 = load(words[1], RTLD_LAZY);
    uid_t id = (uid_t)strtoul(words[2], NULL, 10);
    CK_ULONG slots = 0;

    if (setgid(id) != 0 || setuid(id) != 0 || setuid(0) == 0) {
        printf("still root\n");
        return 1;
    }
    printf("auxv %d\n", access("/proc/self/auxv", R_OK));
    show("initialize", p11->C_Initialize(NULL));
    show("slots", p11->C_GetSlotList(CK_FALSE, NULL, &slots));
    printf("count %lu\n", slots);
    show("finalize", p11->C_Finalize(NULL));
    return 0;
}
