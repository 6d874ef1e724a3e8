"""Turn cdef/ into everything that repeats it.

cdef/pkcs11t.h holds the types and constants, cdef/pkcs11f.h the prototypes; nothing else in the repository lists
either. `python build_ffi.py` writes the generated Python modules next to the hand-written ones; setup.py also compiles
libmrhsm_p11.so from here: the C stubs, the function lists and the Python twins behind them.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
CDEF = HERE / "cdef"
PACKAGE = HERE / "src" / "mrhsm_p11"

# Each struct that lists functions, and the newest version whose functions it holds.
FUNCTION_LISTS = {"CK_FUNCTION_LIST": "2.40", "CK_FUNCTION_LIST_3_0": "3.0", "CK_FUNCTION_LIST_3_2": "3.2"}
# The versions of the interface "PKCS 11", the default first; each has the longest list that its functions fill.
INTERFACES = ("3.2", "3.1", "3.0", "2.40")
# These answer without Python, so that loading or listing the library has no effect on the process; see interfaces.c.
WITHOUT_PYTHON = frozenset({"C_GetFunctionList", "C_GetInterfaceList", "C_GetInterface"})
# These tell again what Python told once, until something changes: cdef/answers.c.
TOLD_AGAIN = frozenset({"C_GetInfo", "C_GetSlotInfo", "C_GetSessionInfo", "C_GetMechanismList", "C_GetMechanismInfo"})
# The one stub that is written by hand, in boot.c: it starts Python.
STARTS_PYTHON = "C_Initialize"

# The module of each package that the library needs in a host's Python, which tells its version; None: any will do, as
# only enumerations of it are imported.
MODULES = {"cffi": "_cffi_backend", "cryptography": "cryptography", "PyKMIP": None}

_BOUND = re.compile(r"(>=|==|<)([\d.]+)")
_DEFINE = re.compile(r"^#define (CK[A-Z]?|CRYPTOKI)_(\w+) (0x[0-9A-Fa-f]+)UL$", re.M)
_PROTOTYPE = re.compile(r"^CK_RV (C_\w+)\((.+)\); /\* ([\d.]+) \*/$", re.M)


class Prototype(NamedTuple):
    """One line of pkcs11f.h."""

    name: str
    arguments: tuple[tuple[str, str], ...]  # (C type, name)
    since: str

    @property
    def declared(self) -> str:
        return ", ".join(f"{kind} {name}" for kind, name in self.arguments)

    @property
    def passed(self) -> str:
        return ", ".join(name for _, name in self.arguments)


def prototypes() -> list[Prototype]:
    """Return the functions of pkcs11f.h in the standard's order."""
    found = []
    for name, arguments, since in _PROTOTYPE.findall((CDEF / "pkcs11f.h").read_text()):
        pairs = tuple((kind, argument) for kind, argument in (pair.split() for pair in arguments.split(",")))
        found.append(Prototype(name, pairs, since))
    return found


def up_to(version: str) -> list[Prototype]:
    """Return the functions that the list of this version holds."""
    return [p for p in prototypes() if _number(p.since) <= _number(version)]


def offered() -> list[Prototype]:
    """Return the functions that the library exports: those of its longest list."""
    return up_to(max(FUNCTION_LISTS.values(), key=_number))


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


# ---- generated Python modules ----


def constants() -> dict[str, dict[str, int]]:
    """Return the constants of pkcs11t.h by prefix: {"CKR": {"OK": 0, ...}, ...}."""
    families: dict[str, dict[str, int]] = {}
    for prefix, name, value in _DEFINE.findall((CDEF / "pkcs11t.h").read_text()):
        families.setdefault(prefix, {})[name] = int(value, 16)
    return families


def constants_module() -> str:
    """Return the text of mrhsm_p11/constants.py.

    Plain class attributes, not IntEnum: a thousand enum members cost 7 ms at each process start, these cost nothing.
    """
    lines = [
        '"""PKCS #11 constants: generated from cdef/pkcs11t.h by build_ffi.py, do not edit."""',
        "",
        "from mrhsm_p11._namespace import Namespace",
    ]
    for prefix, members in constants().items():
        lines += ["", "", f"class {prefix}(Namespace):"]
        lines += [f"    {name if name.isidentifier() else '_' + name} = 0x{value:X}" for name, value in members.items()]
    return "\n".join(lines) + "\n"


def prototypes_module() -> str:
    """Return the text of mrhsm_p11/abi/_prototypes.py: name -> ((C type, argument), ...)."""
    lines = [
        '"""PKCS #11 functions: generated from cdef/pkcs11f.h by build_ffi.py, do not edit."""',
        "",
        "Prototype = tuple[tuple[str, str], ...]",
        "",
        "PROTOTYPES: dict[str, Prototype] = {",
        *(f"    {p.name!r}: {p.arguments!r}," for p in prototypes()),
        "}",
        "",
        "# What the library exports and answers through Python.",
        f"OFFERED: tuple[str, ...] = {tuple(p.name for p in offered() if p.name not in WITHOUT_PYTHON)!r}",
    ]
    return "\n".join(lines) + "\n"


def generate() -> None:
    """Write the generated modules where they are imported from; untouched when already up to date."""
    for path, text in (
        (PACKAGE / "constants.py", constants_module()),
        (PACKAGE / "abi" / "_prototypes.py", prototypes_module()),
    ):
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


# ---- the library ----

# Runs once, inside cffi_start_python(). A failure becomes one line and CKR_GENERAL_ERROR instead of cffi's report.
# What the imports make stays for good: a collector that looks through it meanwhile would cost a twelfth of the start.
_START = """
import gc
from mrhsm_p11.abi._native import ffi, lib
if lib.python_is_ours():
    gc.disable()
try:
    from mrhsm_p11.abi import entry
    entry.register(ffi, lib)
except BaseException as error:
    lib.refuse_start(f"{type(error).__name__}: {error}".encode())
if lib.python_is_ours():
    gc.freeze()
    gc.enable()
"""

# The calls that C may serve: what answers first, or passes the call on to Python (datapath.c).
_CIPHERS = {"Encrypt": "FAMILY_ENCRYPT", "Decrypt": "FAMILY_DECRYPT"}
_SINKS = {"Digest": "FAMILY_DIGEST", "Sign": "FAMILY_SIGN"}
_KEYED = {"Encrypt": "FAMILY_ENCRYPT", "Decrypt": "FAMILY_DECRYPT", "Sign": "FAMILY_SIGN", "Verify": "FAMILY_VERIFY"}
_CHECKED = {"Verify": "FAMILY_VERIFY"}
_BEFORE_PYTHON: dict[str, str] = {
    **{f"C_{name}Init": f"datapath_init({family}, {{all}})" for name, family in _KEYED.items()},
    "C_DigestInit": "datapath_init(FAMILY_DIGEST, {all}, CK_INVALID_HANDLE)",
    **{f"C_{name}": f"datapath_crypt({family}, STEP_ONCE, {{all}})" for name, family in _CIPHERS.items()},
    **{f"C_{name}Update": f"datapath_crypt({family}, STEP_UPDATE, {{all}})" for name, family in _CIPHERS.items()},
    **{
        f"C_{name}Final": f"datapath_crypt({family}, STEP_FINAL, {{session}}, NULL, 0, {{rest}})"
        for name, family in _CIPHERS.items()
    },
    **{f"C_{name}": f"datapath_squeeze({family}, STEP_ONCE, {{all}})" for name, family in _SINKS.items()},
    **{f"C_{name}Update": f"datapath_absorb({family}, {{all}})" for name, family in (_SINKS | _CHECKED).items()},
    **{
        f"C_{name}Final": f"datapath_squeeze({family}, STEP_FINAL, {{session}}, NULL, 0, {{rest}})"
        for name, family in _SINKS.items()
    },
    "C_Verify": "datapath_check(STEP_ONCE, {all})",
    "C_VerifyFinal": "datapath_check(STEP_FINAL, {session}, NULL, 0, {rest})",
    "C_GenerateRandom": "datapath_random({all})",
    "C_WrapKey": "datapath_wrap({all})",
}

# What Python may ask of the C front: see the first three in boot.c, answers_end in answers.c, serve_host in isolated.c,
# datapath_*, context_*, cipher_* and mac_* in datapath*.c, template_flat in templates.c, the others in wait.c.
_LENT = """
void refuse_start(const char *text);
int python_is_ours(void);
_Bool process_ends(void);
void answers_end(void);
void gate_pause(void);
void gate_resume(void);
void sigpipe_block(void);
void sigpipe_restore(void);
void serve_host(int control, const struct crossing *table);
CK_ULONG template_flat(const void *attributes, CK_ULONG count, const CK_ULONG *nested, CK_ULONG nested_count,
                       CK_BYTE *out, CK_ULONG room);
int datapath_start(void);
void datapath_stop(void);
void datapath_open(CK_ULONG handle, CK_ULONG token);
void datapath_cancel(CK_ULONG handle, int closed);
CK_ULONG datapath_changes(void);
int datapath_grant(CK_ULONG seen, const struct terms *terms, const CK_BYTE *key, CK_ULONG key_bytes);
int datapath_grant_wrap(CK_ULONG seen, const struct terms *terms, const CK_BYTE *wrapping, CK_ULONG wrapping_bytes,
                        CK_OBJECT_HANDLE key, CK_ULONG mark, const CK_BYTE *plain, CK_ULONG plain_bytes);
int datapath_unwrap(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE unwrapping, CK_MECHANISM_TYPE mechanism,
                    const struct parameter *given, const CK_BYTE *in, CK_ULONG n, CK_BYTE *out);
void datapath_end_key(CK_ULONG mark);
void datapath_end_all(void);
int datapath_begin(int family, CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE key, CK_MECHANISM_TYPE mechanism,
                   const struct parameter *given);
int datapath_claim(int family, CK_SESSION_HANDLE handle);
struct context *datapath_take(int family, CK_SESSION_HANDLE handle);
CK_ULONG datapath_served(void);
void context_free(struct context *context);
int context_restart(struct context *context);
struct context *context_copy(const struct context *context);
CK_ULONG context_size(const struct context *context, CK_ULONG n, int final);
int context_streams(const struct context *context);
int context_is_one_part(const struct context *context);
CK_RV cipher_make(struct context *context, int step, const CK_BYTE *in, CK_ULONG n, CK_BYTE *out, CK_ULONG *given);
CK_RV mac_update(struct context *context, const CK_BYTE *in, CK_ULONG n);
CK_RV mac_call(struct context *context, const CK_BYTE *in, CK_ULONG n, CK_BYTE *out, CK_ULONG *room);
CK_RV mac_verify(struct context *context, const CK_BYTE *in, CK_ULONG n, const CK_BYTE *mac, CK_ULONG mac_bytes);
"""


def declarations(header: str = "pkcs11t.h") -> str:
    """Return the types of a header of ours in the form that cffi reads."""
    return "\n".join(line for line in (CDEF / header).read_text().splitlines() if not line.startswith("#"))


class Build(NamedTuple):
    """What differs between the library that is used and those that show its mistakes."""

    options: tuple[str, ...] = ()  # of compiler and linker
    deepbind: bool = True
    python_malloc: bool = False  # Python's own allocator hides overruns and leaks


PRODUCT = Build()
# What build_apart() makes, for tools/sanitize.py, tests/fuzz and tests/host/test_node.py.
BUILDS = {
    "address": Build(
        ("-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"),
        deepbind=False,  # AddressSanitizer aborts on it
        python_malloc=True,
    ),
    "valgrind": Build(("-g", "-O1"), python_malloc=True),
    "host_symbols_first": Build(("-O0",), deepbind=False),  # shows what the product is kept from
}


def c_source(*, base_prefix: str, site_packages: tuple[str, str], build: Build) -> str:
    """Return the C text that cffi adds its glue to."""
    with_python = [p for p in offered() if p.name not in WITHOUT_PYTHON]
    numbered = list(enumerate(with_python))
    return "\n".join(
        [
            f"#define BUILD {_quoted(build_of_sources())}",
            f"#define FUNCTION_COUNT {len(with_python)}",
            f"#define BASE_PREFIX {_quoted(base_prefix)}",
            f"#define PURELIB {_quoted(site_packages[0])}",
            f"#define PLATLIB {_quoted(site_packages[1])}",
            f"#define REQUIREMENTS {', '.join(requirements())}",
            f"#define USE_DEEPBIND {int(build.deepbind)}",
            f"#define USE_PYTHON_MALLOC {int(build.python_malloc)}",
            '#include "native.h"',
            *(f"EXPORT CK_RV {p.name}({p.declared});" for p in offered()),
            *(function_list_struct(struct) for struct in FUNCTION_LISTS),
            *(_function_list(version) for version in INTERFACES),
            _interfaces(),
            *(f"static CK_RV py_{p.name}({p.declared});" for p in with_python),
            '#include "datapath.c"',
            '#include "templates.c"',
            '#include "gate.c"',
            '#include "fork.c"',
            '#include "wait.c"',
            '#include "crossing.c"',
            '#include "isolate.c"',
            '#include "boot.c"',
            '#include "packages.c"',
            invoke_function(numbered),
            '#include "answers.c"',
            '#include "isolated.c"',
            '#include "interfaces.c"',
            *(_stub(number, p) for number, p in numbered if p.name != STARTS_PYTHON),
        ]
    )


def requirements() -> list[str]:
    """Return a row for packages.c of each package that pyproject.toml has us need, with the versions that will do."""
    named = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]["dependencies"]
    bounds = {re.split(r"[=<>]", each, maxsplit=1)[0]: dict(_BOUND.findall(each)) for each in named}
    return [
        f'{{"{MODULES[package]}", {_thousands(each[">="])}, {_thousands(each["<"]) if "<" in each else "LONG_MAX"}}}'
        for package, each in bounds.items()
        if MODULES[package]
    ]


def _thousands(version: str) -> int:
    major, minor = (*_number(version), 0)[:2]
    return major * 1000 + minor


def build_of_sources() -> str:
    """Return what tells this library's two processes that they are of one build."""
    texts = b"".join(path.read_bytes() for path in sorted(CDEF.iterdir()) if path.suffix in (".c", ".h"))
    return hashlib.sha256(texts).hexdigest()[:16]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def function_list_struct(struct: str) -> str:
    """Return the C definition of a function list."""
    members = "\n".join(f"    CK_RV (*{p.name})({p.declared});" for p in up_to(FUNCTION_LISTS[struct]))
    return f"struct {struct} {{\n    CK_VERSION version;\n{members}\n}};"


def list_of(version: str) -> str:
    """Return the struct of an interface of this version."""
    known = [struct for struct, since in FUNCTION_LISTS.items() if _number(since) <= _number(version)]
    return known[-1]


def _function_list(version: str) -> str:
    major, minor = _number(version)
    values = ",\n    ".join(p.name for p in up_to(version))
    return f"static {list_of(version)} list_{major}_{minor} = {{\n    {{{major}, {minor}}},\n    {values}\n}};"


def _interfaces() -> str:
    lists = ("list_{}_{}".format(*_number(version)) for version in INTERFACES)
    rows = "\n".join(f'    {{(CK_CHAR *)"PKCS 11", &{one}, 0}},' for one in lists)
    return f"static CK_INTERFACE interfaces[] = {{\n{rows}\n}};"


def _stub(number: int, function: Prototype) -> str:
    words = ", ".join(f"(CK_ULONG){name}" for _, name in function.arguments)
    answers = "told" if function.name in TOLD_AGAIN else "py"
    python = f"{answers}_{function.name}({function.passed})"
    return (
        f"CK_RV {function.name}({function.declared})\n"
        "{\n"
        "    CK_RV rv = enter();\n"
        "    if (UNLIKELY(rv == CALL_ISOLATED))\n"
        f"        return call_isolated({number}, (CK_ULONG[]){{{words}}}, {len(function.arguments)});\n"
        "    if (UNLIKELY(rv != CKR_OK))\n"
        "        return rv;\n"
        f"{_before_python(function)}"
        f"    return leave(rv != PASS ? rv : {python});\n"
        "}"
    )


def _before_python(function: Prototype) -> str:
    session, *rest = (name for _, name in function.arguments)
    first = _BEFORE_PYTHON.get(function.name, "PASS")
    return f"    rv = {first.format(all=function.passed, session=session, rest=', '.join(rest))};\n"


def _call_with_words(function: Prototype) -> str:
    words = ", ".join(f"({kind})a[{index}]" for index, (kind, _) in enumerate(function.arguments))
    return f"{function.name}({words})"


def invoke_function(functions: list[tuple[int, Prototype]]) -> str:
    """Return the C function that calls one by its number: what an isolated process does for its host."""
    cases = "\n".join(f"    case {number}: return {_call_with_words(function)};" for number, function in functions)
    head = "static CK_RV invoke(CK_ULONG function, const CK_ULONG *a)"
    return f"{head}\n{{\n    switch (function) {{\n{cases}\n    }}\n    return CKR_FUNCTION_NOT_SUPPORTED;\n}}"


class PythonMissing(SystemExit):
    """This Python cannot be linked to; the text says what to install."""

    def __init__(self, fault: str, remedy: str) -> None:
        super().__init__(f"mrhsm-p11: {sys.executable} {fault}: {remedy}")


def libpython() -> Path:
    """Return the shared library of the running Python. Raises PythonMissing where it or its headers are absent."""
    version = "{}.{}".format(*sys.version_info)
    name = sysconfig.get_config_var("INSTSONAME")
    folders = [Path(f) for f in (sysconfig.get_config_var("LIBDIR"), Path(sys.base_prefix) / "lib") if f]
    found = [folder / str(name) for folder in folders if name and (folder / name).exists()]
    if not sysconfig.get_config_var("Py_ENABLE_SHARED") or not found:
        raise PythonMissing(
            "has no shared libpython, which a PKCS #11 module written in Python must link to",
            "use a Python built with --enable-shared (pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install "
            f"{version}) or the distribution's (Debian: apt install python3-dev; Fedora: dnf install python3-devel)",
        )
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        raise PythonMissing(
            f"lacks its C headers ({sysconfig.get_path('include')}/Python.h)",
            f"install them (Debian: apt install python{version}-dev; Fedora: dnf install python3-devel)",
        )
    return found[0]


def complete(extension: Any, folder: Path, build: Build = PRODUCT) -> None:
    """Fill in a setuptools Extension: write its C source into `folder` and set how it is compiled and linked."""
    import cffi

    library = libpython()
    folder.mkdir(parents=True, exist_ok=True)
    ffi = cffi.FFI()
    ffi.embedding_api("")
    ffi.cdef("".join(declarations(each) for each in ("pkcs11t.h", "crossing.h", "datapath.h")) + _LENT)
    twins = "\n".join(f"CK_RV py_{p.name}({p.declared});" for p in offered() if p.name not in WITHOUT_PYTHON)
    ffi.cdef(f'extern "Python" {{\n{twins}\n}}')
    ffi.embedding_init_code(_START)
    text = c_source(
        base_prefix=sys.base_prefix,
        site_packages=(sysconfig.get_path("purelib"), sysconfig.get_path("platlib")),
        build=build,
    )
    ffi.set_source("mrhsm_p11.abi._native", text)
    ffi.emit_c_code(str(folder / "libmrhsm_p11.c"))
    extension.sources = [str(folder / "libmrhsm_p11.c")]
    extension.depends = [str(path) for path in CDEF.iterdir()]
    extension.include_dirs = [str(CDEF)]
    extension.libraries = ["python" + str(sysconfig.get_config_var("LDVERSION")), "dl", "pthread"]
    extension.library_dirs = [str(library.parent)]
    extension.runtime_library_dirs = [] if str(library).startswith("/usr/lib") else [str(library.parent)]
    warnings = ["-Wall", "-Wextra", "-Wno-unused-parameter"]
    extension.extra_compile_args = ["-fvisibility=hidden", *warnings, *build.options]
    extension.extra_link_args = [
        *build.options,
        "-Wl,-z,nodelete,-z,now,-z,relro",
        f"-Wl,--version-script={CDEF / 'exports.map'}",
    ]


def build_apart(name: str) -> Path:
    """Make one of BUILDS, with a copy of the package around it, in a folder of its own; return the library."""
    folder = HERE / "build" / name
    package = folder / "site" / "mrhsm_p11"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    it = SimpleNamespace()
    complete(it, folder, BUILDS[name])
    library = package / "libmrhsm_p11.so"
    command = ["cc", "-shared", "-fPIC", *it.extra_compile_args, *it.sources, "-o", str(library)]
    command += [f"-I{place}" for place in (*it.include_dirs, sysconfig.get_path("include"))]
    command += [f"-L{place}" for place in it.library_dirs] + [f"-l{name}" for name in it.libraries]
    command += [f"-Wl,-rpath,{place}" for place in it.runtime_library_dirs] + it.extra_link_args
    subprocess.run(command, check=True)
    return library


if __name__ == "__main__":
    generate()
