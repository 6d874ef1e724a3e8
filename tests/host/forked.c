/* forked LIBRARY: use a token key, fork, use it in the child after C_Initialize and again in the parent. The first slot's
 * token opens with no PIN. */
#include <sys/wait.h>

#include "host.h"

static CK_FUNCTION_LIST_PTR p11;

/* Log in, make a key on the token when there is none of this label, find it and encrypt with it. */
static CK_RV use(void)
{
    CK_ULONG class = CKO_SECRET_KEY;
    CK_BBOOL yes = CK_TRUE;
    CK_ULONG key_bytes = 32, count = 1, length = 64;
    CK_ATTRIBUTE wanted[] = {
        {CKA_CLASS, &class, sizeof class},
        {CKA_LABEL, "forked", 6},
        {CKA_TOKEN, &yes, sizeof yes},
        {CKA_ENCRYPT, &yes, sizeof yes},
        {CKA_VALUE_LEN, &key_bytes, sizeof key_bytes},
    };
    CK_BYTE vector[16] = {0}, text[20] = "text", output[64];
    CK_MECHANISM generate = {CKM_AES_KEY_GEN, NULL, 0}, cipher = {CKM_AES_CBC_PAD, vector, sizeof vector};
    CK_SLOT_ID slot;
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE key;
    CK_RV rv = p11->C_GetSlotList(CK_TRUE, &slot, &count);

    if (rv == CKR_BUFFER_TOO_SMALL) {
        CK_SLOT_ID slots[8];

        count = 8;
        rv = p11->C_GetSlotList(CK_TRUE, slots, &count);
        slot = slots[0];
    }
    rv = rv ? rv : p11->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session);
    rv = rv ? rv : p11->C_Login(session, CKU_USER, NULL, 0);
    rv = rv ? rv : p11->C_FindObjectsInit(session, wanted, 3);
    rv = rv ? rv : p11->C_FindObjects(session, &key, 1, &count);
    rv = rv ? rv : p11->C_FindObjectsFinal(session);
    if (rv == CKR_OK && count == 0)
        rv = p11->C_GenerateKey(session, &generate, wanted, 5, &key);
    rv = rv ? rv : p11->C_EncryptInit(session, &cipher, key);
    rv = rv ? rv : p11->C_Encrypt(session, text, sizeof text, output, &length);
    rv = rv ? rv : p11->C_CloseSession(session);
    return rv;
}

int main(int count, char **words)
{
    CK_ULONG slots;
    CK_INFO info;
    int status;

    p11 = load(words[1], RTLD_LAZY);
    show("initialize", p11->C_Initialize(NULL));
    show("use", use());
    show("info", p11->C_GetInfo(&info));
    pid_t pid = fork();
    if (pid == 0) {
        show("child: info", p11->C_GetInfo(&info));
        show("child: slots", p11->C_GetSlotList(CK_FALSE, NULL, &slots));
        show("child: initialize", p11->C_Initialize(NULL));
        show("child: use", use());
        show("child: finalize", p11->C_Finalize(NULL));
        exit(0);
    }
    waitpid(pid, &status, 0);
    printf("child ended %d\n", status);
    show("use", use());
    show("finalize", p11->C_Finalize(NULL));
    show("initialize", p11->C_Initialize(NULL));
    show("use", use());
    return 0;
}
