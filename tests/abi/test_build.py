"""What build_ffi.py makes of cdef/, and what it says where it cannot."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from p11 import build_ffi

from mrhsm_p11 import constants
from mrhsm_p11.abi import _prototypes

ROOT = Path(build_ffi.__file__).parent


def test_the_function_list_is_the_240_slice() -> None:
    names = [p.name for p in build_ffi.up_to("2.40")]
    assert len(names) == 68
    assert (names[0], names[3], names[-1]) == ("C_Initialize", "C_GetFunctionList", "C_WaitForSlotEvent")
    assert len(build_ffi.up_to("3.0")) == 92
    assert len(build_ffi.up_to("3.2")) == len(build_ffi.prototypes())


def test_each_list_is_a_slice_of_the_header() -> None:
    lengths = {version: (build_ffi.list_of(version), len(build_ffi.up_to(version))) for version in build_ffi.INTERFACES}
    assert lengths == {
        "3.2": ("CK_FUNCTION_LIST_3_2", 104),
        "3.1": ("CK_FUNCTION_LIST_3_0", 92),
        "3.0": ("CK_FUNCTION_LIST_3_0", 92),
        "2.40": ("CK_FUNCTION_LIST", 68),
    }


def test_every_line_of_the_header_is_a_prototype() -> None:
    lines = [line for line in (ROOT / "cdef" / "pkcs11f.h").read_text().splitlines() if line.startswith("CK_RV")]
    assert len(build_ffi.prototypes()) == len(lines)


def test_the_generated_modules_are_up_to_date() -> None:
    assert Path(str(constants.__file__)).read_text() == build_ffi.constants_module()
    assert Path(str(_prototypes.__file__)).read_text() == build_ffi.prototypes_module()


def test_no_constant_is_lost() -> None:
    defines = [line for line in (ROOT / "cdef" / "pkcs11t.h").read_text().splitlines() if line.startswith("#define C")]
    assert sum(map(len, build_ffi.constants().values())) == len(defines)


def test_functions_answered_without_python_have_no_twin() -> None:
    source = build_ffi.c_source(base_prefix="/x", site_packages=("/y", "/z"), build=build_ffi.Build())
    assert not any(f"py_{name}" in source for name in build_ffi.WITHOUT_PYTHON)
    assert not any(f"return {name}(" in source for name in build_ffi.WITHOUT_PYTHON)
    assert "return C_Logout((CK_SESSION_HANDLE)a[0]);" in source
    assert "return leave(rv != PASS ? rv : py_C_Logout(hSession));" in source


def test_paths_are_quoted_and_deepbind_is_a_switch() -> None:
    source = build_ffi.c_source(base_prefix='/a "b"\\c', site_packages=("/y", "/z"), build=build_ffi.BUILDS["address"])
    assert r'#define BASE_PREFIX "/a \"b\"\\c"' in source
    assert "#define USE_DEEPBIND 0" in source


def refusal(monkeypatch: pytest.MonkeyPatch, **variables: Any) -> str:
    true = sysconfig.get_config_var
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: variables.get(name, true(name)))
    with pytest.raises(build_ffi.PythonMissing) as caught:
        build_ffi.libpython()
    text = str(caught.value)
    assert text.startswith(f"mrhsm-p11: {sys.executable} ")
    assert "\n" not in text
    return text


@pytest.mark.parametrize("doctored", [{"Py_ENABLE_SHARED": 0}, {"INSTSONAME": "libpython-gone.so"}, {"INSTSONAME": ""}])
def test_a_python_without_shared_library_is_refused(monkeypatch: pytest.MonkeyPatch, doctored: dict[str, Any]) -> None:
    text = refusal(monkeypatch, **doctored)
    assert "no shared libpython" in text
    assert "--enable-shared" in text


def test_a_python_without_headers_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    text = refusal(monkeypatch)
    assert f"lacks its C headers ({tmp_path}/Python.h)" in text
    assert "-dev" in text


STATIC = """
import runpy, sys, sysconfig
true = sysconfig.get_config_var
sysconfig.get_config_var = lambda name: 0 if name == "Py_ENABLE_SHARED" else true(name)
import build_ffi
from setuptools import Extension
build_ffi.complete(Extension("x", []), __import__("pathlib").Path(sys.argv[1]))
"""


def test_the_build_stops_with_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STATIC, tmp_path / "build"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("mrhsm-p11: ")
    assert not (tmp_path / "build").exists()


def test_the_c_source_that_is_compiled_has_every_stub(tmp_path: Path) -> None:
    from setuptools import Extension

    extension = Extension("mrhsm_p11.libmrhsm_p11", [])
    build_ffi.complete(extension, tmp_path)
    text = Path(extension.sources[0]).read_text()
    assert all(
        f"\nCK_RV {p.name}(" in text
        for p in build_ffi.offered()
        if p.name not in build_ffi.WITHOUT_PYTHON | {build_ffi.STARTS_PYTHON}
    )
    assert f"python{sysconfig.get_config_var('LDVERSION')}" in extension.libraries
    assert any("nodelete" in option for option in extension.extra_link_args)
