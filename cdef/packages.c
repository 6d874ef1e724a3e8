/* Whether a host's Python of our version can be used: its packages win over those that came with the library, since a
 * process cannot have a package twice, so they must be of versions that the library works with. */

struct requirement {
    const char *module;
    long least, below; /* versions as version_number() has them */
};

static const struct requirement requirements[] = {REQUIREMENTS};

/* 47.0.1 is 47000; 0 for what is no version. */
static long version_number(const char *text)
{
    char *end;
    long major = strtol(text, &end, 10), minor = *end == '.' ? strtol(end + 1, NULL, 10) : 0;

    return major * 1000 + minor;
}

/* Return where the host's Python would import a module from, or NULL, perhaps with an exception. */
static PyObject *origin_of(const char *module)
{
    PyObject *importing = PyImport_ImportModule("_frozen_importlib_external"); /* which Python itself imports with */
    PyObject *finder = importing ? PyObject_GetAttrString(importing, "PathFinder") : NULL;
    PyObject *spec = finder ? PyObject_CallMethod(finder, "find_spec", "s", module) : NULL;
    PyObject *origin = spec && spec != Py_None ? PyObject_GetAttrString(spec, "origin") : NULL;

    Py_XDECREF(spec);
    Py_XDECREF(finder);
    Py_XDECREF(importing);
    return origin;
}

static int is_below(const char *path, const char *folder)
{
    size_t length = strlen(folder);

    return strncmp(path, folder, length) == 0 && path[length] == '/';
}

/* Whether a module is what the library would import anyway; then it need not be imported before it is needed. */
static int comes_with_us(const char *module)
{
    PyObject *origin = origin_of(module);
    const char *path = origin && PyUnicode_Check(origin) ? PyUnicode_AsUTF8(origin) : NULL;
    char site[PATH_MAX];
    int ours = origin == NULL && !PyErr_Occurred(); /* the host has none */

    if (path)
        ours = is_below(path, PURELIB) || is_below(path, PLATLIB) || (own_site(site) && is_below(path, site));
    Py_XDECREF(origin);
    PyErr_Clear();
    return ours;
}

static int version_fits(const struct requirement *it, PyObject *module)
{
    PyObject *version = PyObject_GetAttrString(module, "__version__");
    const char *text = version && PyUnicode_Check(version) ? PyUnicode_AsUTF8(version) : NULL;
    long number = text ? version_number(text) : 0;
    int fits = number >= it->least && number < it->below;

    if (!fits)
        snprintf(why_isolated, sizeof why_isolated, "this process's Python has %s %.20s", it->module,
                 text ? text : "of no version");
    Py_XDECREF(version);
    PyErr_Clear();
    return fits;
}

static int host_package_fits(const struct requirement *it)
{
    PyObject *loaded = PyImport_GetModuleDict(); /* borrowed, as what is in it */
    PyObject *module = PyDict_GetItemString(loaded, it->module);
    int fits = 0;

    if (!module && comes_with_us(it->module))
        return 1;
    module = PyImport_ImportModule(it->module);
    if (module)
        fits = version_fits(it, module);
    else
        snprintf(why_isolated, sizeof why_isolated, "this process's Python cannot import its %s", it->module);
    Py_XDECREF(module);
    PyErr_Clear();
    return fits;
}

static int host_packages_fit(void)
{
    PyGILState_STATE gil;
    int fit = 1;

    if (!Py_IsInitialized())
        return 1;
    gil = PyGILState_Ensure();
    if (!watch_python_fork()) /* before what is imported here; start_interpreter() tries again, and tells */
        PyErr_Clear();
    for (size_t i = 0; fit && i < sizeof requirements / sizeof *requirements; i++)
        fit = host_package_fits(&requirements[i]);
    PyGILState_Release(gil);
    return fit;
}
