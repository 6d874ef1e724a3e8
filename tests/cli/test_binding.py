"""settings_key: what root's commands write into maprhsm.conf, and whom it binds."""

from __future__ import annotations

import os
import shutil
import tomllib

import pytest
from fix_cluster import Home

from mrhsm_p11 import config
from mrhsm_p11.cli.main import main
from mrhsm_p11.errors import CryptokiError
from mrhsm_p11.functions import general
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import entries

pytestmark = [
    pytest.mark.usefixtures("home", "quick_pins"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may bind"),
]
SOPIN = ("-sopin", "12345678")


def init(label: str) -> None:
    assert main(["init", "-label", label, "-storetype", "file", *SOPIN]) == 0


def listed(home: Home) -> list[str]:
    found = tomllib.loads((home.conf / "maprhsm.conf").read_text()).get("settings_key", [])
    assert isinstance(found, list)
    return found


def fingerprints(home: Home) -> list[str]:
    return [entry.fingerprint() for entry in entries.load(home.directory)]


def test_init_lists_every_token_and_leaves_other_lines_alone(home: Home) -> None:
    text = '# ours\n[log]\nlevel = "info"  # as agreed\n'
    (home.conf / "maprhsm.conf").write_text(text)
    home.token(label="older")
    init("one")
    assert listed(home) == fingerprints(home)
    init("two")
    assert listed(home) == fingerprints(home)
    assert len(listed(home)) == 3
    assert (home.conf / "maprhsm.conf").read_text().endswith(text)
    assert config.load().log_level == "info"
    assert main(["info", "-file", "-token", "two"]) == 0


def test_a_token_put_in_by_others_is_refused_until_root_opens_it(home: Home, capfd: pytest.CaptureFixture[str]) -> None:
    init("one")
    home.token(label="another")
    assert main(["info", "-file", "-token", "another"]) == 1
    assert "none of those that settings_key" in capfd.readouterr().err
    assert main(["userpin", "-token", "another", *SOPIN]) == 0
    assert main(["info", "-file", "-token", "another"]) == 0


@pytest.mark.parametrize("what", ["conf", "file", "mode", "link"])
def test_nothing_is_written_where_others_could_change_it(home: Home, what: str) -> None:
    file = home.conf / "maprhsm.conf"
    file.write_text("")
    if what == "link":
        file.rename(home.path / "elsewhere")
        file.symlink_to(home.path / "elsewhere")
    elif what == "mode":
        file.chmod(0o664)
    else:
        os.chown(home.conf if what == "conf" else file, 2, 2)
    init("one")
    assert file.read_text() == ""


def test_a_single_text_becomes_a_list_and_several_lines_are_left_alone(home: Home) -> None:
    home.token(label="older")
    (old,) = fingerprints(home)
    file = home.conf / "maprhsm.conf"
    file.write_text(f'settings_key = "{old.upper()}"\n')
    init("one")
    assert listed(home) == fingerprints(home)
    text = "settings_key = [\n" + "".join(f' "{one}",\n' for one in fingerprints(home)) + "]\n"
    file.write_text(text)
    init("two")
    assert file.read_text() == text
    assert "by hand" in (home.path / "logs" / "mrhsm.log").read_text()


def test_c_inittoken_binds_for_root_and_is_refused_for_others(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    init("one")
    general.initialize(None)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(os, "geteuid", lambda: 1000)
            with pytest.raises(CryptokiError) as refused:
                general.init_token(0, Secret(b"12345678"), b"two".ljust(32))
            assert type(refused.value).__name__ == "TokenWriteProtected"
        assert len(fingerprints(home)) == 1
        general.init_token(0, Secret(b"12345678"), b"two".ljust(32))
    finally:
        general.finalize(None)
    assert len(fingerprints(home)) == 2
    assert listed(home) == fingerprints(home)


def test_lost_tokens_leave_no_trap(home: Home) -> None:
    init("one")
    shutil.rmtree(home.config.tokens_dir)
    init("one")
    assert fingerprints(home)[0] in listed(home)
    assert main(["info", "-file"]) == 0


@pytest.mark.parametrize("value", ["1", "[1]", "true", "{ a = 1 }"])
def test_what_is_no_list_of_texts_is_refused(home: Home, value: str) -> None:
    (home.conf / "maprhsm.conf").write_text(f"settings_key = {value}\n")
    with pytest.raises(config.ConfigurationError, match="line 1"):
        config.load()
