/* What a call does around its socket I/O; Python reaches these through mrhsm_p11/hostcalls.py.
 *
 * cffi lets go of the GIL around each of them, so waiting for the gate cannot stall the thread that closed it. */

/* Let a fork pass while this thread waits on a bare descriptor, holding no lock of any library. */
static void gate_pause(void)
{
    if (inside && !gate_is_ours && paused++ == 0) {
        atomic_fetch_add(&waiting, 1);
        gate_go_out();
    }
}

static void gate_resume(void)
{
    if (inside && !gate_is_ours && --paused == 0) {
        gate_go_in();
        atomic_fetch_sub(&waiting, 1);
    }
}

/* A host that does not ignore SIGPIPE would be killed by our write to a connection that the server has closed. The
 * signal is kept pending while blocked and then taken away, unless it was blocked or pending before: then it is the
 * host's. */
static __thread struct {
    int depth;
    int ours;
    sigset_t mask;
} sigpipe;

static void sigpipe_block(void)
{
    sigset_t pending, only;

    if (sigpipe.depth++ > 0)
        return;
    sigemptyset(&only);
    sigaddset(&only, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &only, &sigpipe.mask);
    sigpipe.ours = !sigismember(&sigpipe.mask, SIGPIPE) && !sigismember(&pending, SIGPIPE);
}

static void sigpipe_restore(void)
{
    static const struct timespec at_once = {0, 0};
    sigset_t pending, only;

    if (--sigpipe.depth > 0)
        return;
    sigpending(&pending);
    if (sigpipe.ours && sigismember(&pending, SIGPIPE)) {
        sigemptyset(&only);
        sigaddset(&only, SIGPIPE);
        while (sigtimedwait(&only, NULL, &at_once) < 0 && errno == EINTR)
            continue;
    }
    pthread_sigmask(SIG_SETMASK, &sigpipe.mask, NULL);
}
