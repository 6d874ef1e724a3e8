/* limited LIBRARY [memory]: encrypt, decrypt, sign and digest twice each, so that the second time is C's where it may be;
 * memory: in a process that may lock none.
 *
 * Prints what the calls answered, whether each second result was as the first, and whether memory could be locked. */
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "token.h"

static CK_BYTE text[40] = "forty bytes of text";

struct result {
    CK_BYTE sealed[64], opened[64], mac[32], digest[32];
    CK_ULONG sealed_bytes, opened_bytes, mac_bytes, digest_bytes;
};

static CK_RV mac_key(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *key)
{
    CK_ULONG class = CKO_SECRET_KEY, type = CKK_GENERIC_SECRET;
    CK_BYTE value[20] = "twenty bytes of key";
    CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class},
                               {CKA_KEY_TYPE, &type, sizeof type},
                               {CKA_SIGN, &yes, sizeof yes},
                               {CKA_VALUE, value, sizeof value}};

    return p11->C_CreateObject(session, template, 4, key);
}

static CK_RV all_of_it(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE cipher, CK_OBJECT_HANDLE mac, struct result *into)
{
    CK_BYTE vector[16] = {0};
    CK_MECHANISM cbc = {CKM_AES_CBC_PAD, vector, sizeof vector}, hmac = {CKM_SHA256_HMAC, NULL, 0},
                 sha = {CKM_SHA256, NULL, 0};
    CK_RV rv = begin_cbc(session, cipher);

    *into = (struct result){.sealed_bytes = 64, .opened_bytes = 64, .mac_bytes = 32, .digest_bytes = 32};
    rv = rv ? rv : p11->C_Encrypt(session, text, sizeof text, into->sealed, &into->sealed_bytes);
    rv = rv ? rv : p11->C_DecryptInit(session, &cbc, cipher);
    rv = rv ? rv : p11->C_Decrypt(session, into->sealed, into->sealed_bytes, into->opened, &into->opened_bytes);
    rv = rv ? rv : p11->C_SignInit(session, &hmac, mac);
    rv = rv ? rv : p11->C_Sign(session, text, sizeof text, into->mac, &into->mac_bytes);
    rv = rv ? rv : p11->C_DigestInit(session, &sha);
    return rv ? rv : p11->C_Digest(session, text, sizeof text, into->digest, &into->digest_bytes);
}

/* Root may lock what it likes. */
static void lock_no_memory(void)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2];
    struct rlimit none = {0, 0};

    setrlimit(RLIMIT_MEMLOCK, &none);
    if (syscall(SYS_capget, &head, sets) == 0) {
        sets[0].effective &= ~(1U << CAP_IPC_LOCK);
        sets[0].permitted &= ~(1U << CAP_IPC_LOCK);
        syscall(SYS_capset, &head, sets);
    }
}

int main(int count, char **words)
{
    static CK_BYTE page[4096];
    struct result first, second;
    CK_SESSION_HANDLE session = 0;
    CK_OBJECT_HANDLE cipher = 0, mac = 0;

    if (count > 2)
        lock_no_memory();
    printf("locks %d\n", mlock(page, sizeof page) == 0);
    p11 = load(words[1], RTLD_LAZY);
    show("initialize", p11->C_Initialize(NULL));
    show("session", open_session(&session));
    show("login", log_in(session));
    show("keys", find_or_make(session, "limited", &cipher) | mac_key(session, &mac));
    show("first", all_of_it(session, cipher, mac, &first));
    for (int i = 0; i < 3; i++)
        show("again", all_of_it(session, cipher, mac, &second));
    printf("same %d, opened %d\n", memcmp(&first, &second, sizeof first) == 0,
           second.opened_bytes == sizeof text && memcmp(second.opened, text, sizeof text) == 0);
    show("finalize", p11->C_Finalize(NULL));
    return 0;
}
