/* Starts Python inside the host, in the first C_Initialize: until then the library is inert. Whatever goes wrong
 * becomes one line on stderr and CKR_GENERAL_ERROR, never a crash, a hang or a success. */

static int cffi_start_python(void); /* cffi defines it below; 0 is success */
static int host_packages_fit(void);

/* ---- refusal ---- */

static int refused;
static char why_isolated[PATH_MAX + 128];

/* What an isolated process cannot do, its host says. */
static void say(const char *text)
{
    struct {
        CK_ULONG size;
        char text[1024];
    } said = {.size = sizeof said.size + strlen(text)};

    memcpy(said.text, text, strlen(text));
    send_all(CONTROL, &said, said.size);
}

/* Say once, in one line, why the library cannot start. */
static void refuse(const char *format, ...)
{
    char text[1024];
    va_list values;

    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    for (char *c = text; *c; c++)
        if (*c == '\n')
            *c = ' ';
    if (!refused && serving)
        say(text);
    else if (!refused)
        fprintf(stderr, "mrhsm_p11: cannot start: %s%s%s\n", why_isolated, *why_isolated ? "; " : "", text);
    refused = 1;
}

/* For the Python side, when it cannot be imported. */
static void refuse_start(const char *text)
{
    refuse("%s", text);
}

static void refuse_with_exception(const char *what)
{
    PyObject *type, *value, *trace, *text;

    PyErr_Fetch(&type, &value, &trace);
    text = value ? PyObject_Str(value) : NULL;
    const char *shown = text ? PyUnicode_AsUTF8(text) : NULL;
    refuse("%s: %s", what, shown ? shown : "unknown error");
    Py_XDECREF(text);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    PyErr_Clear();
}

/* ---- the host's libraries and ours ---- */

#if USE_DEEPBIND
#define OWN_SYMBOLS_FIRST RTLD_DEEPBIND
#else
#define OWN_SYMBOLS_FIRST 0 /* AddressSanitizer aborts on it */
#endif

/* From <openssl/crypto.h>; with no options the call returns at once and registers no exit handler. */
static const unsigned long long OPENSSL_INIT_LOAD_CRYPTO_STRINGS = 2;
static int (*openssl_init_crypto)(unsigned long long options, const void *settings);

/* Hosts such as Node export an OpenSSL of their own, and half of Python's _ssl would bind to it. Loaded first and
 * with its own symbols first, the system's OpenSSL is used whole. Where there is none, Python's modules decide. */
static void load_openssl(void)
{
    int flags = RTLD_NOW | RTLD_LOCAL | OWN_SYMBOLS_FIRST;

    dlopen("libssl.so.3", flags);
    libcrypto = dlopen("libcrypto.so.3", flags);
    if (libcrypto)
        *(void **)&openssl_init_crypto = dlsym(libcrypto, "OPENSSL_init_crypto");
}

/* A host that contains a Python wins the lookup of our Py_* symbols. Py_GetVersion is the one function that every
 * version answers before anything is started. */
static int python_is_foreign(void)
{
    Dl_info place = {0};

    if (python_is_of_our_version())
        return 0;
    dladdr((void *)Py_GetVersion, &place);
    snprintf(why_isolated, sizeof why_isolated, "built for Python %d.%d, but this process already contains Python %.*s (%s)",
             PY_MAJOR_VERSION, PY_MINOR_VERSION, (int)strcspn(Py_GetVersion(), " "), Py_GetVersion(),
             place.dli_fname ? place.dli_fname : "unknown file");
    return 1;
}

/* Extension modules are not linked to libpython: they look for it in the global scope, and a host that loads us
 * RTLD_LOCAL keeps it out. In a host that is Python itself there is nothing to promote. */
static void promote_libpython(void)
{
    Dl_info place = {0};

    if (dladdr((void *)Py_GetVersion, &place) && place.dli_fname)
        dlopen(place.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL);
}

/* ---- the interpreter ---- */

/* No environment variable, user directory, .pth file, signal handler or locale of the host has a part in it, and none
 * is changed. */
static int initialize_python(void)
{
    PyPreConfig before;
    PyConfig config;
    PyStatus status;

    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
#if USE_PYTHON_MALLOC
    before.allocator = PYMEM_ALLOCATOR_MALLOC;
#endif
    status = Py_PreInitialize(&before);
    PyConfig_InitIsolatedConfig(&config);
    config.install_signal_handlers = 0;
    config.site_import = 0;
    config.write_bytecode = 0;
    config.pathconfig_warnings = 0;
    if (!PyStatus_Exception(status))
        status = PyConfig_SetBytesString(&config, &config.home, BASE_PREFIX);
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status))
        refuse("Python in %s: %s", BASE_PREFIX, status.err_msg ? status.err_msg : "unknown error");
    return !PyStatus_Exception(status);
}

/* Append, so that in a Python host the host's own packages win. */
static int append_to_path(const char *folder)
{
    PyObject *path = PySys_GetObject("path"); /* borrowed */
    PyObject *entry = PyUnicode_DecodeFSDefault(folder);
    int known = path && entry ? PySequence_Contains(path, entry) : -1;
    int done = known == 1 || (known == 0 && PyList_Append(path, entry) == 0);

    Py_XDECREF(entry);
    return done;
}

/* <site>/mrhsm_p11/libmrhsm_p11.so tells <site>. */
static int own_site(char site[PATH_MAX])
{
    Dl_info place = {0};

    if (!dladdr((void *)own_site, &place) || !realpath(place.dli_fname, site))
        return 0;
    for (int parts = 0; parts < 2; parts++) {
        char *slash = strrchr(site, '/');
        if (slash)
            *slash = '\0';
    }
    return 1;
}

/* The folders known at build time add the dependencies of an editable installation. */
static int find_packages(void)
{
    char site[PATH_MAX];

    if (!own_site(site)) {
        refuse("cannot find its own path");
        return 0;
    }
    if (append_to_path(site) && append_to_path(PURELIB) && append_to_path(PLATLIB))
        return 1;
    refuse_with_exception("cannot set sys.path");
    return 0;
}

/* As with load_openssl(), for the libraries that extension modules bring; not in a host's interpreter, whose setting
 * is the host's. */
static int prefer_own_symbols(void)
{
    PyObject *set = PySys_GetObject("setdlopenflags"); /* borrowed */
    PyObject *done = set ? PyObject_CallFunction(set, "i", RTLD_NOW | OWN_SYMBOLS_FIRST) : NULL;

    Py_XDECREF(done);
    return done != NULL;
}

/* Import what cffi needs before cffi does: its own report of a failure is a page long. Our package comes later, inside
 * a try statement (build_ffi.py). */
static int import_first(const char *name)
{
    PyObject *module = PyImport_ImportModule(name);

    if (!module)
        refuse_with_exception(name);
    Py_XDECREF(module);
    return module != NULL;
}

static int prepare_imports(void)
{
    if (!find_packages())
        return 0;
    if (own_python && !prefer_own_symbols()) {
        refuse_with_exception("sys.setdlopenflags");
        return 0;
    }
    return import_first("_cffi_backend");
}

/* For the Python side: a host's interpreter is given no more than it asks for. */
static int python_is_ours(void)
{
    return own_python || serving;
}

/* For the Python side: a wait of the network or of a lock is not worth going on with. */
static _Bool process_ends(void)
{
    return atomic_load(&exiting);
}

/* ---- the sequence ---- */

/* First of all: a child that had half an import would wait for ever for the rest. */
static int hosts_forks_are_watched(void)
{
    if (watch_python_fork())
        return 1;
    refuse_with_exception("os.register_at_fork");
    return 0;
}

static int start_interpreter(void)
{
    PyGILState_STATE gil = PyGILState_UNLOCKED;
    int prepared;

    if (!Py_IsInitialized()) {
        if (!initialize_python())
            return 0;
        own_python = 1;
    } else {
        gil = PyGILState_Ensure();
    }
    prepared = own_python || hosts_forks_are_watched();
    prepared = prepared && prepare_imports();
    if (own_python)
        PyEval_SaveThread();
    else
        PyGILState_Release(gil);
    return prepared;
}

/* Before start_mutex is first locked: a child must not find it locked by a thread that it does not have. All handlers
 * at once: a fork that waits for the start does not see those that the start adds. */
static pthread_once_t watch_fork_once = PTHREAD_ONCE_INIT;
static int fork_is_watched;

static void watch_fork(void)
{
    fork_is_watched =
        pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0 &&
        pthread_atfork(isolated_before_fork, isolated_after_fork_in_parent, isolated_after_fork_in_child) == 0;
}

/* No interpreter starts here: each C_Initialize starts a process that has one (isolate.c). */
static int start_isolated(void)
{
    if (!fork_is_watched) {
        refuse("out of memory");
        return FAILED;
    }
    atexit(isolated_at_exit);
    return ISOLATED;
}

static int start_here(void)
{
    load_openssl();
    promote_libpython();
    if (!fork_is_watched || pthread_key_create(&thread_state_key, thread_state_end) != 0) {
        refuse("out of thread keys or memory");
        return FAILED;
    }
    if (!start_interpreter())
        return FAILED;
    if (cffi_start_python() != 0)
        refuse("the Python side did not load");
    if (refused)
        return FAILED;
    if (own_python) {
        if (openssl_init_crypto)
            openssl_init_crypto(OPENSSL_INIT_LOAD_CRYPTO_STRINGS, NULL);
        atexit(at_exit);
    }
    return READY;
}

static int needs_isolation(void)
{
    return python_is_foreign() || settings_say_isolation() || !host_packages_fit();
}

static int start_locked(void)
{
    return !serving && needs_isolation() ? start_isolated() : start_here();
}

static void take_start_mutex(void)
{
    pthread_mutex_lock(&start_mutex);
}

/* Threads that an import may make inherit a mask that blocks every signal: signals stay the host's. */
static CK_RV start(void)
{
    sigset_t everything, before;
    int cancel_state_before;

    if (!UNLIKELY(atomic_load_explicit(&state, memory_order_acquire) == NOT_STARTED))
        return atomic_load(&state) == FAILED ? CKR_GENERAL_ERROR : CKR_OK;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state_before);
    sigfillset(&everything);
    pthread_sigmask(SIG_BLOCK, &everything, &before);
    pthread_once(&watch_fork_once, watch_fork);
    if (pthread_mutex_trylock(&start_mutex))
        wait_without_gil(take_start_mutex); /* for another thread's start, which imports */
    if (atomic_load(&state) == NOT_STARTED) {
        starting_here = 1;
        call_begin(); /* a fork by the host's Python waits for it as for a call */
        atomic_store(&state, start_locked());
        call_end();
        starting_here = 0;
    }
    pthread_mutex_unlock(&start_mutex);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_setcancelstate(cancel_state_before, NULL);
    return atomic_load(&state) == FAILED ? CKR_GENERAL_ERROR : CKR_OK;
}

/* ---- each call ----
 *
 * A thread that is inside a call comes back in two ways: its signal handler calls us, or our TLS reads the host's
 * OpenSSL configuration and that loads us as an engine or provider. Both may find locks of ours taken: refused. In a
 * host's interpreter the host's own Python code may run inside ours (a finaliser), and comes back rightly. */

static CK_RV enter(void)
{
    int now = atomic_load_explicit(&state, memory_order_acquire);

    if (UNLIKELY(now != READY))
        return now == ISOLATED ? CALL_ISOLATED : now == FAILED ? CKR_GENERAL_ERROR : CKR_CRYPTOKI_NOT_INITIALIZED;
    if (!own_python && !Py_IsInitialized())
        return CKR_CRYPTOKI_NOT_INITIALIZED;
    if (UNLIKELY(inside && own_python))
        return CKR_FUNCTION_FAILED;
    call_begin();
    if (UNLIKELY(atomic_load_explicit(&exiting, memory_order_acquire))) {
        call_end();
        return CKR_CRYPTOKI_NOT_INITIALIZED;
    }
    if (UNLIKELY(own_python && !has_thread_state))
        thread_state_make();
    return CKR_OK;
}

static CK_RV leave(CK_RV rv)
{
    call_end();
    return rv;
}

CK_RV C_Initialize(CK_VOID_PTR pInitArgs)
{
    CK_RV rv;

    if (atomic_load(&exiting))
        return CKR_GENERAL_ERROR;
    if (starting_here || (inside && own_python))
        return CKR_FUNCTION_FAILED;
    rv = start();
    if (rv == CKR_OK)
        rv = enter();
    if (rv == CALL_ISOLATED)
        return call_isolated(FUNCTION_INITIALIZE, (CK_ULONG[]){(CK_ULONG)pInitArgs}, 1);
    return rv != CKR_OK ? rv : leave(py_C_Initialize(pInitArgs));
}
