/* calls LIBRARY ...: the fuzzer's input as a sequence of calls of every function, on a token of the file store.
 *
 * Whatever is passed, nothing may crash, hang, touch memory beyond what was lent, answer what is no CKR, or fail in a way
 * that nobody foresaw (CKR_GENERAL_ERROR). Sessions, objects and operations last for one input; keys to work with are
 * made anew when an input has taken them away. */
#define _GNU_SOURCE
#include "native.h"
#include "function_list.h"
#include "crossing.c"
#include "tables.h"
#include "arguments.h"
#include "library.h"
#include "fuzz.h"

enum { SESSIONS = 4, OBJECTS = 24, MOST_CALLS = 24, FRESH = 400 };

static CK_SLOT_ID slot;
static CK_SESSION_HANDLE sessions[SESSIONS];
static CK_OBJECT_HANDLE objects[OBJECTS];
static unsigned session_count, object_count, kept_count;
static int taken_away; /* what prepare() made may be gone */
static CK_ULONG begun; /* the function that began the newest operation */
static unsigned inputs;
static struct {
    CK_ULONG function;
    const uint8_t *choices; /* that it was made from */
    size_t count;
} again;

/* ---- the token ---- */

static void remember_object(CK_OBJECT_HANDLE handle)
{
    unsigned place = object_count < OBJECTS ? object_count : kept_count + handle % (OBJECTS - kept_count);

    objects[place] = handle;
    if (object_count < OBJECTS)
        object_count++;
}

static CK_BBOOL yes = 1;
#define USES                                                                                              \
    {CKA_ENCRYPT, &yes, 1}, {CKA_DECRYPT, &yes, 1}, {CKA_SIGN, &yes, 1}, {CKA_VERIFY, &yes, 1},           \
        {CKA_WRAP, &yes, 1}, {CKA_UNWRAP, &yes, 1}, {CKA_DERIVE, &yes, 1}, {CKA_EXTRACTABLE, &yes, 1}

static void make_secret_key(CK_MECHANISM_TYPE type, CK_ULONG length)
{
    CK_MECHANISM mechanism = {type, NULL, 0};
    CK_ATTRIBUTE template[] = {USES, {CKA_VALUE_LEN, &length, sizeof length}};
    CK_OBJECT_HANDLE key;

    must(p11->C_GenerateKey(sessions[0], &mechanism, template, 9, &key), "C_GenerateKey");
    remember_object(key);
}

static void make_pair(CK_MECHANISM_TYPE type, CK_ATTRIBUTE parameter)
{
    CK_MECHANISM mechanism = {type, NULL, 0};
    CK_ATTRIBUTE public[] = {parameter, {CKA_VERIFY, &yes, 1}, {CKA_ENCRYPT, &yes, 1}, {CKA_WRAP, &yes, 1}};
    CK_ATTRIBUTE private[] = {{CKA_SIGN, &yes, 1}, {CKA_DECRYPT, &yes, 1}, {CKA_UNWRAP, &yes, 1}, {CKA_DERIVE, &yes, 1}};
    CK_OBJECT_HANDLE keys[2];
    CK_ULONG publics = type == CKM_EC_KEY_PAIR_GEN ? 2 : 4, privates = 4;

    if (type != CKM_EC_KEY_PAIR_GEN)
        privates = 3;
    must(p11->C_GenerateKeyPair(sessions[0], &mechanism, public, publics, private, privates, keys, keys + 1),
         "C_GenerateKeyPair");
    remember_object(keys[0]);
    remember_object(keys[1]);
}

static void make_keys(void)
{
    static unsigned char p256[] = {0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07};
    CK_ULONG bits = 1024;

    make_secret_key(CKM_AES_KEY_GEN, 32);
    make_secret_key(CKM_GENERIC_SECRET_KEY_GEN, 48);
    make_pair(CKM_RSA_PKCS_KEY_PAIR_GEN, (CK_ATTRIBUTE){CKA_MODULUS_BITS, &bits, sizeof bits});
    make_pair(CKM_EC_KEY_PAIR_GEN, (CK_ATTRIBUTE){CKA_EC_PARAMS, p256, sizeof p256});
    kept_count = object_count;
}

static int log_in(void)
{
    return p11->C_Login(sessions[0], CKU_USER, (CK_UTF8CHAR_PTR)PINS[1], strlen(PINS[1])) == CKR_OK;
}

static int open_session(void)
{
    return p11->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, sessions) == CKR_OK;
}

/* A token with the two PINs that the inputs know, as there may be none, or one with others. */
static void make_token(void)
{
    CK_SLOT_ID slots[64];
    CK_ULONG count = 64;
    CK_UTF8CHAR label[32];

    must(p11->C_Finalize(NULL), "C_Finalize");
    if (system("rm -rf \"$MAPR_HOME\"/conf/tokens/*") != 0)
        fail("cannot empty the folder", "tokens");
    must(p11->C_Initialize(NULL), "C_Initialize");
    must(p11->C_GetSlotList(0, slots, &count), "C_GetSlotList");
    slot = slots[0];
    memset(label, 'f', sizeof label);
    must(p11->C_InitToken(slot, (CK_UTF8CHAR_PTR)PINS[0], strlen(PINS[0]), label), "C_InitToken");
    must(open_session() ? CKR_OK : CKR_GENERAL_ERROR, "C_OpenSession");
    must(p11->C_Login(sessions[0], CKU_SO, (CK_UTF8CHAR_PTR)PINS[0], strlen(PINS[0])), "C_Login");
    must(p11->C_InitPIN(sessions[0], (CK_UTF8CHAR_PTR)PINS[1], strlen(PINS[1])), "C_InitPIN");
    must(p11->C_CloseAllSessions(slot), "C_CloseAllSessions");
    must(open_session() ? CKR_OK : CKR_GENERAL_ERROR, "C_OpenSession");
    must(log_in() ? CKR_OK : CKR_GENERAL_ERROR, "C_Login");
}

/* Start anew what an input may have taken away: sessions, login, PINs, keys. */
static void prepare(void)
{
    CK_RV rv = p11->C_Initialize(NULL);

    if (rv != CKR_CRYPTOKI_ALREADY_INITIALIZED)
        must(rv, "C_Initialize");
    p11->C_CloseAllSessions(slot);
    if (inputs == 0 || !open_session() || !log_in())
        make_token();
    session_count = 1;
    object_count = kept_count = 0;
    make_keys();
    taken_away = 0;
}

/* Operations and objects of the last input are no concern of the next. */
static void tidy(void)
{
    for (unsigned i = 1; i < session_count; i++)
        p11->C_CloseSession(sessions[i]);
    session_count = 1;
    for (unsigned i = kept_count; i < object_count; i++)
        p11->C_DestroyObject(sessions[0], objects[i]);
    object_count = kept_count;
    if (p11->C_SessionCancel(sessions[0], ~0UL) != CKR_OK)
        taken_away = 1;
}

/* ---- a call ---- */

/* These take away what other calls need, or take long: they are chosen less often. */
static int is_rare(const char *name)
{
    static const char *const rare[] = {"C_Initialize", "C_Finalize", "C_InitToken", "C_InitPIN", "C_SetPIN",
                                       "C_CloseSession", "C_CloseAllSessions", "C_Login", "C_Logout", "C_LoginUser",
                                       "C_DestroyObject", "C_SetAttributeValue"};

    for (size_t i = 0; i < sizeof rare / sizeof rare[0]; i++)
        if (strcmp(name, rare[i]) == 0)
            return 1;
    return 0;
}

static CK_ULONG choose_flags(const char *name)
{
    if (strcmp(name, "C_WaitForSlotEvent") == 0)
        return CKF_DONT_BLOCK | OF(NUMBERS);
    return rarely(8) ? choose_number() : rarely(4) ? CKF_SERIAL_SESSION : CKF_SERIAL_SESSION | CKF_RW_SESSION;
}

static CK_ULONG choose_value(char kind, const char *name)
{
    switch (kind) {
    case 's': return rarely(32) ? choose_number() : sessions[among(session_count)];
    case 'o': return rarely(16) ? choose_number() : objects[among(object_count)];
    case 'i': return rarely(16) ? choose_number() : slot;
    case 'm': return rarely(16) ? choose_number() : OF(MECHANISM_TYPES);
    case 'f': return choose_flags(name);
    case 'u': return rarely(16) ? choose_number() : among(3);
    default: return choose_number();
    }
}

/* What a call has made, the next may use. */
static void learn(CK_ULONG function, const CK_ULONG *arguments)
{
    const char *kinds = FUNCTION_KINDS[function];

    for (int i = 0; kinds[i]; i++) {
        if (kinds[i] == 'S' && session_count < SESSIONS && arguments[i])
            sessions[session_count++] = number_at((void *)arguments[i]);
        if (kinds[i] == 'O' && arguments[i] && strcmp(FUNCTION_NAMES[function], "C_FindObjects") != 0)
            remember_object(number_at((void *)arguments[i]));
    }
}

static void check_answer(CK_RV rv, CK_ULONG function)
{
    const char *name = FUNCTION_NAMES[function];
    char text[64];

    snprintf(text, sizeof text, "answered 0x%lx", rv);
    if (rv == CKR_GENERAL_ERROR)
        fail("failed unforeseen", name);
    for (size_t i = 0; i < sizeof ANSWERS / sizeof ANSWERS[0]; i++)
        if (ANSWERS[i] == rv && (!fuzz.strict || is_listed(function, rv)))
            return;
    fail(text, name);
}

/* Mostly what goes on with an operation that has begun: it stands behind its beginning in the list. */
static CK_ULONG choose_function(void)
{
    return begun && !rarely(3) ? (begun + among(4)) % FUNCTION_COUNT : among(FUNCTION_COUNT);
}

static CK_RV call(CK_ULONG function)
{
    CK_ULONG arguments[MOST_ARGUMENTS] = {0};
    const char *name = FUNCTION_NAMES[function], *kinds = FUNCTION_KINDS[function];
    CK_RV rv;

    for (int i = 0; kinds[i]; i++)
        arguments[i] = kinds[i] == ' ' ? 0 : choose_value(kinds[i], name);
    choose_pointers(function, arguments);
    if (fuzz.verbose)
        fprintf(stderr, "%s", name);
    rv = invoke(function, arguments);
    if (fuzz.verbose)
        fprintf(stderr, " 0x%lx\n", rv);
    check_answer(rv, function);
    if (rv == CKR_OK) {
        taken_away |= is_rare(name);
        learn(function, arguments);
    }
    memory_check(name);
    fuzz.calls++;
    fuzz_seen((unsigned)function, rv);
    return rv;
}

static int ends_in_init(const char *name)
{
    return strcmp(name + strlen(name) - 4, "Init") == 0;
}

/* Now and then what was last begun, or wrapped, once more: from the second time on, C may serve it (datapath.c). */
static void one_call(void)
{
    CK_ULONG function;
    const char *name;

    if (again.choices && rarely(4)) {
        const uint8_t *next = choices.next;
        size_t left = choices.left;
        choices.next = again.choices;
        choices.left = again.count;
        if (call(again.function) == CKR_OK && ends_in_init(FUNCTION_NAMES[again.function]))
            begun = again.function;
        choices.next = next;
        choices.left = left;
        return;
    }
    function = choose_function();
    name = FUNCTION_NAMES[function];
    if (is_rare(name) && !rarely(16))
        return;
    const uint8_t *first = choices.next;
    if (call(function) != CKR_OK || (!ends_in_init(name) && strcmp(name, "C_WrapKey") != 0))
        return;
    again.function = function;
    again.choices = first;
    again.count = (size_t)(choices.next - first);
    if (ends_in_init(name))
        begun = function;
}

int LLVMFuzzerInitialize(int *count, char ***words)
{
    open_library((*words)[1]);
    memory_make();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (inputs % FRESH == 0 || taken_away)
        prepare();
    inputs++;
    choices.next = data;
    choices.left = size;
    begun = 0;
    again.choices = NULL;
    for (int i = 0; i < MOST_CALLS && choices.left; i++)
        one_call();
    tidy();
    return 0;
}
