/* together LIBRARY shared|finalize|close TIMES: threads that do the same at the same time.
 *
 * shared: four threads on one session, each encrypts and digests a text of its own: an answer is that text's or none.
 * finalize, close: eight threads use the token while C_Finalize, or C_CloseAllSessions, comes again and again.
 * Prints how many answers were of another code than such calls may have, of which some, and what was mixed up. */
#include "threads.h"
#include "token.h"

enum { SHARING = 4, WORKING = 8, TEXT = 300 };
static atomic_ulong answered, succeeded, mixed, wrong[8], wrong_count;
static atomic_int stop;
static CK_SESSION_HANDLE shared_session;
static CK_OBJECT_HANDLE key;
static int times;

/* Note an answer that is none of those that this moment allows; the list ends with CKR_OK. */
static CK_RV allow(CK_RV rv, const CK_RV *allowed)
{
    answered++;
    succeeded += rv == CKR_OK;
    while (*allowed != CKR_OK && *allowed != rv)
        allowed++;
    if (*allowed != rv)
        wrong[wrong_count++ % 8] = rv;
    return rv;
}

/* ---- one session ---- */

struct text {
    CK_BYTE clear[TEXT], encrypted[TEXT + 16], digest[32];
};

static const CK_RV crowded[] = {CKR_OPERATION_ACTIVE, CKR_OPERATION_NOT_INITIALIZED, CKR_OK};

static void encrypt(struct text *text, CK_SESSION_HANDLE session, int check)
{
    CK_BYTE output[TEXT + 16];
    CK_ULONG length = sizeof output;

    allow(begin_cbc(session, key), crowded);
    if (allow(p11->C_Encrypt(session, text->clear, TEXT, output, &length), crowded) != CKR_OK)
        return;
    if (!check)
        memcpy(text->encrypted, output, length);
    mixed += memcmp(text->encrypted, output, length) != 0;
}

static void digest(struct text *text, CK_SESSION_HANDLE session, int check)
{
    CK_MECHANISM mechanism = {CKM_SHA256, NULL, 0};
    CK_BYTE output[32];
    CK_ULONG length = sizeof output;

    allow(p11->C_DigestInit(session, &mechanism), crowded);
    if (allow(p11->C_Digest(session, text->clear, TEXT, output, &length), crowded) != CKR_OK)
        return;
    if (!check)
        memcpy(text->digest, output, length);
    mixed += memcmp(text->digest, output, length) != 0;
}

static void *share(void *number)
{
    struct text text;

    memset(text.clear, 'a' + *(int *)number, TEXT);
    CK_SESSION_HANDLE own;
    if (open_session(&own) != CKR_OK)
        _exit(6);
    encrypt(&text, own, 0);
    digest(&text, own, 0);
    for (int i = 0; i < times; i++) {
        encrypt(&text, shared_session, 1);
        digest(&text, shared_session, 1);
    }
    return NULL;
}

static void shared(void)
{
    struct running *threads[SHARING];
    int numbers[SHARING];

    for (int i = 0; i < SHARING; i++) {
        numbers[i] = i;
        threads[i] = begin(share, &numbers[i]);
    }
    for (int i = 0; i < SHARING; i++)
        join(threads[i]);
}

/* ---- the end, amid calls ---- */

static const CK_RV ending[] = {
    CKR_CRYPTOKI_NOT_INITIALIZED, CKR_SESSION_HANDLE_INVALID, CKR_SESSION_CLOSED,    CKR_KEY_HANDLE_INVALID,
    CKR_OBJECT_HANDLE_INVALID,    CKR_USER_NOT_LOGGED_IN,     CKR_OPERATION_NOT_INITIALIZED, CKR_OK,
};

static CK_BYTE text[TEXT] = {1}, expected[TEXT + 16];

static void *work(void *unused)
{
    CK_BYTE output[TEXT + 16];

    while (!stop) {
        CK_SESSION_HANDLE session = 0;
        CK_OBJECT_HANDLE found = 0;
        CK_ULONG length = sizeof output;

        allow(open_session(&session), ending);
        allow(log_in(session), ending);
        allow(find_or_make(session, "together", &found), ending);
        allow(begin_cbc(session, found), ending);
        if (allow(p11->C_Encrypt(session, text, TEXT, output, &length), ending) == CKR_OK)
            mixed += memcmp(output, expected, length) != 0;
        allow(p11->C_CloseSession(session), ending);
    }
    return NULL;
}

static void interrupted(int finalize)
{
    struct running *threads[WORKING];
    CK_SLOT_ID slot;
    CK_ULONG length = sizeof expected;

    if (first_slot(&slot) != CKR_OK || begin_cbc(shared_session, key) != CKR_OK ||
        p11->C_Encrypt(shared_session, text, TEXT, expected, &length) != CKR_OK)
        _exit(7);
    for (int i = 0; i < WORKING; i++)
        threads[i] = begin(work, NULL);
    for (int i = 0; i < times; i++) {
        unsigned long before = answered;
        while (answered < before + 40) /* of the calls under way, some succeed */
            usleep(500);
        if (finalize && (p11->C_Finalize(NULL) != CKR_OK || p11->C_Initialize(NULL) != CKR_OK))
            _exit(8);
        if (!finalize && p11->C_CloseAllSessions(slot) != CKR_OK)
            _exit(9);
    }
    stop = 1;
    for (int i = 0; i < WORKING; i++)
        join(threads[i]);
}

int main(int count, char **words)
{
    times = atoi(words[3]);
    p11 = load(words[1], RTLD_LAZY);
    show("initialize", p11->C_Initialize(NULL));
    show("session", open_session(&shared_session));
    show("login", log_in(shared_session));
    show("key", find_or_make(shared_session, "together", &key));
    if (strcmp(words[2], "shared") == 0)
        shared();
    else
        interrupted(strcmp(words[2], "finalize") == 0);
    printf("wrong %lu", (unsigned long)wrong_count);
    for (unsigned long i = 0; i < wrong_count && i < 8; i++)
        printf(" 0x%lx", (unsigned long)wrong[i]);
    printf("\nmixed up %lu\nsome succeeded %d\n", (unsigned long)mixed, succeeded > 100);
    show("finalize", p11->C_Finalize(NULL));
    return 0;
}
