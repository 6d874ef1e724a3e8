/* An engine for OpenSSL that calls the PKCS #11 library which the variable ENGINE_USES names as soon as OpenSSL reads
 * its configuration, and says on stderr what it was answered. OpenSSL's own declarations are not needed for it. */
#include <unistd.h>

#include "token.h"

unsigned long v_check(unsigned long version);
int bind_engine(void *engine, const char *id, const void *functions);

unsigned long v_check(unsigned long version)
{
    return version;
}

/* By the libcrypto that loaded us, which the program need not have made global. */
static int set(void *engine, const char *function, const char *text)
{
    void *crypto = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_NOLOAD);
    int (*call)(void *, const char *) = NULL;

    if (crypto)
        *(void **)&call = dlsym(crypto, function);
    return call && call(engine, text);
}

int bind_engine(void *engine, const char *id, const void *functions)
{
    CK_RV rv;

    p11 = load(getenv("ENGINE_USES"), RTLD_LAZY);
    rv = p11->C_Initialize(NULL);
    fprintf(stderr, "engine: initialize 0x%lx\n", rv);
    if (rv == CKR_OK) {
        fprintf(stderr, "engine: use 0x%lx\n", use());
        fprintf(stderr, "engine: finalize 0x%lx\n", p11->C_Finalize(NULL));
    }
    return set(engine, "ENGINE_set_id", "reentrant") && set(engine, "ENGINE_set_name", "calls a PKCS #11 library");
}
