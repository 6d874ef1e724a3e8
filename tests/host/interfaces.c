/* interfaces LIBRARY: every way to ask for a list of functions, before anything is started. */
#include "host.h"

static CK_RV (*get_interface)(CK_UTF8CHAR_PTR, CK_VERSION_PTR, CK_INTERFACE_PTR_PTR, CK_FLAGS);
static CK_RV (*get_list)(CK_INTERFACE_PTR, CK_ULONG_PTR);

static void ask(const char *name, int major, int minor, CK_FLAGS flags)
{
    CK_VERSION version = {major, minor}, *found;
    CK_INTERFACE_PTR interface = NULL;
    CK_RV rv = get_interface((CK_UTF8CHAR_PTR)name, major ? &version : NULL, &interface, flags);

    printf("%s %d.%d %lu: 0x%lx", name ? name : "NULL", major, minor, flags, rv);
    if (rv == CKR_OK) {
        found = interface->pFunctionList;
        printf(" %s %d.%d", interface->pInterfaceName, found->major, found->minor);
    }
    printf("\n");
}

int main(int count, char **words)
{
    CK_FUNCTION_LIST_PTR p11 = load(words[1], RTLD_NOW);
    CK_INTERFACE interfaces[8];
    CK_INTERFACE_PTR newest = NULL;
    CK_ULONG room = 0;
    int (*is_started)(void);

    *(void **)&get_interface = dlsym(library, "C_GetInterface");
    *(void **)&get_list = dlsym(library, "C_GetInterfaceList");
    *(void **)&is_started = dlsym(library, "Py_IsInitialized");
    show("no count", get_list(interfaces, NULL));
    show("count", get_list(NULL, &room));
    printf("%lu\n", room--);
    show("too small", get_list(interfaces, &room));
    printf("%lu\n", room);
    show("list", get_list(interfaces, &room));
    for (CK_ULONG i = 0; i < room; i++) {
        CK_VERSION *version = interfaces[i].pFunctionList;
        CK_FUNCTION_LIST *list = interfaces[i].pFunctionList; /* the beginning of each list is the same */
        printf("%s %d.%d %lu %d\n", interfaces[i].pInterfaceName, version->major, version->minor, interfaces[i].flags,
               memcmp(&list->C_Initialize, &p11->C_Initialize, sizeof *p11 - offsetof(CK_FUNCTION_LIST, C_Initialize)));
    }
    ask(NULL, 0, 0, 0);
    ask("PKCS 11", 0, 0, 0);
    for (int minor = 0; minor < 4; minor++)
        ask("PKCS 11", 3, minor, 0);
    ask(NULL, 2, 40, 0);
    ask(NULL, 2, 20, 0);
    ask("Vendor", 0, 0, 0);
    ask("PKCS 11", 3, 0, 1); /* CKF_INTERFACE_FORK_SAFE */
    show("nowhere", get_interface(NULL, NULL, NULL, 0));
    printf("python %d\n", is_started());
    get_interface(NULL, NULL, &newest, 0);
    CK_FUNCTION_LIST_3_2 *list = newest->pFunctionList;
    show("uninitialised", list->C_VerifySignatureFinal(1));
    show("initialize", list->C_Initialize(NULL));
    show("no session", list->C_GetSessionInfo(1, &(CK_SESSION_INFO){0}));
    show("finalize", list->C_Finalize(NULL));
    return 0;
}
