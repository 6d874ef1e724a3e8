/* What a call may answer while another thread takes away what it uses, and gives it back.
 *
 * Time goes in phases, of which `phase` counts four to a change: OPEN, ENDING, ENDED, MENDING. What a call may answer
 * follows from the phases before and after it: where both are OPEN it succeeds; where both are ENDED no use of what was
 * taken away may; in between the scenario's row says what it may be. What was begun before ENDED may not be gone on
 * with after it, where the change ends operations. */
#ifndef PHASES_H
#define PHASES_H

#include "threads.h"
#include "token.h"

enum window { OPEN, ENDING, ENDED, MENDING, PHASES };
enum step { BEGIN, GO_ON };
enum answer { SUCCESS = 1, REFUSED = 2, CANCELLED = 4, GONE = 8 };

struct operation;

/* One kind of change. */
struct scenario {
    const char *name;
    void (*end)(void);
    void (*mend)(void);
    int (*takes)(const struct operation *); /* does this operation use what is taken away? */
    int cancels;                            /* operations end, whatever they use */
    int closes;                             /* sessions, too */
    CK_RV refused[3];                       /* of what C_<X>Init answers for what was taken away */
};

/* A span of phases: that before a call, and that after it. */
struct span {
    unsigned long from, to;
};

struct worker {
    CK_SESSION_HANDLE session;
    struct span opened, begun; /* the session, the operation */
    const struct operation *operation;
    unsigned long before; /* the call under way: the phase */
    atomic_ulong rounds;
};

static const struct scenario *scenario;
static atomic_ulong phase, calls, refusals, wrong;

/* The last ENDED at or before this phase; 0: none. */
static unsigned long last_end(unsigned long at)
{
    return at < ENDED ? 0 : at - (at - ENDED) % PHASES;
}

static int of_begin(const struct worker *worker, struct span call)
{
    int whole = call.from == call.to;

    if (!scenario->takes(worker->operation) || (whole && call.to % PHASES == OPEN))
        return SUCCESS;
    return whole && call.to % PHASES == ENDED ? REFUSED : SUCCESS | REFUSED;
}

static int of_going_on(const struct worker *worker, struct span call)
{
    if (!scenario->cancels || (worker->begun.from == call.to && call.to % PHASES != ENDING))
        return SUCCESS;
    if (worker->begun.to < last_end(call.from) && scenario->takes(worker->operation))
        return CANCELLED;
    return SUCCESS | CANCELLED;
}

/* The answers that a call may have. */
static int expected(const struct worker *worker, enum step step, struct span call)
{
    int answers = step == BEGIN ? of_begin(worker, call) : of_going_on(worker, call);

    if (!scenario->closes)
        return answers;
    if (worker->opened.to + 1 < last_end(call.from)) /* one that was opened in ENDING may be either */
        return GONE;
    if (worker->opened.from < last_end(call.to) || call.to % PHASES == ENDING)
        answers |= GONE;
    return answers;
}

static int answer_of(CK_RV rv)
{
    int answers = rv == CKR_OK ? SUCCESS : 0;

    for (size_t i = 0; i < sizeof scenario->refused / sizeof *scenario->refused; i++)
        if (rv != CKR_OK && rv == scenario->refused[i])
            answers |= REFUSED;
    if (rv == CKR_OPERATION_NOT_INITIALIZED)
        answers |= CANCELLED;
    if (rv == CKR_SESSION_HANDLE_INVALID || rv == CKR_CRYPTOKI_NOT_INITIALIZED)
        answers |= GONE;
    return answers;
}

static void note_wrong(const char *what, CK_RV rv, struct span call, struct span begun)
{
    if (wrong++ < 8)
        printf("%s: %s answered 0x%lx in phases %lu to %lu, begun in %lu to %lu\n", scenario->name, what, rv, call.from,
               call.to, begun.from, begun.to);
}

/* Return the answer of a call; note one that these phases do not allow. */
static CK_RV judge(struct worker *worker, enum step step, const char *what, CK_RV rv)
{
    struct span call = {worker->before, phase};

    calls++;
    refusals += rv != CKR_OK;
    if (step == BEGIN)
        worker->begun = call;
    if (!(answer_of(rv) & expected(worker, step, call)))
        note_wrong(what, rv, call, worker->begun);
    return rv;
}

#define ASK(worker, step, what, call) ((worker)->before = phase, judge(worker, step, what, call))

#endif
