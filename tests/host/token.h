/* What hosts do with the first slot's token, which opens with no PIN: a key on it, sessions, encryption. */
#ifndef TOKEN_H
#define TOKEN_H

#include "host.h"

static CK_FUNCTION_LIST_PTR p11;

/* The first slot; others may follow it. */
static __attribute__((unused)) CK_RV first_slot(CK_SLOT_ID *slot)
{
    CK_SLOT_ID slots[8];
    CK_ULONG count = 8;
    CK_RV rv = p11->C_GetSlotList(CK_TRUE, slots, &count);

    *slot = rv == CKR_OK && count > 0 ? slots[0] : 0;
    return rv;
}

static __attribute__((unused)) CK_RV open_session(CK_SESSION_HANDLE *session)
{
    CK_SLOT_ID slot;
    CK_RV rv = first_slot(&slot);

    return rv ? rv : p11->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, session);
}

/* Who is logged in stays so. */
static __attribute__((unused)) CK_RV log_in(CK_SESSION_HANDLE session)
{
    CK_RV rv = p11->C_Login(session, CKU_USER, NULL, 0);

    return rv == CKR_USER_ALREADY_LOGGED_IN ? CKR_OK : rv;
}

/* The token's key of this label, made when there is none. */
static __attribute__((unused)) CK_RV find_or_make(CK_SESSION_HANDLE session, char *label, CK_OBJECT_HANDLE *key)
{
    CK_ULONG class = CKO_SECRET_KEY, key_bytes = 32, count = 0;
    CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE wanted[] = {
        {CKA_CLASS, &class, sizeof class}, {CKA_LABEL, label, strlen(label)},
        {CKA_TOKEN, &yes, sizeof yes},     {CKA_ENCRYPT, &yes, sizeof yes},
        {CKA_DECRYPT, &yes, sizeof yes},   {CKA_VALUE_LEN, &key_bytes, sizeof key_bytes},
    };
    CK_MECHANISM generate = {CKM_AES_KEY_GEN, NULL, 0};
    CK_RV rv = p11->C_FindObjectsInit(session, wanted, 3);

    rv = rv ? rv : p11->C_FindObjects(session, key, 1, &count);
    rv = rv ? rv : p11->C_FindObjectsFinal(session);
    if (rv == CKR_OK && count == 0)
        rv = p11->C_GenerateKey(session, &generate, wanted, 6, key);
    return rv;
}

static __attribute__((unused)) CK_RV begin_cbc(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key)
{
    CK_BYTE vector[16] = {0};
    CK_MECHANISM cipher = {CKM_AES_CBC_PAD, vector, sizeof vector};

    return p11->C_EncryptInit(session, &cipher, key);
}

/* All of a short life with a token: log in, find a key or make it, encrypt, close. */
static __attribute__((unused)) CK_RV use(void)
{
    CK_BYTE text[20] = "text", output[64];
    CK_ULONG length = sizeof output;
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE key;
    CK_RV rv = open_session(&session);

    rv = rv ? rv : log_in(session);
    rv = rv ? rv : find_or_make(session, "used", &key);
    rv = rv ? rv : begin_cbc(session, key);
    rv = rv ? rv : p11->C_Encrypt(session, text, sizeof text, output, &length);
    rv = rv ? rv : p11->C_CloseSession(session);
    return rv;
}

#endif
