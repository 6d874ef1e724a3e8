/* From dlopen to the first operation, in a process that has done nothing else. */

static long resident_kb(void)
{
    long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    if (!file || fscanf(file, "%ld %ld", &size, &resident) != 2)
        exit(1);
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void load(const char *path)
{
    CK_RV (*get)(CK_FUNCTION_LIST_PTR_PTR);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    *(void **)&get = dlsym(library, "C_GetFunctionList");
    must("C_GetFunctionList", get(&p11));
}

static void initialize(void)
{
    CK_C_INITIALIZE_ARGS threads = {.flags = CKF_OS_LOCKING_OK};

    must("C_Initialize", p11->C_Initialize(&threads));
}

static CK_SLOT_ID slot_of(const char *label)
{
    CK_SLOT_ID slots[64];
    CK_ULONG count = 64;
    CK_TOKEN_INFO info;

    must("C_GetSlotList", p11->C_GetSlotList(CK_TRUE, slots, &count));
    for (CK_ULONG i = 0; i < count; i++)
        if (p11->C_GetTokenInfo(slots[i], &info) == CKR_OK && memcmp(info.label, label, strlen(label)) == 0)
            return slots[i];
    fprintf(stderr, "no token %s\n", label);
    exit(1);
}

/* `ns`: what C_Login took, where it is wanted. */
static CK_SESSION_HANDLE logged_in(CK_SLOT_ID slot, const char *pin, double *ns)
{
    CK_SESSION_HANDLE session = 0;
    int no_pin = strcmp(pin, "-") == 0;
    double began;

    must("C_OpenSession", p11->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session));
    began = now_ns();
    must("C_Login", p11->C_Login(session, CKU_USER, no_pin ? NULL : (CK_BYTE_PTR)pin, no_pin ? 0 : strlen(pin)));
    if (ns)
        *ns = now_ns() - began;
    return session;
}

static int start(const char *library, const char *token, const char *pin)
{
    static struct worker worker = {.size = 32};
    static CK_BYTE text[64], output[ROOM];
    long before = resident_kb();
    double began = now_ns(), login_ns;

    load(library);
    printf("dlopen %.3f ms\n", (now_ns() - began) * 1e-6);
    began = now_ns();
    initialize();
    printf("C_Initialize %.3f ms\n", (now_ns() - began) * 1e-6);
    printf("memory after C_Initialize %.3f MB\n", (resident_kb() - before) / 1024.0);
    worker.session = logged_in(slot_of(token), pin, &login_ns);
    worker.text = text;
    worker.output = output;
    printf("C_Login %.3f ms\n", login_ns * 1e-6);
    must("C_GenerateKey", generate_secret(worker.session, CKM_AES_KEY_GEN, "made", 0, &keys[AES]));
    began = now_ns();
    must("C_Encrypt", encrypt_cbc_pad(&worker));
    printf("first encryption %.3f ms\n", (now_ns() - began) * 1e-6);
    printf("memory after an encryption %.3f MB\n", (resident_kb() - before) / 1024.0);
    began = now_ns();
    must("C_Finalize", p11->C_Finalize(NULL));
    printf("C_Finalize %.3f ms\n", (now_ns() - began) * 1e-6);
    return 0;
}
