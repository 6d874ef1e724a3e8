/* One of many processes: waits for a line, serves itself as a daemon does at its start, then goes on using the key. */

enum { EVERY_MS = 100, PATIENCE_S = 300 };

static CK_RV find_and_use(struct worker *worker)
{
    CK_ULONG count;
    CK_RV rv = find(worker->session, KEYS[AES].label, KEYS[AES].class, &count, &keys[AES]);

    return rv ? rv : count ? encrypt_cbc_pad(worker) : CKR_KEY_HANDLE_INVALID;
}

/* Prints "served", the milliseconds to the first result and how often it was refused before; then "ended", operations,
 * failures and the milliseconds of the slowest. */
static int follow(const char *library, const char *token, const char *pin, double seconds)
{
    static CK_BYTE text[64], output[ROOM];
    struct worker worker = {.size = 32, .text = text, .output = output};
    double began, until, slowest = 0;
    long done = 0, failed = 0, refused = 0;
    char line[8];

    load(library);
    printf("ready\n");
    if (!fgets(line, sizeof line, stdin))
        return 1;
    began = now_ns();
    initialize();
    worker.session = logged_in(slot_of(token), pin, NULL);
    for (; find_and_use(&worker) != CKR_OK; refused++) {
        if (now_ns() - began > PATIENCE_S * 1e9)
            return 1;
        rest(EVERY_MS);
    }
    printf("served %.1f %ld\n", (now_ns() - began) * 1e-6, refused);
    until = now_ns() + seconds * 1e9;
    while (now_ns() < until) {
        double before = now_ns();
        failed += encrypt_cbc_pad(&worker) != CKR_OK;
        slowest = now_ns() - before > slowest ? now_ns() - before : slowest;
        done++;
        rest(EVERY_MS);
    }
    printf("ended %ld %ld %.1f\n", done, failed, slowest * 1e-6);
    return 0;
}
