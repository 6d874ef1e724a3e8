/* races LIBRARY TIMES SCENARIO ...: four threads use keys by calls that the data path serves in C, while the first thread
 * takes from them what they use, and gives it back, TIMES times. The first slot's token opens with no PIN.
 *
 * Prints a line for each scenario: how many changes and calls there were, how many calls did not succeed, how many answers
 * were none that this moment allows (see phases.h), and how many results were not the right one. */
#include <sys/wait.h>

#include "phases.h"

enum { WORKERS = 4, SESSIONS = 4, AGAIN = 3, TEXT = 300, PART = 100, MOST = 512, LABEL = 40 };
enum key { AES, HMAC, RSA, EC, EC_PUBLIC, PLAIN, KEYS, KEYLESS, COPIED = EC_PUBLIC };

static CK_OBJECT_HANDLE originals[COPIED]; /* of those that are destroyed */
static _Atomic CK_OBJECT_HANDLE keys[KEYS];
static CK_SESSION_HANDLE own; /* of the first thread */
static CK_SLOT_ID slot;
static struct worker workers[WORKERS][SESSIONS]; /* one for each session of a thread: C keeps four keys in each */
static atomic_ulong mixed;
static atomic_int stop;

/* ---- operations ---- */

struct result {
    CK_BYTE bytes[MOST];
    CK_ULONG count;
};

struct operation {
    const char *name;
    CK_RV (*work)(struct worker *, struct operation *, struct result *);
    enum key key;
    CK_ATTRIBUTE_TYPE permission;
    CK_MECHANISM mechanism;
    struct result *input;
    struct result *right; /* the only right output, if there is one; learnt from the first */
};

/* The functions of encryption, or of decryption. */
struct cipher {
    __typeof__(p11->C_EncryptInit) init;
    __typeof__(p11->C_Encrypt) once;
    __typeof__(p11->C_EncryptUpdate) update;
    __typeof__(p11->C_EncryptFinal) final;
};

static struct cipher cipher_of(const struct operation *operation)
{
    if (operation->permission == CKA_ENCRYPT)
        return (struct cipher){p11->C_EncryptInit, p11->C_Encrypt, p11->C_EncryptUpdate, p11->C_EncryptFinal};
    return (struct cipher){p11->C_DecryptInit, p11->C_Decrypt, p11->C_DecryptUpdate, p11->C_DecryptFinal};
}

static CK_RV crypt_once(struct worker *by, struct operation *it, struct result *out)
{
    struct cipher use = cipher_of(it);
    CK_RV rv = ASK(by, BEGIN, it->name, use.init(by->session, &it->mechanism, keys[it->key]));

    out->count = MOST;
    return rv ? rv
              : ASK(by, GO_ON, it->name, use.once(by->session, it->input->bytes, it->input->count, out->bytes, &out->count));
}

static CK_RV crypt_in_parts(struct worker *by, struct operation *it, struct result *out)
{
    struct cipher use = cipher_of(it);
    CK_BYTE *in = it->input->bytes;
    CK_ULONG more = MOST;
    CK_RV rv = ASK(by, BEGIN, it->name, use.init(by->session, &it->mechanism, keys[it->key]));

    out->count = 0;
    for (CK_ULONG done = 0, part; rv == CKR_OK && done < it->input->count; done += part, out->count += more) {
        part = it->input->count - done < PART ? it->input->count - done : PART;
        more = MOST - out->count;
        rv = ASK(by, GO_ON, it->name, use.update(by->session, in + done, part, out->bytes + out->count, &more));
    }
    more = MOST - out->count;
    rv = rv ? rv : ASK(by, GO_ON, it->name, use.final(by->session, out->bytes + out->count, &more));
    out->count += more;
    return rv;
}

static CK_RV digest(struct worker *by, struct operation *it, struct result *out)
{
    CK_RV rv = ASK(by, BEGIN, it->name, p11->C_DigestInit(by->session, &it->mechanism));

    out->count = MOST;
    return rv ? rv
              : ASK(by, GO_ON, it->name, p11->C_Digest(by->session, it->input->bytes, TEXT, out->bytes, &out->count));
}

static CK_RV sign(struct worker *by, struct operation *it, struct result *out)
{
    CK_RV rv = ASK(by, BEGIN, it->name, p11->C_SignInit(by->session, &it->mechanism, keys[it->key]));

    out->count = MOST;
    return rv ? rv : ASK(by, GO_ON, it->name, p11->C_Sign(by->session, it->input->bytes, TEXT, out->bytes, &out->count));
}

static struct operation verifying = {"ecdsa verify", NULL, EC_PUBLIC, CKA_VERIFY, {CKM_ECDSA_SHA256, NULL, 0}};

/* The right signatures are many: this one is asked of the public key. */
static CK_RV sign_and_verify(struct worker *by, struct operation *it, struct result *out)
{
    CK_RV rv = sign(by, it, out);

    by->operation = &verifying;
    rv = rv ? rv : ASK(by, BEGIN, "ecdsa verify", p11->C_VerifyInit(by->session, &it->mechanism, keys[EC_PUBLIC]));
    return rv ? rv
              : ASK(by, GO_ON, "ecdsa verify", p11->C_Verify(by->session, it->input->bytes, TEXT, out->bytes, out->count));
}

static CK_RV wrap(struct worker *by, struct operation *it, struct result *out)
{
    out->count = MOST;
    return ASK(by, BEGIN, it->name,
               p11->C_WrapKey(by->session, &it->mechanism, keys[AES], keys[PLAIN], out->bytes, &out->count));
}

static CK_BYTE vector[16] = "a vector of ours";
static CK_GCM_PARAMS gcm = {vector, 12, 96, vector, 16, 128};
static struct result text = {{1, 2, 3}, TEXT}, by_cbc, by_gcm, hmac, sha256, by_rsa, wrapped;

static struct operation operations[] = {
    {"cbc encrypt", crypt_once, AES, CKA_ENCRYPT, {CKM_AES_CBC_PAD, vector, 16}, &text, &by_cbc},
    {"cbc encrypt in parts", crypt_in_parts, AES, CKA_ENCRYPT, {CKM_AES_CBC_PAD, vector, 16}, &text, &by_cbc},
    {"cbc decrypt", crypt_once, AES, CKA_DECRYPT, {CKM_AES_CBC_PAD, vector, 16}, &by_cbc, &text},
    {"cbc decrypt in parts", crypt_in_parts, AES, CKA_DECRYPT, {CKM_AES_CBC_PAD, vector, 16}, &by_cbc, &text},
    {"gcm encrypt", crypt_once, AES, CKA_ENCRYPT, {CKM_AES_GCM, &gcm, sizeof gcm}, &text, &by_gcm},
    {"gcm decrypt", crypt_once, AES, CKA_DECRYPT, {CKM_AES_GCM, &gcm, sizeof gcm}, &by_gcm, &text},
    {"hmac", sign, HMAC, CKA_SIGN, {CKM_SHA256_HMAC, NULL, 0}, &text, &hmac},
    {"sha256", digest, KEYLESS, 0, {CKM_SHA256, NULL, 0}, &text, &sha256},
    {"rsa", sign, RSA, CKA_SIGN, {CKM_SHA256_RSA_PKCS, NULL, 0}, &text, &by_rsa},
    {"ecdsa", sign_and_verify, EC, CKA_SIGN, {CKM_ECDSA_SHA256, NULL, 0}, &text, NULL},
    {"wrap", wrap, AES, CKA_WRAP, {CKM_AES_KEY_WRAP, NULL, 0}, &text, &wrapped},
};
enum { OPERATIONS = sizeof operations / sizeof *operations };

static CK_RV operate(struct worker *by, struct operation *it)
{
    struct result out;
    CK_RV rv;

    by->operation = it;
    rv = it->work(by, it, &out);
    if (rv != CKR_OK || !it->right)
        return rv;
    if (!it->right->count)
        *it->right = out;
    mixed += out.count != it->right->count || memcmp(out.bytes, it->right->bytes, out.count) != 0;
    return rv;
}

/* Open a session in place of one that was closed; while the library is finalised there is none. */
static void open_anew(struct worker *by)
{
    CK_SESSION_HANDLE session;
    struct span opened = {phase, 0};
    CK_RV rv = open_session(&session);

    opened.to = phase;
    if (rv == CKR_OK) {
        by->session = session;
        by->opened = opened;
    } else if (rv != CKR_CRYPTOKI_NOT_INITIALIZED || (opened.from == opened.to && opened.to % PHASES == OPEN)) {
        note_wrong("open session", rv, opened, opened);
    }
}

static void *work(void *sessions)
{
    struct worker *first = sessions;

    while (!stop) {
        for (int i = 0; i < OPERATIONS * AGAIN; i++) {
            struct worker *by = &first[i / AGAIN % SESSIONS];
            CK_RV rv = operate(by, &operations[i / AGAIN]);

            if (rv == CKR_SESSION_HANDLE_INVALID || rv == CKR_CRYPTOKI_NOT_INITIALIZED)
                open_anew(by);
        }
        first->rounds++;
        usleep(500); /* this machine may be the key manager's too */
    }
    return NULL;
}

/* ---- keys ---- */

static void must(const char *what, CK_RV rv)
{
    if (rv == CKR_OK)
        return;
    show(what, rv);
    _exit(7);
}

static pid_t run_by; /* the key manager may have keys of other runs */

static char *label(const char *kind, int key)
{
    static char made[LABEL]; /* for the first thread */

    snprintf(made, sizeof made, "%s %d of %d", kind, key, (int)run_by);
    return made;
}

static CK_OBJECT_HANDLE find(const char *kind, int key)
{
    CK_ATTRIBUTE wanted = {CKA_LABEL, label(kind, key), strlen(label(kind, key))};
    CK_OBJECT_HANDLE found = 0;
    CK_ULONG count = 0;

    must("find", p11->C_FindObjectsInit(own, &wanted, 1));
    must("find", p11->C_FindObjects(own, &found, 1, &count));
    must("find", p11->C_FindObjectsFinal(own));
    return found;
}

static void find_all(void)
{
    for (int i = 0; i < COPIED; i++)
        originals[i] = find("original", i);
    for (int i = 0; i < KEYS; i++)
        keys[i] = find("key", i);
}

static void copy_all(void)
{
    for (int i = 0; i < COPIED; i++) {
        CK_ATTRIBUTE changed = {CKA_LABEL, label("key", i), strlen(label("key", i))};
        CK_OBJECT_HANDLE copy;

        must("copy", p11->C_CopyObject(own, originals[i], &changed, 1, &copy));
        keys[i] = copy;
    }
}

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

static void make_secret(const char *kind, enum key key, CK_MECHANISM_TYPE how)
{
    CK_MECHANISM mechanism = {how, NULL, 0};
    CK_ULONG key_bytes = 32;
    CK_OBJECT_HANDLE made;
    CK_ATTRIBUTE wanted[] = {
        {CKA_LABEL, label(kind, key), strlen(label(kind, key))},
        {CKA_TOKEN, &yes, 1},   {CKA_ENCRYPT, &yes, 1}, {CKA_DECRYPT, &yes, 1},
        {CKA_SIGN, &yes, 1},    {CKA_WRAP, &yes, 1},    {CKA_VALUE_LEN, &key_bytes, sizeof key_bytes},
    };

    must(kind, p11->C_GenerateKey(own, &mechanism, wanted, 7, &made));
}

static void make_pair(enum key key, const char *public_kind, CK_MECHANISM_TYPE how, CK_ATTRIBUTE size)
{
    CK_MECHANISM mechanism = {how, NULL, 0};
    CK_OBJECT_HANDLE made[2];
    char private_label[LABEL];
    CK_ULONG private_bytes = strlen(strcpy(private_label, label("original", key)));
    CK_ATTRIBUTE public[] = {{CKA_LABEL, label(public_kind, EC_PUBLIC), strlen(label(public_kind, EC_PUBLIC))},
                             {CKA_TOKEN, &yes, 1},
                             {CKA_PRIVATE, &yes, 1},
                             {CKA_VERIFY, &yes, 1},
                             size};
    CK_ATTRIBUTE private[] = {{CKA_LABEL, private_label, private_bytes}, {CKA_TOKEN, &yes, 1}, {CKA_SIGN, &yes, 1}};

    must("pair", p11->C_GenerateKeyPair(own, &mechanism, public, 5, private, 3, &made[0], &made[1]));
}

static void make_all(void)
{
    static CK_BYTE p256[] = {6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7};
    static CK_ULONG bits = 1024;

    make_secret("original", AES, CKM_AES_KEY_GEN);
    make_secret("original", HMAC, CKM_GENERIC_SECRET_KEY_GEN);
    make_secret("key", PLAIN, CKM_AES_KEY_GEN);
    make_pair(RSA, "beside", CKM_RSA_PKCS_KEY_PAIR_GEN, (CK_ATTRIBUTE){CKA_MODULUS_BITS, &bits, sizeof bits});
    make_pair(EC, "key", CKM_EC_KEY_PAIR_GEN, (CK_ATTRIBUTE){CKA_EC_PARAMS, p256, sizeof p256});
    find_all();
    copy_all();
    find_all();
}

/* ---- changes ---- */

static int takes_nothing(const struct operation *operation)
{
    return 0;
}

static int takes_keys(const struct operation *operation)
{
    return operation->key != KEYLESS;
}

static int takes_copies(const struct operation *operation)
{
    return operation->key < COPIED;
}

static int takes_permission(const struct operation *operation)
{
    CK_ATTRIBUTE_TYPE permission = operation->permission;

    return permission == CKA_ENCRYPT || permission == CKA_SIGN || permission == CKA_WRAP;
}

static void log_out(void)
{
    must("logout", p11->C_Logout(own));
}

static void log_in_again(void)
{
    must("login", p11->C_Login(own, CKU_USER, NULL, 0));
    find_all();
}

static void destroy(void)
{
    for (int i = 0; i < COPIED; i++)
        must("destroy", p11->C_DestroyObject(own, keys[i]));
}

static void set_permissions(CK_BBOOL *value)
{
    CK_ATTRIBUTE of_cipher[] = {{CKA_ENCRYPT, value, 1}, {CKA_WRAP, value, 1}}, of_signing = {CKA_SIGN, value, 1};

    must("set", p11->C_SetAttributeValue(own, keys[AES], of_cipher, 2));
    for (int i = HMAC; i < COPIED; i++)
        must("set", p11->C_SetAttributeValue(own, keys[i], &of_signing, 1));
}

static void forbid(void)
{
    set_permissions(&no);
}

static void permit(void)
{
    set_permissions(&yes);
}

static void close_all(void)
{
    must("close", p11->C_CloseAllSessions(slot));
}

static void open_and_log_in(void)
{
    must("open", open_session(&own));
    log_in_again();
}

static void finalize(void)
{
    must("finalize", p11->C_Finalize(NULL));
}

static void start(void)
{
    must("initialize", p11->C_Initialize(NULL));
    open_and_log_in();
}

/* What a child does; returns its exit code. */
static int live(void)
{
    CK_ULONG more = MOST;
    CK_BYTE out[MOST];

    if (begin_cbc(own, keys[AES]) != CKR_CRYPTOKI_NOT_INITIALIZED ||
        p11->C_Encrypt(own, text.bytes, TEXT, out, &more) != CKR_CRYPTOKI_NOT_INITIALIZED)
        return 1;
    start();
    struct worker child = {own};
    for (int i = 0; i < OPERATIONS; i++)
        if (operate(&child, &operations[i]) != CKR_OK)
            return 2;
    return mixed || wrong ? 3 : p11->C_Finalize(NULL) == CKR_OK ? 0 : 4;
}

static double seconds_left(void)
{
    const char *limit = getenv("HOST_LIMIT_S");

    return now() + (limit ? atof(limit) : 50);
}

static void fork_child(void)
{
    double until = seconds_left();
    pid_t pid = fork();
    int status;

    if (pid == 0)
        _exit(live());
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (now() > until) {
            kill(pid, SIGKILL);
            must("child hangs", CKR_GENERAL_ERROR);
        }
        usleep(1000);
    }
    must("child", (CK_RV)status);
}

static void nothing(void)
{
}

#define UNKNOWN_KEY CKR_KEY_HANDLE_INVALID, CKR_WRAPPING_KEY_HANDLE_INVALID
static const struct scenario scenarios[] = {
    {"logout", log_out, log_in_again, takes_keys, 1, 0, {UNKNOWN_KEY, CKR_USER_NOT_LOGGED_IN}},
    {"destroy", destroy, copy_all, takes_copies, 0, 0, {UNKNOWN_KEY}},
    {"attribute", forbid, permit, takes_permission, 0, 0, {CKR_KEY_FUNCTION_NOT_PERMITTED}},
    {"close", close_all, open_and_log_in, takes_keys, 1, 1, {UNKNOWN_KEY, CKR_USER_NOT_LOGGED_IN}},
    {"finalize", finalize, start, takes_keys, 1, 1, {UNKNOWN_KEY, CKR_USER_NOT_LOGGED_IN}},
    {"fork", fork_child, nothing, takes_nothing, 0, 0, {0}},
};

/* ---- the race ---- */

/* Every worker has made a round, all of it in the present phase. */
static void await_rounds(void)
{
    double until = seconds_left();

    for (int i = 0; i < WORKERS; i++)
        for (unsigned long before = workers[i]->rounds; workers[i]->rounds < before + 2; usleep(500))
            if (now() > until)
                must("a worker hangs", CKR_GENERAL_ERROR);
}

static void run(const struct scenario *one, int times)
{
    struct running *threads[WORKERS];

    scenario = one;
    phase = calls = refusals = wrong = mixed = stop = 0;
    for (int i = 0; i < WORKERS; i++) {
        for (int j = 0; j < SESSIONS; j++) {
            workers[i][j].opened = (struct span){0, 0};
            must("session", open_session(&workers[i][j].session));
        }
        threads[i] = begin(work, workers[i]);
    }
    for (int i = 0; i < times; i++) {
        await_rounds();
        phase++;
        one->end();
        phase++;
        await_rounds();
        phase++;
        one->mend();
        phase++;
    }
    await_rounds();
    stop = 1;
    for (int i = 0; i < WORKERS; i++) {
        join(threads[i]);
        for (int j = 0; j < SESSIONS; j++)
            must("close", p11->C_CloseSession(workers[i][j].session));
    }
    printf("%s: %d changes, %lu calls, %lu refused, wrong %lu, mixed up %lu\n", one->name, times, calls, refusals, wrong,
           mixed);
    fflush(stdout);
}

static void learn(void)
{
    struct worker self = {own};

    scenario = &scenarios[0];
    for (int i = 0; i < OPERATIONS; i++)
        must(operations[i].name, operate(&self, &operations[i]));
}

int main(int count, char **words)
{
    run_by = getpid();
    p11 = load(words[1], RTLD_LAZY);
    must("initialize", p11->C_Initialize(NULL));
    must("session", open_session(&own));
    must("slot", first_slot(&slot));
    must("login", log_in(own));
    make_all();
    learn();
    for (int i = 3; i < count; i++)
        for (size_t j = 0; j < sizeof scenarios / sizeof *scenarios; j++)
            if (strcmp(words[i], scenarios[j].name) == 0)
                run(&scenarios[j], atoi(words[2]));
    show("finalize", p11->C_Finalize(NULL));
    return 0;
}
