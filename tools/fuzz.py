"""Compile and run a fuzz target of tests/fuzz.

    python tools/fuzz.py faults [functions] [--build address] [--isolation process]
    python tools/fuzz.py calls|walks [--build address] [--calls N] [--seed S] [--isolation process] [INPUT ...]
    python tools/fuzz.py walks --libfuzzer [--calls N]

faults makes each call with each fault, the same each time. calls drives the whole library by chance; walks what crosses
to an isolated process and back, without one. libFuzzer (clang) sees which branches an input takes, drive.c only what
functions answer.
What fails is left in build/fuzz/, named after the target; `tools/fuzz.py TARGET --calls 0 FILE` tries it again.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import cffi

import build_ffi
from mrhsm_p11.abi import isolation
from mrhsm_p11.abi._prototypes import OFFERED, PROTOTYPES
from mrhsm_p11.constants import CKA, CKF, CKK, CKO, CKR
from mrhsm_p11.mapping.mechanisms import ROWS

SOURCES = ROOT / "tests" / "fuzz"
DRIVERS = ("drive", "libfuzzer")
WITHOUT_CHANCE = ("faults",)  # a program of its own: makes the same calls each time
FOLDER = ROOT / "build" / "fuzz"
LONGEST_INPUT = 1024
MOST_ARGUMENTS = 10  # of a function
LIMIT_S = 120
MEMORY = "/dev/shm"  # the store waits for the disk after each change: here there is none
ASAN = "detect_leaks=0:allocator_may_return_null=1"
PINS = ("so pin 1234", "user pin 5678", "")
# What the targets are told of an argument that crossing.h's table does not have, or has no more to say of.
KINDS = {
    "CK_SESSION_HANDLE": "s",
    "CK_OBJECT_HANDLE": "o",
    "CK_SLOT_ID": "i",
    "CK_MECHANISM_TYPE": "m",
    "CK_FLAGS": "f",
    "CK_USER_TYPE": "u",
    "CK_BBOOL": "n",
    "CK_ULONG": "n",
    "CK_VOID_PTR": "n",  # what no step reads may lead anywhere
    "CK_NOTIFY": "n",
    "CK_ASYNC_DATA_PTR": "n",
    "CK_SESSION_VALIDATION_FLAGS_TYPE": "n",
    "CK_UTF8CHAR_PTR": "p",
    "CK_SESSION_HANDLE_PTR": "S",
    "CK_OBJECT_HANDLE_PTR": "O",
}
# What every function may answer: the universal codes; ours for NULL, and for lengths that are refused unread.
EVERYWHERE = (
    *("HOST_MEMORY", "FUNCTION_FAILED", "CRYPTOKI_NOT_INITIALIZED", "SESSION_HANDLE_INVALID", "SESSION_CLOSED"),
    *("DEVICE_ERROR", "DEVICE_MEMORY", "DEVICE_REMOVED", "TOKEN_NOT_PRESENT", "ARGUMENTS_BAD", "DATA_LEN_RANGE"),
)
# What a function answers beside the standard's list, as its text, or that of the code (2.40, 5.1.6), asks for.
BESIDE = {
    # nothing is under way: that no call is asynchronous here
    **dict.fromkeys(("C_AsyncComplete", "C_AsyncGetID"), ("OPERATION_NOT_INITIALIZED",)),
    # "This return code only applies to functions which attempt to set a PIN": so does this one.
    "C_InitToken": ("PIN_LEN_RANGE",),
    # "use a key for a cryptographic purpose that the key's attributes are not set to allow": these have such keys, and
    # their lists no code for them. 3.2 demands it in the text of C_EncapsulateKey and C_DecapsulateKey.
    **dict.fromkeys(
        ("C_WrapKey", "C_WrapKeyAuthenticated", "C_UnwrapKey", "C_UnwrapKeyAuthenticated"),
        ("KEY_FUNCTION_NOT_PERMITTED",),
    ),
    **dict.fromkeys(("C_DeriveKey", "C_DecapsulateKey"), ("KEY_FUNCTION_NOT_PERMITTED",)),
    # and of every function with a buffer for output (5.2) the second
    "C_EncapsulateKey": ("KEY_FUNCTION_NOT_PERMITTED", "BUFFER_TOO_SMALL"),
}
# Functions whose name is not their flag's.
USES = {
    "VerifySignature": "Verify",
    "WrapKey": "Wrap",
    "UnwrapKey": "Unwrap",
    "DeriveKey": "Derive",
    "GenerateKey": "Generate",
    "EncapsulateKey": "Encapsulate",
    "DecapsulateKey": "Decapsulate",
}


def crossing_table() -> bytes:
    """Return crossing.h's table as the library fills it in."""
    ffi = cffi.FFI()
    ffi.cdef(build_ffi.declarations() + build_ffi.declarations("crossing.h"))
    kinds = [ffi.typeof(f"enum crossing_{kind}").relements for kind in ("step_kind", "member_kind", "length_kind")]
    numbers = SimpleNamespace(**{name: value for kind in kinds for name, value in kind.items()})
    table: Any = isolation.fill(ffi, numbers)
    return bytes(ffi.buffer(table))


def uses(name: str) -> int:
    """Return the flag of mechanisms that a function takes, 0 where every one will do."""
    word = name.removeprefix("C_").removesuffix("Authenticated").removesuffix("Init")
    word = USES.get(word, word)
    spelled = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word).upper()
    return int(getattr(CKF, spelled, 0))


def listed() -> str:
    """Return the C table of what the standard lets each function answer, each row ended by CKR_OK."""
    with (SOURCES / "answers.csv").open() as file:
        rows = {row["function"]: row["answers"].split() for row in csv.DictReader(file)}
    codes = [[getattr(CKR, name) for name in (*rows[name], *EVERYWHERE, *BESIDE.get(name, ()))] for name in OFFERED]
    longest = max(map(len, codes)) + 1
    lines = (f"    {{{', '.join(f'{code}UL' for code in row)}}}," for row in codes)
    return "\n".join([f"static const CK_ULONG LISTED[][{longest}] = {{", *lines, "};"])


def argument_names() -> str:
    """Return the C table of what the header calls each function's arguments."""
    lines = []
    for name in OFFERED:
        quoted = (f'"{argument}"' for _, argument in PROTOTYPES[name])
        lines.append(f"    {{{', '.join(quoted)}}},")
    return "\n".join([f"static const char *const ARGUMENT_NAMES[][{MOST_ARGUMENTS}] = {{", *lines, "};"])


def tables() -> str:
    """Return the text of tables.h."""
    raw = crossing_table()
    words = [int.from_bytes(raw[at : at + 8], sys.byteorder) for at in range(0, len(raw), 8)]

    def numbers(name: str, values: list[int]) -> str:
        return f"static const CK_ULONG {name}[] = {{{', '.join(f'{value}UL' for value in values)}}};"

    def texts(name: str, values: list[str]) -> str:
        quoted = ", ".join(f'"{value}"' for value in values)
        return f"static const char *const {name}[] = {{{quoted}}};"

    def of(*namespaces: Any) -> list[int]:
        return sorted({value for one in namespaces for value in vars(one).values() if isinstance(value, int)})

    return "\n".join(
        [
            f"enum {{ FUNCTION_COUNT = {len(OFFERED)} }};",
            numbers("CROSSING_WORDS", words),
            "#define CROSSING (*(const struct crossing *)CROSSING_WORDS)",
            texts("FUNCTION_NAMES", list(OFFERED)),
            texts(
                "FUNCTION_KINDS", ["".join(KINDS.get(kind, " ") for kind, _ in PROTOTYPES[name]) for name in OFFERED]
            ),
            argument_names(),
            numbers("MECHANISM_KEYS", [next(iter(row.key_types), 0) for row in ROWS.values()]),
            numbers("MECHANISM_TYPES", [row.type for row in ROWS.values()]),
            numbers("MECHANISM_USES", [row.told_flags for row in ROWS.values()]),
            numbers("FUNCTION_USES", [uses(name) for name in OFFERED]),
            numbers("ATTRIBUTE_TYPES", of(CKA)),
            numbers("VALUES", of(CKO, CKK)),
            numbers("ANSWERS", of(CKR)),
            listed(),
            texts("PINS", list(PINS)),
        ]
    )


def invoke() -> str:
    """Return the text of invoke.h: the C function that calls one of the list by its number."""
    named = {p.name: p for p in build_ffi.offered()}
    text = build_ffi.invoke_function([(number, named[name]) for number, name in enumerate(OFFERED)])
    return text.replace("return C_", "return p11->C_")


def compiled(target: str, build: str, compiler: str = "cc") -> Path:
    """Compile a target, for driving by drive.c, or with clang by libFuzzer; return the program."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    lists = "\n".join(build_ffi.function_list_struct(struct) for struct in build_ffi.FUNCTION_LISTS)
    for name, text in (("function_list.h", lists), ("tables.h", tables()), ("invoke.h", invoke())):
        (FOLDER / name).write_text(text)
    options = build_ffi.BUILDS[build].options if build else ("-O2", "-g")
    options += ("-fsanitize=fuzzer",) if "clang" in compiler else ()
    places = [f"-I{place}" for place in (build_ffi.CDEF, SOURCES, FOLDER)]
    program = FOLDER / f"{target}-{build or 'plain'}-{compiler}"
    sources = [str(SOURCES / f"{target}.c")]
    if target not in WITHOUT_CHANCE:
        sources.append(str(SOURCES / ("libfuzzer.c" if "clang" in compiler else "drive.c")))
    warnings = ["-Wall", "-Wextra", "-Wno-unused-function", "-Wno-unused-variable", "-Wno-unused-parameter"]
    subprocess.run(
        [compiler, *options, *warnings, *places, *sources, "-o", str(program), "-ldl", "-pthread"], check=True
    )
    return program


def library(build: str) -> Path:
    """Return the library that a target drives."""
    return build_ffi.build_apart(build) if build else build_ffi.PACKAGE / "libmrhsm_p11.so"


def run(program: Path, words: argparse.Namespace) -> int:
    """Drive a target in a home of its own; keep the input that ended it."""
    last = FOLDER / f"{words.target}-{words.seed}-last"
    last.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=MEMORY if Path(MEMORY).is_dir() else None) as home:
        (Path(home) / "conf" / "tokens").mkdir(mode=0o700, parents=True)
        if words.isolation:
            (Path(home) / "conf" / "maprhsm.conf").write_text(f'[library]\nisolation = "{words.isolation}"\n')
        environment = {**os.environ, "MAPR_HOME": home, "ASAN_OPTIONS": ASAN}
        if words.strict:
            environment["FUZZ_STRICT"] = "1"
        if words.build == "address" and words.isolation:
            found = subprocess.run(["cc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True)
            environment["LD_PRELOAD"] = str(Path(found.stdout.strip()).resolve())
        driven = library(words.build) if words.target != "walks" else "-"
        chosen = [str(words.seed), str(words.calls), last, words.keep, *words.inputs]
        command = [program, driven, *(chosen if words.target not in WITHOUT_CHANCE else words.inputs)]
        ended = subprocess.run(command, check=False, env=environment)
    if ended.returncode and last.exists():
        raw = last.read_bytes()
        failed = FOLDER / f"{words.target}-{words.seed}-failed"
        failed.write_bytes(raw[: int.from_bytes(raw[LONGEST_INPUT:], "little")])
        print(f"failed (exit code {ended.returncode}); the input: {failed}")
    return ended.returncode


def clang() -> str:
    """Return a clang of any version that is there."""
    found = [name for name in ("clang", *(f"clang-{version}" for version in range(25, 13, -1))) if shutil.which(name)]
    if not found:
        raise SystemExit("libFuzzer needs clang (Debian: clang, libclang-rt-14-dev)")
    return found[0]


def run_libfuzzer(program: Path, words: argparse.Namespace) -> int:
    """Let libFuzzer drive a target, starting from the corpus."""
    found = FOLDER / f"{words.target}-corpus"
    found.mkdir(exist_ok=True)
    limits = [f"-max_len={LONGEST_INPUT}", "-malloc_limit_mb=0", "-rss_limit_mb=0", f"-timeout={LIMIT_S}"]
    amount = [f"-runs={words.calls}", f"-seed={words.seed}", "-print_final_stats=1", f"-artifact_prefix={FOLDER}/"]
    places = [found, SOURCES / "corpus" / words.target]
    environment = {**os.environ, "ASAN_OPTIONS": ASAN}
    return subprocess.run([program, *limits, *amount, *places], check=False, env=environment).returncode


def main() -> int:
    """Return 0 where nothing was found."""
    parser = argparse.ArgumentParser(description="Run a fuzz target of tests/fuzz.")
    parser.add_argument("target", choices=sorted(path.stem for path in SOURCES.glob("*.c") if path.stem not in DRIVERS))
    parser.add_argument("--build", choices=["", *build_ffi.BUILDS], default="")
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--isolation", choices=["", "process"], default="")
    parser.add_argument("--keep", default="-", metavar="FOLDER", help="where inputs with a new answer are written to")
    parser.add_argument("--strict", action="store_true", help="no answer that the standard does not list (answers.csv)")
    parser.add_argument("--libfuzzer", action="store_true", help="walks only; needs clang")
    parser.add_argument("inputs", nargs="*")
    words = parser.parse_args()
    words.inputs = words.inputs or sorted(map(str, (SOURCES / "corpus" / words.target).glob("*")))
    if words.libfuzzer:
        return run_libfuzzer(compiled(words.target, "address", clang()), words)
    return run(compiled(words.target, words.build), words)


if __name__ == "__main__":
    sys.exit(main())
