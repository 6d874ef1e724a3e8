from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrhsm_p11 import config


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> dict[str, str]:
        (tmp_path / "conf").mkdir(exist_ok=True)
        (tmp_path / "conf" / "maprhsm.conf").write_text(text)
        return {"MAPR_HOME": str(tmp_path)}

    return write


def load(environ: dict[str, str]) -> config.Config:
    return config.load(environ, privileged=False)


def test_everything_has_a_default(tmp_path: Path) -> None:
    loaded = load({"MAPR_HOME": str(tmp_path)})
    assert loaded.tokens_dir == tmp_path / "conf" / "tokens"
    assert loaded.log_path == tmp_path / "logs" / "mrhsm.log"
    assert (loaded.deadline_s, loaded.cache_seconds, loaded.stale_seconds, loaded.pin_attempts) == (
        10.0,
        300.0,
        0.0,
        10,
    )


def test_home_is_opt_mapr_without_a_variable() -> None:
    assert load({}).home == Path("/opt/mapr")


def test_settings_are_read_from_tables(write) -> None:
    environ = write('[log]\nlevel = "debug"\n[network]\ndeadline_seconds = 4\nconnections = 2\n')
    loaded = load(environ)
    assert (loaded.log_level, loaded.deadline_s, loaded.pool_size) == ("debug", 4.0, 2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[log]\n\nlevle = "debug"\n', "line 3: unknown setting 'log.levle'"),
        ("[network]\nconnections = 2.5\n", "line 2: network.connections must be a whole number"),
        ("[network]\nconnections = true\n", "line 2: network.connections must be a whole number"),
        ("[network]\nconnections = 0\n", "line 2: network.connections must be from 1 to 64"),
        ('[new_token]\nstore = "tape"\n', "line 2: new_token.store must be one of file, kmip"),
        ('log.level = "loud"\n', "line 1: log.level must be one of"),
        ("[log\n", "line 1"),
        ('[library]\nisolation = "always"\n', "line 2: library.isolation must be one of foreign, process"),
        ('library.isolation = "process"\n', "line 1: library.isolation must stand on a line of its own"),
        ('library = { isolation = "process" }\n', "line 1: library.isolation must stand on a line of its own"),
        ('[ library ]\nisolation = "process"\n', "line 2: library.isolation must stand on a line of its own"),
        ("[library]\nisolation = 'process'\n", "line 2: library.isolation must stand on a line of its own"),
        ('[library]\n"isolation" = "process"\n', "line 2: library.isolation must stand on a line of its own"),
        ('[library]\nisolation = "proc\\u0065ss"\n', "line 2: library.isolation must stand on a line of its own"),
    ],
)
def test_bad_settings_name_file_and_line(write, text: str, says: str) -> None:
    environ = write(text)
    with pytest.raises(config.ConfigurationError) as caught:
        load(environ)
    assert says in str(caught.value)
    assert "maprhsm.conf" in str(caught.value)


def test_another_file_may_be_named(tmp_path: Path) -> None:
    other = tmp_path / "other.conf"
    other.write_text("[slots]\nhardware = true\n")
    assert load({"MRHSM_CONF": str(other)}).hw_slot is True


def test_variables_are_ignored_in_a_privileged_process(write) -> None:
    environ = write("[slots]\nhardware = true\n")
    assert config.load(environ, privileged=True) == config.Config()
    assert config._privileged() is False


SIMPLE = (
    "",
    "# only words\n\n\t# and more",
    'settings_key = ["ab", "cd"]\n',
    'settings_key = [ "ab","cd" , ]  # root\n[log]\nlevel = "debug"\n  file="/x y"  \n[keys]\ncache_seconds = 1.5\n',
    "[pin]\nattempts = 0\n[slots]\nhardware = true # yes\n[mechanisms]\nlegacy=false",
)
# Each is for tomllib: it knows more of the language, or it says what is wrong.
NOT_SIMPLE = (
    'a = "x\\n"',
    "a = 'x'",
    'a = """x"""',
    "a = 01",
    "a = +1",
    "a = 1_000",
    "a = 1e3",
    "a = []",
    "a = [1]",
    'a = ["x",\n"y"]',
    'a = "x" "y"',
    "a = tru",
    "a.b = 1",
    '"a" = 1',
    "a = 1\na = 2",
    "[a]\n[a]",
    "a = 1\n[a]",
    "[a.b]",
    "[[a]]",
    "a = 1\r\n",
    "# \x01",
    "a = é",
    "a =",
    "a",
    "[a] b = 1",
    "a = 2020-01-01",
    "a = {}",
)


@pytest.mark.parametrize("text", SIMPLE)
def test_a_simple_document_says_what_tomllib_says(text: str) -> None:
    found = config.simple_document(text)
    assert found == tomllib.loads(text)
    assert repr(found) == repr(tomllib.loads(text))  # of the same types too


@pytest.mark.parametrize("text", NOT_SIMPLE)
def test_what_is_not_simple_is_left_to_tomllib(text: str) -> None:
    assert config.simple_document(text) is None


@given(st.text(st.sampled_from("ab=[]\"\\'#,. \n\t10true_-+é\r"), max_size=24))
def test_no_document_is_read_otherwise_than_by_tomllib(text: str) -> None:
    found = config.simple_document(text)
    if found is not None:
        assert repr(found) == repr(tomllib.loads(text))


def test_a_simple_file_is_read_without_tomllib(tmp_path: Path) -> None:
    """What `mrhsm init` writes as root must not slow every start."""
    file = tmp_path / "maprhsm.conf"
    file.write_text('settings_key = ["ab"]\n[log]\nlevel = "debug"\n')
    program = "import sys; from mrhsm_p11 import config; print(config.load().log_level, 'tomllib' in sys.modules)"
    environ = {"MRHSM_CONF": str(file), "MAPR_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["debug", "False"]
