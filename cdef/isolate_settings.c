/* When a host wants a process of its own to serve it. */

/* The one line of maprhsm.conf that C reads: `isolation = "process"` below [library]. config.py refuses every other way
 * to write the same, so the two cannot disagree. */
static int says_isolation(const char *line, int *in_library)
{
    char value[16], rest;

    line += strspn(line, " \t");
    if (*line == '[')
        *in_library = strncmp(line, "[library]", 9) == 0;
    if (!*in_library || strncmp(line, "isolation", 9) != 0)
        return 0;
    return sscanf(line + 9, " = \"%15[a-z]\" %c", value, &rest) >= 1 && strcmp(value, "process") == 0;
}

static int file_says_isolation(const char *path)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t room = 0;
    int in_library = 0, found = 0;

    if (!file)
        return 0;
    while (!found && getline(&line, &room, file) >= 0)
        found = says_isolation(line, &in_library);
    free(line);
    fclose(file);
    return found;
}

/* As config.py's places(). */
static int settings_say_isolation(void)
{
    char path[PATH_MAX], home[PATH_MAX] = "";
    const char *named = secure_getenv("MRHSM_CONF"), *variable = secure_getenv("MAPR_HOME");
    Dl_info place = {0};
    char *slash;
    FILE *record;

    if (named && *named)
        return file_says_isolation(named);
    if (variable && *variable) {
        snprintf(home, sizeof home, "%s", variable);
    } else if (dladdr((void *)settings_say_isolation, &place) && realpath(place.dli_fname, path)) {
        slash = strrchr(path, '/');
        snprintf(slash, sizeof path - (size_t)(slash - path), "/installed.home");
        record = fopen(path, "re");
        if (record) {
            if (!fgets(home, sizeof home, record))
                home[0] = '\0';
            home[strcspn(home, "\r\n")] = '\0';
            fclose(record);
        }
    }
    snprintf(path, sizeof path, "%.4000s/conf/maprhsm.conf", home[0] ? home : "/opt/mapr");
    return file_says_isolation(path);
}
