/* addon: an addon of Node that uses the token of the library which ADDON_USES names, as soon as it is loaded; it needs
 * nothing of Node's but to be found. */
#include "token.h"

void *napi_register_module_v1(void *environment, void *exports);

void *napi_register_module_v1(void *environment, void *exports)
{
    p11 = load(getenv("ADDON_USES"), RTLD_LAZY);
    show("initialize", p11->C_Initialize(NULL));
    show("use", use());
    show("finalize", p11->C_Finalize(NULL));
    return exports;
}
