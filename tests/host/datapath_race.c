/* The data path and the gate without Python, for sanitizers: threads encrypt, wrap, unwrap, sign and digest while others end
 * grants, close and open sessions, take operations over, stop and start, close the gate. Arguments: seconds, and "forks"
 * to fork behind the closed gate, too. Prints "fine" and how many calls were served. */
#define _GNU_SOURCE
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

#include "native.h"

#include "datapath.c"
#include "gate.c"

enum { LONG_MS = 60000 };
enum { WORKERS = 4, SESSIONS = 6, TOKEN = 7, KEYS = 3 };
static atomic_int over, wrong;
static atomic_ulong done;
static int forks;
static unsigned long closings; /* no atomic one: what the gate keeps apart may be plain */
static atomic_ulong signatures;
static CK_BYTE key_bytes[32] = "an AES key, thirty-two bytes lon";

static void expect(int truth, const char *what)
{
    if (!truth && atomic_fetch_add(&wrong, 1) == 0)
        fprintf(stderr, "wrong: %s\n", what);
}

static struct terms terms_of(int family, CK_OBJECT_HANDLE key)
{
    struct terms terms = {.token = TOKEN, .key = key, .family = family, .mark = key, .lease_ms = 1000};

    switch (family) {
    case FAMILY_DIGEST:
        terms.method = METHOD_DIGEST;
        terms.mechanism = CKM_SHA256;
        terms.size = 32;
        strcpy(terms.algorithm, "SHA2-256");
        break;
    case FAMILY_SIGN:
        terms.method = METHOD_HMAC;
        terms.mechanism = CKM_SHA256_HMAC;
        terms.size = 32;
        strcpy(terms.algorithm, "SHA2-256");
        break;
    default:
        terms.method = METHOD_PADDED;
        terms.shape = SHAPE_VECTOR;
        terms.mechanism = CKM_AES_CBC_PAD;
        strcpy(terms.algorithm, "AES-256-CBC");
    }
    return terms;
}

/* What Python does on a miss: look, grant, and let C begin. */
static int begin(int family, CK_ULONG session, CK_OBJECT_HANDLE key, CK_MECHANISM *mechanism)
{
    struct terms terms = terms_of(family, key);
    struct parameter given = {.vector = mechanism->pParameter, .vector_bytes = mechanism->ulParameterLen};
    CK_ULONG seen = datapath_changes();

    if (datapath_init(family, session, mechanism, key) == CKR_OK)
        return 1;
    if (!datapath_claim(family, session))
        return 0;
    datapath_grant(seen, &terms, key_bytes, family == FAMILY_DIGEST ? 0 : sizeof key_bytes);
    return datapath_begin(family, session, key, mechanism->mechanism, &given);
}

static void crypt_once(CK_ULONG session, CK_OBJECT_HANDLE key)
{
    CK_BYTE vector[16] = {1}, text[40] = "forty bytes of text", sealed[64], opened[64];
    CK_MECHANISM mechanism = {CKM_AES_CBC_PAD, vector, sizeof vector};
    CK_ULONG sealed_bytes = sizeof sealed, opened_bytes = sizeof opened;

    if (!begin(FAMILY_ENCRYPT, session, key, &mechanism) ||
        datapath_crypt(FAMILY_ENCRYPT, STEP_ONCE, session, text, sizeof text, sealed, &sealed_bytes) != CKR_OK ||
        !begin(FAMILY_DECRYPT, session, key, &mechanism) ||
        datapath_crypt(FAMILY_DECRYPT, STEP_ONCE, session, sealed, sealed_bytes, opened, &opened_bytes) != CKR_OK)
        return;
    expect(opened_bytes == sizeof text && memcmp(opened, text, sizeof text) == 0, "another text");
    atomic_fetch_add(&done, 1);
}

static void sink(int family, CK_ULONG session, CK_OBJECT_HANDLE key)
{
    CK_MECHANISM mechanism = {family == FAMILY_DIGEST ? CKM_SHA256 : CKM_SHA256_HMAC, NULL, 0};
    CK_BYTE text[100] = "text", out[64];
    CK_ULONG out_bytes = sizeof out;

    if (!begin(family, session, key, &mechanism) || datapath_absorb(family, session, text, sizeof text) != CKR_OK)
        return;
    if (session % 2 == 0) { /* as for a dual function */
        struct context *taken = datapath_take(family, session);

        if (taken)
            expect(mac_update(taken, text, 1) == CKR_OK && mac_call(taken, NULL, 0, out, &out_bytes) == CKR_OK, "taken");
        context_free(taken);
        return;
    }
    if (datapath_squeeze(family, STEP_FINAL, session, NULL, 0, out, &out_bytes) == CKR_OK)
        atomic_fetch_add(&done, 1);
}

static void unwrap_once(CK_ULONG session, CK_OBJECT_HANDLE key, const CK_BYTE *wrapped, CK_ULONG n)
{
    struct terms terms = {.token = TOKEN, .key = key, .mechanism = CKM_AES_KEY_WRAP, .family = FAMILY_UNWRAP,
                          .method = METHOD_KEYWRAP, .mark = key, .lease_ms = 1000, .algorithm = "AES-256-ECB"};
    struct parameter none = {0};
    CK_BYTE out[WRAPPED_BYTES];
    int count;

    datapath_grant(datapath_changes(), &terms, key_bytes, sizeof key_bytes);
    count = datapath_unwrap(session, key, CKM_AES_KEY_WRAP, &none, wrapped, n, out);
    if (count < 0)
        return;
    expect(count == sizeof key_bytes && memcmp(out, key_bytes, sizeof key_bytes) == 0, "unwrapped otherwise");
    atomic_fetch_add(&done, 1);
}

/* Two keys of different marks, either of which may go meanwhile. */
static void wrap_once(CK_ULONG session, CK_OBJECT_HANDLE wrapping, CK_OBJECT_HANDLE key)
{
    static const CK_BYTE right[8] = {0x16, 0xe2, 0xc6, 0xa7, 0xb5, 0xe7, 0x8d, 0x34};
    struct terms terms = {.token = TOKEN, .key = wrapping, .mechanism = CKM_AES_KEY_WRAP, .family = FAMILY_WRAP,
                          .method = METHOD_KEYWRAP, .mark = wrapping, .lease_ms = 1000, .algorithm = "AES-256-ECB"};
    CK_MECHANISM mechanism = {CKM_AES_KEY_WRAP, NULL, 0};
    CK_ULONG seen = datapath_changes(), out_bytes = 40;
    CK_BYTE out[40];

    datapath_grant_wrap(seen, &terms, key_bytes, sizeof key_bytes, key, key, key_bytes, sizeof key_bytes);
    if (datapath_wrap(session, &mechanism, wrapping, key, out, &out_bytes) != CKR_OK)
        return;
    expect(out_bytes == sizeof out && memcmp(out, right, sizeof right) == 0, "wrapped otherwise");
    atomic_fetch_add(&done, 1);
    unwrap_once(session, wrapping, out, out_bytes);
}

/* A key on P-256 as PKCS #8; its 32 bytes are any number. OpenSSL's object of it is shared by all who sign. */
static void sign_pair(CK_ULONG session, CK_OBJECT_HANDLE key)
{
    static const CK_BYTE pkcs8[67] = {0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
                                      0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
                                      0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01, 0x01, 0x04, 0x20, 0x01};
    struct terms terms = {.token = TOKEN, .key = key, .mechanism = CKM_ECDSA, .family = FAMILY_SIGN,
                          .method = METHOD_ECDSA, .mark = key, .lease_ms = 1000, .one_part = 1};
    CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
    struct parameter none = {0};
    CK_ULONG seen = datapath_changes(), out_bytes = 64;
    CK_BYTE text[32] = "a hash", out[64];

    if (datapath_init(FAMILY_SIGN, session, &mechanism, key) != CKR_OK) {
        if (!datapath_claim(FAMILY_SIGN, session))
            return;
        datapath_grant(seen, &terms, pkcs8, sizeof pkcs8);
        if (!datapath_begin(FAMILY_SIGN, session, key, CKM_ECDSA, &none))
            return;
    }
    if (datapath_squeeze(FAMILY_SIGN, STEP_ONCE, session, text, sizeof text, out, &out_bytes) == CKR_OK)
        atomic_fetch_add(&signatures, 1);
}

static void *work(void *number)
{
    CK_ULONG at = (CK_ULONG)number;

    while (!atomic_load(&over)) {
        CK_ULONG session = at % SESSIONS + 1;
        CK_OBJECT_HANDLE key = at % KEYS + 100;
        CK_BYTE random[16];
        unsigned long seen;

        gate_go_in();
        seen = closings;
        crypt_once(session, key);
        wrap_once(session, key, (key + 1) % KEYS + 100);
        sink(FAMILY_SIGN, session, key);
        sign_pair(session, key);
        sink(FAMILY_DIGEST, session, CK_INVALID_HANDLE);
        datapath_random(session, random, sizeof random);
        expect(seen == closings, "the gate closed amid a call");
        gate_go_out();
        at += 5;
    }
    return NULL;
}

/* The child of a fork amid all this has no grants, and may begin anew. */
static void fork_once(void)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        datapath_after_fork_in_child();
        gate_after_fork_in_child();
        gate_go_in();
        expect(!present_epoch() && !session_lock(1), "a grant in a child");
        expect(datapath_start(), "start in a child");
        datapath_open(1, TOKEN);
        atomic_store(&done, 0);
        crypt_once(1, 100);
        expect(atomic_load(&done) == 1, "nothing served in a child");
        atomic_store(&signatures, 0);
        sign_pair(1, 100);
        expect(atomic_load(&signatures) == 1, "nothing signed in a child");
        gate_go_out();
        _exit(atomic_load(&wrong) != 0);
    }
    waitpid(child, &status, 0);
    expect(status == 0, "a child failed");
}

/* As a fork does, and two may. */
static void behind_the_gate(void)
{
    if (!gate_close(in_milliseconds(LONG_MS))) {
        expect(0, "the gate did not close");
        return;
    }
    closings++;
    if (forks && closings % 16 == 0)
        fork_once();
    gate_open();
}

static void *close_often(void *unused)
{
    while (!atomic_load(&over)) {
        behind_the_gate();
        usleep(500);
    }
    return unused;
}

/* A call that does not leave keeps the gate from closing, for as long as is waited; then it is as before. */
static void closing_has_a_limit(void)
{
    gate_go_in();
    expect(!gate_close(in_milliseconds(20)), "closed over a call");
    gate_go_out();
    gate_go_in(); /* does not wait: it is open */
    gate_go_out();
    expect(gate_close(in_milliseconds(LONG_MS)), "not closed with nobody inside");
    expect(!gate_close(in_milliseconds(20)), "closed twice");
    gate_open();
}

static void *disturb(void *unused)
{
    for (unsigned round = 0; !atomic_load(&over); round++) {
        CK_ULONG session = round % SESSIONS + 1;

        gate_go_in(); /* as every call: and gcc 12's AddressSanitizer loses a child whose parent allocates at the fork */
        datapath_end_key(round % KEYS + 100);
        if (round % 3 == 0)
            datapath_end_all();
        datapath_cancel(session, round % 2);
        datapath_open(session, TOKEN);
        if (round % 50 == 0) {
            datapath_stop();
            expect(datapath_start(), "start");
            for (CK_ULONG i = 1; i <= SESSIONS; i++)
                datapath_open(i, TOKEN);
        }
        datapath_served();
        gate_go_out();
        if (round % 10 == 0)
            behind_the_gate();
        usleep(300);
    }
    return unused;
}

int main(int count, char **arguments)
{
    double seconds = count > 1 ? atof(arguments[1]) : 1.0;
    pthread_t workers[WORKERS], others[2];

    libcrypto = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);
    if (!libcrypto || !datapath_start()) {
        printf("no libcrypto.so.3\n");
        return 5;
    }
    for (CK_ULONG i = 1; i <= SESSIONS; i++)
        datapath_open(i, TOKEN);
    crypt_once(1, 100);
    expect(atomic_load(&done) == 1, "nothing served");
    sign_pair(1, 100);
    expect(atomic_load(&signatures) == 1, "nothing signed");
    wrap_once(1, 100, 101);
    expect(atomic_load(&done) == 3, "nothing wrapped, or unwrapped");
    closing_has_a_limit();
    forks = count > 2;
    for (int i = 0; forks && i < 20; i++)
        fork_once();
    for (CK_ULONG i = 0; i < WORKERS; i++)
        pthread_create(&workers[i], NULL, work, (void *)i);
    pthread_create(&others[0], NULL, disturb, NULL);
    pthread_create(&others[1], NULL, close_often, NULL);
    usleep((useconds_t)(seconds * 1e6));
    atomic_store(&over, 1);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(workers[i], NULL);
    for (int i = 0; i < 2; i++)
        pthread_join(others[i], NULL);
    datapath_stop();
    printf("%s %lu\n", atomic_load(&wrong) ? "wrong" : "fine", (unsigned long)atomic_load(&done));
    return atomic_load(&wrong) != 0;
}
