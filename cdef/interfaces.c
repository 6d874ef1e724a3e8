/* The lists of functions that hosts find the library by. They answer without Python: loading or listing the library has
 * no effect on the process. CKF_INTERFACE_FORK_SAFE is never set: a forked child starts uninitialised. */
enum { INTERFACE_COUNT = sizeof interfaces / sizeof interfaces[0] };

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR ppFunctionList)
{
    if (!ppFunctionList)
        return CKR_ARGUMENTS_BAD;
    *ppFunctionList = &list_2_40;
    return CKR_OK;
}

CK_RV C_GetInterfaceList(CK_INTERFACE_PTR pInterfacesList, CK_ULONG_PTR pulCount)
{
    CK_ULONG room;

    if (!pulCount)
        return CKR_ARGUMENTS_BAD;
    room = *(LOOSE_ULONG *)pulCount;
    *(LOOSE_ULONG *)pulCount = INTERFACE_COUNT;
    if (!pInterfacesList)
        return CKR_OK;
    if (room < INTERFACE_COUNT)
        return CKR_BUFFER_TOO_SMALL;
    memcpy(pInterfacesList, interfaces, sizeof interfaces);
    return CKR_OK;
}

/* Each list begins with its version, and the shorter ones are the beginnings of the longer. */
static int is_wanted(const CK_INTERFACE *interface, const char *name, const CK_VERSION *version, CK_FLAGS flags)
{
    const CK_VERSION *has = interface->pFunctionList;

    return (!name || strcmp(name, (const char *)interface->pInterfaceName) == 0) &&
           (!version || (version->major == has->major && version->minor == has->minor)) &&
           (flags & interface->flags) == flags;
}

CK_RV C_GetInterface(CK_UTF8CHAR_PTR pInterfaceName, CK_VERSION_PTR pVersion, CK_INTERFACE_PTR_PTR ppInterface,
                     CK_FLAGS flags)
{
    if (!ppInterface)
        return CKR_ARGUMENTS_BAD;
    for (int i = 0; i < INTERFACE_COUNT; i++)
        if (is_wanted(&interfaces[i], (const char *)pInterfaceName, pVersion, flags)) {
            *ppInterface = &interfaces[i];
            return CKR_OK;
        }
    return CKR_ARGUMENTS_BAD;
}
