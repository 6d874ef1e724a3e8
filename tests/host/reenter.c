/* reenter LIBRARY TIMES: a signal handler calls the library, which its thread may be in the middle of: then it is refused,
 * and what it interrupted goes on. Prints what was not as it must be. */
#include "threads.h"
#include "token.h"

static atomic_int stop;
static volatile sig_atomic_t refused, served, other;
static pthread_t main_thread;

static void handler(int number)
{
    CK_INFO info;
    CK_RV rv = p11->C_GetInfo(&info);

    refused += rv == CKR_FUNCTION_FAILED;
    served += rv == CKR_OK;
    other += rv != CKR_OK && rv != CKR_FUNCTION_FAILED;
}

static void *disturb(void *unused)
{
    while (!stop) {
        pthread_kill(main_thread, SIGUSR1);
        usleep(150);
    }
    return NULL;
}

int main(int count, char **words)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    int failures = 0;
    CK_SESSION_HANDLE session;

    main_thread = pthread_self();
    p11 = load(words[1], RTLD_LAZY);
    show("initialize", p11->C_Initialize(NULL));
    sigaction(SIGUSR1, &action, NULL);
    struct running *disturber = begin(disturb, NULL);
    for (int i = 0; i < atoi(words[2]) || (refused == 0 && i < 1000000); i++) {
        failures += open_session(&session) != CKR_OK;
        failures += p11->C_CloseSession(session) != CKR_OK;
    }
    stop = 1;
    join(disturber);
    printf("refused %d\nother %d\nfailures %d\n", refused > 0, (int)other, failures);
    show("finalize", p11->C_Finalize(NULL));
    return 0;
}
