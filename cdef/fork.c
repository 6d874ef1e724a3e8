/* What keeps fork(), exit(), the end of a thread and a call apart.
 *
 * Locks are taken in the order start_mutex, gate, thread_state_mutex, GIL. */

/* ---- thread states ----
 *
 * CPython 3.11 takes its runtime lock in PyThreadState_New without the GIL, and PyOS_AfterFork_Child uses that lock
 * before renewing it: a fork at the wrong moment leaves a child that hangs inside fork(). So the thread states of the
 * host's threads are made and ended here, under a mutex that before_fork() holds too; cffi finds a state and makes
 * none of its own. */
static pthread_mutex_t thread_state_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_key_t thread_state_key;
static __thread int has_thread_state;
static __thread int inside; /* calls of this thread: more than one only in a host's interpreter (enter) */
static __thread int paused; /* it is in a call, but waits outside the gate (wait.c) */

static void thread_state_end(void *thread_state)
{
    inside = 1; /* a signal handler may interrupt this, too */
    pthread_mutex_lock(&thread_state_mutex);
    if (!atomic_load(&exiting) && atomic_load(&state) == READY) {
        PyEval_RestoreThread(thread_state);
        PyThreadState_Clear(thread_state);
        PyThreadState_DeleteCurrent();
    }
    pthread_mutex_unlock(&thread_state_mutex);
    has_thread_state = 0; /* another destructor of the host may still call */
    inside = 0;
}

static void thread_state_make_locked(void)
{
    if (PyGILState_GetThisThreadState() == NULL) {
        PyGILState_Ensure();
        pthread_setspecific(thread_state_key, PyEval_SaveThread());
    }
    has_thread_state = 1;
}

static void thread_state_make(void)
{
    pthread_mutex_lock(&thread_state_mutex);
    thread_state_make_locked();
    pthread_mutex_unlock(&thread_state_mutex);
}

/* ---- calls ---- */

static atomic_int waiting; /* calls outside the gate */

static __thread int cancel_state;
static __thread int hosts_forks;  /* begun by a host's Python in this thread, one in a hook of another */
static __thread int gate_is_ours; /* this thread has closed it, to fork, and goes in and out as it likes */

#if PY_VERSION_HEX >= 0x030D0000
#define THREAD_STATE_WITH_GIL PyThreadState_GetUnchecked
#else
#define THREAD_STATE_WITH_GIL _PyThreadState_UncheckedGet
#endif

/* Another version may lack what is asked of Python here; nobody needs the GIL of such a host for us. */
static int python_is_of_our_version(void)
{
    char ours[16];

    snprintf(ours, sizeof ours, "%d.%d.", PY_MAJOR_VERSION, PY_MINOR_VERSION);
    return strncmp(Py_GetVersion(), ours, strlen(ours)) == 0;
}

/* PyGILState_Check() says yes to all in a host that has ever had a second interpreter. */
static int holds_gil(void)
{
    PyThreadState *own = Py_IsInitialized() && python_is_of_our_version() ? PyGILState_GetThisThreadState() : NULL;

    return own && own == THREAD_STATE_WITH_GIL();
}

/* Wait as `wait` does. A caller that keeps the GIL (not every binding lets go of it) must not keep it from the thread
 * that is waited for, which may need it. */
static void wait_without_gil(void (*wait)(void))
{
    PyThreadState *own = holds_gil() ? PyEval_SaveThread() : NULL;

    wait();
    if (own)
        PyEval_RestoreThread(own);
}

/* A thread that were cancelled in a call would take the GIL with it: the host's pthread_cancel() waits till the end of
 * the call. */
static void call_begin(void)
{
    if (UNLIKELY(inside++)) /* first: a signal handler that came between would take the gate twice */
        return;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    if (UNLIKELY(gate_is_ours))
        return;
    if (UNLIKELY(!gate_try()))
        wait_without_gil(gate_go_in); /* for the thread that has closed it, to fork */
}

static void call_end(void)
{
    if (UNLIKELY(inside > 1)) {
        inside--;
        return;
    }
    if (inside_gate)
        gate_go_out();
    inside = 0;
    pthread_setcancelstate(cancel_state, NULL);
}

/* ---- fork ---- */

enum fork_kind {
    FORK_BY_PYTHON, /* os.fork() and friends: the interpreter runs its hooks, ours too; or a fork by the start itself */
    FORK_UNSTARTED, /* nothing of ours runs yet, or the interpreter is the host's */
    FORK_CLEAN,     /* no call was inside: the child may start anew */
    FORK_UNSAFE     /* a call would not leave in time: Python is lost to the child */
};
enum { FORK_WAIT_MS = 2000 };
static __thread enum fork_kind fork_kind;
static __thread PyGILState_STATE fork_gil;
static __thread int fork_is_late; /* a host's Python forks though a call would not leave in time */

/* The forking thread may never have called us. It is given a thread state that stays: the child's only one must, for
 * CPython 3.11 aborts when the first is made anew after the last has gone. */
static void before_fork(void)
{
    fork_kind = FORK_BY_PYTHON;
    if (starting_here || holds_gil())
        return;
    pthread_mutex_lock(&start_mutex);
    fork_kind = FORK_UNSTARTED;
    if (atomic_load(&state) != READY || !own_python)
        return;
    fork_kind = FORK_UNSAFE;
    if (inside || !gate_close(in_milliseconds(FORK_WAIT_MS)))
        return; /* inside: a signal handler amid a call, which nobody could wait for */
    pthread_mutex_lock(&thread_state_mutex);
    thread_state_make_locked();
    fork_gil = PyGILState_Ensure();
    PyOS_BeforeFork();
    fork_kind = FORK_CLEAN;
}

static void after_fork_in_parent(void)
{
    if (fork_kind == FORK_BY_PYTHON)
        return;
    if (fork_kind == FORK_CLEAN) {
        PyOS_AfterFork_Parent();
        PyGILState_Release(fork_gil);
        pthread_mutex_unlock(&thread_state_mutex);
        gate_open();
    }
    pthread_mutex_unlock(&start_mutex);
}

/* The child has one thread, so its locks are made anew rather than released: one of another thread may be held. A call
 * that the fork came out of goes on: it still has what it has. */
static void after_fork_in_child(void)
{
    static const pthread_mutex_t open_mutex = PTHREAD_MUTEX_INITIALIZER;

    datapath_after_fork_in_child();
    if (fork_kind == FORK_CLEAN) {
        PyOS_AfterFork_Child();
        PyGILState_Release(fork_gil);
    }
    if (own_python)
        pthread_setspecific(thread_state_key, NULL); /* not ended with the thread */
    if (fork_kind == FORK_UNSAFE || fork_is_late)
        atomic_store(&state, FAILED);
    gate_is_ours = fork_is_late = hosts_forks = 0;
    atomic_store(&waiting, paused > 0);
    gate_after_fork_in_child();
    thread_state_mutex = open_mutex;
    if (!starting_here)
        start_mutex = open_mutex;
}

/* ---- fork by a host's own Python ----
 *
 * before_fork() comes too late there: it runs with the GIL, which the calls that it would wait for need. The hooks of
 * os.register_at_fork() may let go of it. Hooks of others run between these, and may call us, or fork. */
static PyObject *before_python_fork(PyObject *self, PyObject *none)
{
    int closed;

    if (inside || hosts_forks++ > 0)
        Py_RETURN_NONE; /* amid a call, whose end nobody could wait for */
    Py_BEGIN_ALLOW_THREADS
    closed = gate_close(in_milliseconds(FORK_WAIT_MS));
    Py_END_ALLOW_THREADS
    gate_is_ours = closed;
    fork_is_late = !closed;
    Py_RETURN_NONE;
}

/* Also after a fork that failed; the hooks may have been registered between the two. */
static PyObject *after_python_fork(PyObject *self, PyObject *none)
{
    if (inside || hosts_forks == 0 || --hosts_forks > 0)
        Py_RETURN_NONE;
    if (gate_is_ours)
        gate_open();
    gate_is_ours = fork_is_late = 0;
    Py_RETURN_NONE;
}

static PyMethodDef python_fork_hooks[] = {
    {"before", before_python_fork, METH_NOARGS, NULL},
    {"after_in_parent", after_python_fork, METH_NOARGS, NULL},
};

/* In the child after_fork_in_child() has done all of it. Hooks stay for good, as this library does. */
static int watch_python_fork(void)
{
    static int watched;
    PyObject *os = NULL, *watch = NULL, *nothing = NULL, *hooks = NULL, *done = NULL;

    if (watched)
        return 1;
    os = PyImport_ImportModule("os");
    watch = os ? PyObject_GetAttrString(os, "register_at_fork") : NULL;
    nothing = watch ? PyTuple_New(0) : NULL;
    hooks = nothing ? PyDict_New() : NULL;
    for (size_t i = 0; hooks && i < sizeof python_fork_hooks / sizeof *python_fork_hooks; i++) {
        PyObject *hook = PyCFunction_New(&python_fork_hooks[i], NULL);
        if (!hook || PyDict_SetItemString(hooks, python_fork_hooks[i].ml_name, hook) != 0)
            Py_CLEAR(hooks);
        Py_XDECREF(hook);
    }
    done = hooks ? PyObject_Call(watch, nothing, hooks) : NULL;
    watched = done != NULL;
    Py_XDECREF(done);
    Py_XDECREF(hooks);
    Py_XDECREF(nothing);
    Py_XDECREF(watch);
    Py_XDECREF(os);
    return watched;
}

/* ---- exit ----
 *
 * Registered after OpenSSL's own exit handler and therefore run before it. */
enum { EXIT_WAIT_MS = 3000, EXIT_NAP_MS = 2 };

/* Calls that wait look up every 200 ms (hostcalls.py), see the end, and come back; an exit handler of the host may be
 * about to join their threads, which could not return once Python has stopped. A call that was inside when the exit
 * began may have gone out to wait since, so the waiting ones are counted while none is inside. */
static void let_calls_end(void)
{
    static const struct timespec nap = {0, EXIT_NAP_MS * 1000000};
    struct timespec until = in_milliseconds(EXIT_WAIT_MS);

    for (int naps = EXIT_WAIT_MS / EXIT_NAP_MS; naps > 0 && gate_close(until); naps--) {
        int calls = atomic_load(&waiting);
        gate_open(); /* late callers get in only to see that the process is exiting */
        if (calls == 0)
            return;
        nanosleep(&nap, NULL);
    }
}

static void at_exit(void)
{
    atomic_store(&exiting, 1);
    if (atomic_load(&state) != READY || inside)
        return; /* inside: exit() by a signal handler amid a call, which may hold anything */
    let_calls_end();
    pthread_mutex_lock(&thread_state_mutex);
    PyGILState_Ensure(); /* for good: no Python code runs from here on */
    pthread_mutex_unlock(&thread_state_mutex);
}
