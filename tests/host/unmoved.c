/* unmoved LIBRARY: what belongs to the host is the same after C_Initialize: signal handlers and mask, locale,
 * environment, working directory, floating-point rounding; and the host's handlers still run. */
#include <fenv.h>
#include <locale.h>
#include <signal.h>

#include "host.h"

extern char **environ;
static volatile sig_atomic_t caught;

static void handler(int number)
{
    caught = number;
}

static unsigned long environment_sum(void)
{
    unsigned long sum = 0;

    for (char **entry = environ; *entry; entry++)
        for (const char *c = *entry; *c; c++)
            sum = sum * 31 + (unsigned char)*c;
    return sum;
}

static int is_changeable(int number)
{
    return number != SIGKILL && number != SIGSTOP && number != 32 && number != 33;
}

int main(int count, char **words)
{
    struct sigaction before[65], now, action = {.sa_handler = handler};
    sigset_t mask_before, mask_now;
    char locale_before[256], place_before[4096], place_now[4096];
    unsigned long environment_before;
    int changed = 0, rounding = fegetround();
    CK_FUNCTION_LIST_PTR p11;
    CK_INFO info;

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    for (int i = 1; i < 65; i++)
        sigaction(i, NULL, &before[i]);
    sigemptyset(&mask_before);
    sigaddset(&mask_before, SIGUSR2);
    sigprocmask(SIG_BLOCK, &mask_before, NULL);
    sigprocmask(SIG_BLOCK, NULL, &mask_before);
    setlocale(LC_ALL, "C");
    snprintf(locale_before, sizeof locale_before, "%s", setlocale(LC_ALL, NULL));
    environment_before = environment_sum();
    if (!getcwd(place_before, sizeof place_before))
        return 1;

    p11 = load(words[1], RTLD_LAZY);
    show("initialize", p11->C_Initialize(NULL));
    show("info", p11->C_GetInfo(&info));

    for (int i = 1; i < 65; i++) {
        if (!is_changeable(i))
            continue;
        sigaction(i, NULL, &now);
        changed += now.sa_handler != before[i].sa_handler || now.sa_flags != before[i].sa_flags;
    }
    sigprocmask(SIG_BLOCK, NULL, &mask_now);
    printf("handlers changed %d\n", changed);
    printf("mask changed %d\n", memcmp(&mask_now, &mask_before, 8) != 0);
    printf("locale changed %d\n", strcmp(locale_before, setlocale(LC_ALL, NULL)) != 0);
    printf("environment changed %d\n", environment_sum() != environment_before);
    printf("folder changed %d\n", !getcwd(place_now, sizeof place_now) || strcmp(place_now, place_before) != 0);
    printf("rounding changed %d\n", fegetround() != rounding);
    raise(SIGINT);
    printf("SIGINT caught %d\n", caught == SIGINT);
    raise(SIGTERM);
    printf("SIGTERM caught %d\n", caught == SIGTERM);
    show("info", p11->C_GetInfo(&info));
    return 0;
}
