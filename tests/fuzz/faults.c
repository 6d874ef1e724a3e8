/* faults LIBRARY [functions]: each function, each argument, each fault of it (spoil.h), in a call that is sound otherwise (sound.h).
 *
 * Before C_Initialize, without the operation that the function goes on with, and with it. Whatever is wrong, the call may
 * not crash, hang, touch what it was not lent, answer what the standard does not list, or say CKR_OK and leave an output
 * unwritten; and after each one the sound call works. Then each mechanism's parameter, and each type of attribute, unless
 * only `functions` are asked for. */
#define _GNU_SOURCE
#include <signal.h>
#include <unistd.h>

#include "native.h"
#include "function_list.h"
#include "crossing.c"
#include "tables.h"
#include "arguments.h"
#include "library.h"
#include "sound.h"
#include "build.h"
#include "spoil.h"

enum { LIMIT_S = 120 };

static struct {
    const char *state, *function, *fault;
    int argument;
} now;
static unsigned long places, cases, calls, failures; /* places: functions x arguments */

/* ---- what is told ---- */

static void tell(const char *what, CK_RV rv)
{
    fprintf(stderr, "faults: %s, %s, argument %d, %s: %s 0x%lx\n", now.state, now.function, now.argument + 1, now.fault, what, rv);
    failures++;
}

static void at_signal(int number)
{
    tell("ended by signal", (CK_RV)number);
    signal(number, SIG_DFL);
    raise(number);
}

/* ---- one call ---- */

static void check_outputs(const CK_ULONG *arguments, CK_RV rv)
{
    for (unsigned i = 0; i < output_count; i++) {
        const struct output *it = &outputs[i];
        CK_ULONG told = it->length ? number_at(it->length) : it->told, written = told * it->unit;
        int is_argument = 0;

        for (int at = 0; at < MOST_ARGUMENTS; at++)
            is_argument |= arguments[at] == (CK_ULONG)it->place;
        if (rv != CKR_OK && !it->length)
            continue; /* CK_*_INFO are cleared, lengths told, attributes filled where they can be */
        if (rv != CKR_OK && !is_all(it->place, it->size, CANARY))
            tell("wrote output and answered", rv);
        if (rv != CKR_OK || !is_argument || (!it->length && asks_size(arguments)))
            continue;
        if (told > it->size / it->unit)
            tell("tells more than there is room for:", told);
        else if (!is_all(it->place + written, it->size - written, CANARY))
            tell("wrote more than it tells:", told);
        else if (written >= 4 && is_all(it->place, written, CANARY))
            tell("wrote nothing and answered", rv);
    }
}

static CK_RV make_call(CK_ULONG function, CK_ULONG *arguments)
{
    CK_RV rv;

    look_again();
    alarm(LIMIT_S);
    rv = invoke(function, arguments);
    alarm(0);
    calls++;
    return rv;
}

/* Handles that a call has made: kept for the next, or ended. */
static void take_handles(CK_ULONG function, const CK_ULONG *arguments, int keep)
{
    const char *kinds = FUNCTION_KINDS[function];

    for (int i = 0; kinds[i]; i++) {
        CK_ULONG made = (kinds[i] == 'S' || kinds[i] == 'O') && arguments[i] ? number_at((void *)arguments[i]) : 0;
        if (!made || strcmp(FUNCTION_NAMES[function], "C_FindObjects") == 0 || is_all((void *)arguments[i], sizeof made, CANARY))
            continue;
        if (keep && kinds[i] == 'S')
            have.opened = made;
        else if (keep)
            have.made = made;
        else if (kinds[i] == 'S')
            p11->C_CloseSession(made);
        else
            p11->C_DestroyObject(have.session, made);
    }
}

static void keep_value(enum value value, CK_ULONG function, const CK_ULONG *arguments)
{
    const struct output *it = NULL;

    for (unsigned i = 0; i < output_count; i++)
        if (outputs[i].length && outputs[i].unit == 1)
            it = &outputs[i];
    if (!value || !it)
        return;
    have.values[value].length = number_at(it->length);
    memcpy(have.values[value].bytes, it->place, have.values[value].length);
    if (value == SEALED || value == SEALED_KEY) {
        const void *parameter = value == SEALED ? (void *)arguments[1] : ((CK_MECHANISM *)arguments[1])->pParameter;
        memcpy(have.tag, ((const CK_GCM_MESSAGE_PARAMS *)parameter)->pTag, TAG_BYTES);
    }
}

/* The call with nothing wrong; its handles are kept where it begins another. */
static void sound_call(const char *name, int begins)
{
    CK_ULONG function = function_of(name), arguments[MOST_ARGUMENTS] = {0};
    const struct sound *row = sound_of(name);
    unsigned char covered[MOST_ARGUMENTS];
    CK_RV rv;

    for (int i = 0; i < 2 && row->before[i]; i++)
        sound_call(row->before[i], 1);
    build(function, arguments, covered);
    rv = make_call(function, arguments);
    if (rv != sound_of(name)->answer) {
        fprintf(stderr, "faults: the sound %s\n", name);
        tell("then answers", rv);
        abort();
    }
    check_outputs(arguments, rv);
    if (rv == CKR_OK) {
        keep_value(sound_of(name)->made, function, arguments);
        take_handles(function, arguments, begins);
    }
    memory_check(name);
}

/* ---- the token ---- */

static void make_key(CK_MECHANISM_TYPE type, CK_ULONG bytes, CK_OBJECT_HANDLE *key)
{
    CK_MECHANISM mechanism = {type, NULL, 0};
    CK_ATTRIBUTE uses[] = {{CKA_VALUE_LEN, &bytes, sizeof bytes}, {CKA_PRIVATE, &no, 1}, {CKA_EXTRACTABLE, &yes, 1},
                           {CKA_ENCRYPT, &yes, 1}, {CKA_DECRYPT, &yes, 1}, {CKA_SIGN, &yes, 1}, {CKA_VERIFY, &yes, 1},
                           {CKA_WRAP, &yes, 1}, {CKA_UNWRAP, &yes, 1}, {CKA_DERIVE, &yes, 1}};

    must(p11->C_GenerateKey(have.session, &mechanism, uses, sizeof uses / sizeof *uses, key), "C_GenerateKey");
}

static void make_pair(CK_MECHANISM_TYPE type, CK_ATTRIBUTE which, const CK_ATTRIBUTE_TYPE *uses, CK_OBJECT_HANDLE *pair)
{
    CK_MECHANISM mechanism = {type, NULL, 0};
    CK_ATTRIBUTE public[] = {which, {uses[0], &yes, 1}, {uses[1], &yes, 1}, {CKA_PRIVATE, &no, 1}};
    CK_ATTRIBUTE private[] = {{uses[2], &yes, 1}, {uses[3], &yes, 1}, {CKA_PRIVATE, &no, 1}};

    must(p11->C_GenerateKeyPair(have.session, &mechanism, public, 4, private, 3, pair, pair + 1), "C_GenerateKeyPair");
}

static void make_objects(void)
{
    static const CK_ATTRIBUTE_TYPE rsa[] = {CKA_VERIFY_RECOVER, CKA_ENCRYPT, CKA_SIGN_RECOVER, CKA_DECRYPT},
                                   ec[] = {CKA_VERIFY, CKA_VERIFY, CKA_SIGN, CKA_DERIVE},
                                   kem[] = {CKA_ENCAPSULATE, CKA_ENCAPSULATE, CKA_DECAPSULATE, CKA_DECAPSULATE};
    CK_ATTRIBUTE data[LONGEST_LIST];

    make_key(CKM_AES_KEY_GEN, 32, &have.objects[AES]);
    make_key(CKM_GENERIC_SECRET_KEY_GEN, 48, &have.objects[SECRET]);
    make_pair(CKM_RSA_PKCS_KEY_PAIR_GEN, (CK_ATTRIBUTE){CKA_MODULUS_BITS, &rsa_bits, 8}, rsa, &have.objects[RSA_PUBLIC]);
    make_pair(CKM_EC_KEY_PAIR_GEN, (CK_ATTRIBUTE){CKA_EC_PARAMS, p256, sizeof p256}, ec, &have.objects[EC_PUBLIC]);
    make_pair(CKM_ML_KEM_KEY_PAIR_GEN, (CK_ATTRIBUTE){CKA_PARAMETER_SET, &kem_set, 8}, kem, &have.objects[KEM_PUBLIC]);
    memcpy(data, TEMPLATES[OF_DATA], sizeof data);
    must(p11->C_CreateObject(have.session, data, 3, &have.destroyed), "C_CreateObject");
    must(p11->C_DestroyObject(have.session, have.destroyed), "C_DestroyObject");
    data[1] = TEMPLATES[OF_LABEL][0];
    must(p11->C_CreateObject(have.session, data, 3, &have.objects[DATA]), "C_CreateObject");
}

static CK_SESSION_HANDLE new_session(void)
{
    CK_SESSION_HANDLE session = 0;

    must(p11->C_OpenSession(have.slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session), "C_OpenSession");
    return session;
}

static void log_in(CK_USER_TYPE user, enum value pin)
{
    must(p11->C_Login(have.session, user, have.values[pin].bytes, have.values[pin].length), "C_Login");
}

static void make_token(void)
{
    CK_SLOT_ID slots[8];
    CK_ULONG count = 8;
    CK_UTF8CHAR label[32];

    memset(label, 'f', sizeof label);
    must(p11->C_GetSlotList(0, slots, &count), "C_GetSlotList");
    have.slot = slots[0];
    must(p11->C_InitToken(have.slot, have.values[SO_PIN].bytes, have.values[SO_PIN].length, label), "C_InitToken");
    have.closed = have.session = new_session();
    log_in(CKU_SO, SO_PIN);
    must(p11->C_InitPIN(have.session, have.values[PIN].bytes, have.values[PIN].length), "C_InitPIN");
    must(p11->C_CloseSession(have.session), "C_CloseSession");
}

/* As every call finds it: the session open, the user logged in, nothing begun. */
static void prepare(void)
{
    CK_SESSION_INFO info;

    if (p11->C_GetSessionInfo(have.session, &info) != CKR_OK) {
        have.session = new_session();
        log_in(CKU_USER, PIN);
        make_objects();
    } else if (info.state != CKS_RW_USER_FUNCTIONS)
        log_in(CKU_USER, PIN);
    must(p11->C_SessionCancel(have.session, ~0UL), "C_SessionCancel");
    if (have.made)
        p11->C_DestroyObject(have.session, have.made);
    if (have.opened)
        p11->C_CloseSession(have.opened);
    have.made = have.opened = 0;
}

/* ---- a fault ---- */

enum state { NOT_INITIALIZED, NOT_BEGUN, BEGUN_STATE };
static const char *const STATES[] = {"not initialized", "not begun", "begun"};

static void judge(CK_ULONG function, const struct fault *fault, enum state state, CK_RV rv)
{
    if (state == NOT_INITIALIZED && rv != CKR_CRYPTOKI_NOT_INITIALIZED)
        tell("answered", rv);
    if (state == NOT_INITIALIZED)
        return;
    if (rv == CKR_GENERAL_ERROR || (rv != CKR_OK && !is_listed(function, rv)))
        tell("answered", rv);
    else if (rv == CKR_OK && (fault->outcome == REFUSED || (state == NOT_BEGUN && rv == CKR_OK)))
        tell("did it:", rv);
    else if (fault->answer && rv != fault->answer && state == BEGUN_STATE)
        tell("answered another code than it should:", rv);
}

static void try(CK_ULONG function, int argument, const struct fault *fault, enum state state)
{
    const char *name = FUNCTION_NAMES[function];
    const struct sound *row = sound_of(name);
    CK_ULONG arguments[MOST_ARGUMENTS] = {0};
    unsigned char covered[MOST_ARGUMENTS];
    CK_RV rv;

    now.fault = fault->name;
    now.argument = argument;
    if (state != NOT_INITIALIZED)
        prepare();
    for (int i = 0; i < 2 && row->before[i] && state == BEGUN_STATE; i++)
        sound_call(row->before[i], 1);
    build(function, arguments, covered);
    if (fault->spoil(arguments + argument, fault->number)) {
        rv = make_call(function, arguments);
        judge(function, fault, state, rv);
        check_outputs(arguments, rv);
        cases++;
        if (rv == CKR_OK)
            take_handles(function, arguments, 0);
    }
    memory_check(name);
    if (state == NOT_INITIALIZED || strcmp(name, "C_SetPIN") == 0)
        return;
    prepare();
    sound_call(name, 0);
}

#include "passes.h"

int main(int count, char **words)
{
    static const int ends[] = {SIGSEGV, SIGBUS, SIGABRT, SIGALRM};

    if (count < 2)
        return 2;
    now.state = now.function = now.fault = "before any";
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        signal(ends[i], at_signal);
    memory_make();
    open_library(words[1]);
    every_function(NOT_INITIALIZED);
    initialize_wrongly();
    make_token();
    make_values();
    every_function(NOT_BEGUN);
    every_function(BEGUN_STATE);
    if (count == 2) {
        every_parameter();
        every_attribute();
    }
    must(p11->C_Finalize(NULL), "C_Finalize");
    printf("%lu arguments, %lu cases in %lu calls, %lu failures\n", places, cases, calls, failures);
    return failures != 0;
}
