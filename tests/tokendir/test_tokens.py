from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import stat
from collections.abc import Callable

import pytest
from fix_tokens import SO_PIN, USER_PIN, TokenOnDisk, run_all_killed

from mrhsm_p11.errors import PinIncorrect, PinLenRange, PinLocked, UserPinNotInitialized
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import attempts, entries, officer, sealing, signing, tokens
from mrhsm_p11.tokendir.files import SaveFailed, TokenDirectory
from mrhsm_p11.tokendir.officer import SettingsChanged, SettingsLocked
from mrhsm_p11.tokendir.settings import ClusterRecord, Connection, KeyRecord, Settings
from mrhsm_p11.tokendir.tokens import SettingsOlder, SettingsUntrusted, UserPin

WRONG = Secret(b"wrong pin")
CLUSTER = ClusterRecord("c", cldb=KeyRecord("u1", "AA", b"c" * 64), dare=KeyRecord("u2", "BB", b"d" * 64))


def settings(port: int, cluster: ClusterRecord | None = None) -> Settings:
    return Settings(Connection(("h",), port, client_key=Secret(b"private key")), cluster, "file")


def ours(make_token: Callable[..., TokenOnDisk]) -> TokenOnDisk:
    return make_token(user_pin=UserPin.random())


def test_both_pins_open_the_same_token(file_token: TokenOnDisk) -> None:
    so, user = file_token.open_so(), file_token.open()
    assert so.token_key == user.token_key
    assert so.settings == user.settings == Settings(store="file")
    assert user.entry.store == "file"


def test_wrong_pins_are_told(file_token: TokenOnDisk) -> None:
    for pin in (WRONG, Secret(SO_PIN), Secret(b"")):
        with pytest.raises(PinIncorrect):
            tokens.login_user(file_token.directory, file_token.entry, pin)
    with pytest.raises(PinIncorrect):
        tokens.login_so(file_token.directory, file_token.entry, Secret(USER_PIN))


def test_settings_are_saved_signed_and_read_by_both(file_token: TokenOnDisk) -> None:
    so = file_token.open_so()
    so.save_settings(settings(1234))
    assert file_token.open().settings == file_token.open_so().settings == settings(1234)
    assert b"private key" not in file_token.configuration.read_bytes()
    assert file_token.entry.generation == 2
    so.save_settings(dataclasses.replace(settings(1), store="kmip"))
    assert file_token.entry.store == "kmip"


def test_a_random_pin_is_kept_where_only_the_owner_reads_it(make_token: Callable[..., TokenOnDisk]) -> None:
    token = ours(make_token)
    assert stat.S_IMODE((token.folder / "user.pin").stat().st_mode) == 0o400
    assert stat.S_IMODE(token.folder.stat().st_mode) == 0o700
    assert token.open_unattended().token_key == token.open_so().token_key
    assert not (token.folder / "user.pin.next").exists()
    pin = tokens.read_pin_file(token.directory, token.entry)
    assert pin is not None
    assert len(pin) == 64


def test_a_stale_missing_or_foreign_pin_file_is_none(make_token: Callable[..., TokenOnDisk]) -> None:
    token, other = make_token("a"), make_token("b")
    file = token.folder / "user.pin"
    old = file.read_bytes()
    token.open_so().set_user_pin(UserPin(Secret(b"another"), keep=True))
    assert token.open_unattended()
    for content in (old, b"", b"mrhsm user PIN", (other.folder / "user.pin").read_bytes()):
        file.chmod(0o600)
        file.write_bytes(content)
        assert tokens.read_pin_file(token.directory, token.entry) is None
    assert tokens.pin_file_exists(token.directory, token.entry)
    file.unlink()
    assert tokens.read_pin_file(token.directory, token.entry) is None
    assert not tokens.pin_file_exists(token.directory, token.entry)


def test_any_chosen_pin_comes_back_from_the_file(make_token: Callable[..., TokenOnDisk]) -> None:
    pin = b"\n\0 line\r\nends \xff\n"
    token = make_token(user_pin=UserPin(Secret(pin), keep=True))
    assert tokens.read_pin_file(token.directory, token.entry) == Secret(pin)


def test_a_pin_that_is_not_kept_is_nowhere(make_token: Callable[..., TokenOnDisk]) -> None:
    token = make_token(user_pin=UserPin(Secret(USER_PIN)))
    assert not (token.folder / "user.pin").exists()
    token.open_so().set_user_pin(UserPin(Secret(USER_PIN), keep=True))
    assert token.open_unattended()
    token.open_so().set_user_pin(UserPin(Secret(b"other")))
    assert token.directory.names(token.serial) == [attempts.file_name(token.serial).split("/")[1]]


def test_without_a_user_pin_nobody_is_user(make_token: Callable[..., TokenOnDisk]) -> None:
    token = make_token(user_pin=None)
    with pytest.raises(UserPinNotInitialized):
        token.open()
    assert tokens.read_pin_file(token.directory, token.entry) is None
    token.open_so().set_user_pin(UserPin(Secret(USER_PIN)))
    assert token.open()


def test_the_so_pin_changes_and_nothing_else(file_token: TokenOnDisk) -> None:
    so = file_token.open_so()
    so.save_settings(settings(7))
    so.change_so_pin(Secret(b"new so pin"))
    with pytest.raises(PinIncorrect):
        file_token.open_so()
    file_token.so_pin = Secret(b"new so pin")
    assert file_token.open_so().settings == settings(7)
    assert file_token.open().settings == settings(7)
    so.save_settings(settings(8))  # the session that changed it goes on
    assert file_token.open_so().settings == settings(8)


@pytest.mark.parametrize("pin", [b"123", b"x" * 256])
def test_pins_of_the_wrong_length_change_nothing(file_token: TokenOnDisk, pin: bytes) -> None:
    before = file_token.configuration.read_bytes()
    so, user = file_token.open_so(), file_token.open()
    for act in (
        lambda: so.change_so_pin(Secret(pin)),
        lambda: so.set_user_pin(UserPin(Secret(pin))),
        lambda: tokens.change_user_pin(user, file_token.user_pin, Secret(pin)),
    ):
        with pytest.raises(PinLenRange):
            act()
    assert file_token.configuration.read_bytes() == before


def test_the_user_changes_the_pin_and_the_file_goes(file_token: TokenOnDisk) -> None:
    user = file_token.open()
    generation = file_token.entry.generation
    changed = tokens.change_user_pin(user, file_token.user_pin, Secret(b"mine alone"))
    assert changed.entry == file_token.entry
    assert not (file_token.folder / "user.pin").exists()
    with pytest.raises(PinIncorrect):
        file_token.open()
    file_token.user_pin = Secret(b"mine alone")
    assert file_token.open().token_key == user.token_key
    assert file_token.entry.generation == generation
    with pytest.raises(PinIncorrect):
        tokens.change_user_pin(changed, WRONG, Secret(b"stolen"))


def test_the_so_saves_over_a_user_pin_changed_meanwhile(file_token: TokenOnDisk) -> None:
    so = file_token.open_so()
    tokens.change_user_pin(file_token.open(), file_token.user_pin, Secret(b"mine alone"))
    so.save_settings(settings(9))
    file_token.user_pin = Secret(b"mine alone")
    assert file_token.open().settings == settings(9)


def test_two_officers_do_not_undo_each_other(file_token: TokenOnDisk) -> None:
    one, two = file_token.open_so(), file_token.open_so()
    one.save_settings(settings(1))
    for act in (lambda: two.save_settings(settings(2)), lambda: two.change_so_pin(WRONG)):
        with pytest.raises(SettingsChanged, match="run this again"):
            act()
    assert file_token.open_so().settings == settings(1)


# ---- who may be believed


def edited(token: TokenOnDisk, **change: object) -> None:
    entries.put(token.directory, dataclasses.replace(token.entry, **change))  # type: ignore[arg-type]


def test_settings_that_the_so_did_not_sign_are_refused_by_both(file_token: TokenOnDisk) -> None:
    entry = file_token.entry
    for change in ({"label": "edited"}, {"store": "kmip"}, {"generation": 99}, {"signature": bytes(64)}):
        edited(file_token, **change)
        for open_it in (file_token.open, file_token.open_so):
            with pytest.raises(SettingsUntrusted, match=r"mrhsm\.conf was changed"):
                open_it()
        entries.put(file_token.directory, entry)
    assert file_token.open_so()


def test_a_signer_of_ones_own_fools_neither_the_so_nor_a_bound_reader(file_token: TokenOnDisk) -> None:
    """Somebody who knows the user PIN can seal settings, and sign them with another key."""
    fingerprint = file_token.entry.fingerprint()
    seed = signing.new_seed()
    bare = dataclasses.replace(file_token.entry, public_key=signing.public_key(seed))
    entries.put(file_token.directory, officer.signed(bare, file_token.open().token_key, seed, settings(666)))
    with pytest.raises(SettingsUntrusted):
        file_token.open_so()
    with pytest.raises(SettingsUntrusted, match="settings_key"):
        tokens.login_user(file_token.directory, file_token.entry, file_token.user_pin, settings_key=(fingerprint,))
    assert file_token.open().settings == settings(666)  # documented: without settings_key, damage only


def test_the_right_settings_key_is_taken_in_any_spelling(file_token: TokenOnDisk) -> None:
    fingerprint = file_token.entry.fingerprint()
    coloned = ":".join(fingerprint[at : at + 2] for at in range(0, 64, 2)).upper()
    for spelling in (fingerprint, fingerprint.upper(), coloned):
        assert tokens.login_user(
            file_token.directory, file_token.entry, file_token.user_pin, settings_key=("0" * 64, spelling)
        ).settings


def test_older_settings_are_refused_by_the_so_unless_accepted(file_token: TokenOnDisk) -> None:
    old = file_token.configuration.read_bytes()
    file_token.open_so().save_settings(settings(1))
    file_token.configuration.write_bytes(old)
    with pytest.raises(SettingsOlder, match="generation 1, this node has seen 2"):
        file_token.open_so()
    assert file_token.open()
    assert tokens.login_so(file_token.directory, file_token.entry, file_token.so_pin, accept_older=True)
    assert file_token.open_so()


def test_parts_of_two_generations_do_not_mix(file_token: TokenOnDisk) -> None:
    old = file_token.entry
    file_token.open_so().save_settings(settings(1))
    edited(file_token, sealed_settings=old.sealed_settings)
    with pytest.raises(SettingsUntrusted):
        file_token.open()


# ---- wrong PINs


def fail(token: TokenOnDisk, times: int, **options: int) -> None:
    for _ in range(times):
        with pytest.raises(PinIncorrect):
            tokens.login_user(token.directory, token.entry, WRONG, **options)  # type: ignore[arg-type]


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "SCRYPT_N", 2)


@pytest.mark.usefixtures("cheap")
def test_ten_wrong_pins_lock_a_chosen_pin_but_never_its_file(make_token: Callable[..., TokenOnDisk]) -> None:
    token = make_token()
    fail(token, 9)
    assert token.open()
    fail(token, 10)
    record = token.entry.user_pin
    assert record is not None
    assert attempts.wrong(token.directory, token.serial, "user", record) == 10
    with pytest.raises(PinLocked, match="the SO sets a new one"):
        token.open()
    with pytest.raises(PinLocked):
        tokens.change_user_pin(token.open_unattended(), token.user_pin, Secret(b"other"))
    token.open_so().set_user_pin(UserPin(Secret(USER_PIN)))
    assert token.open()


@pytest.mark.usefixtures("cheap")
def test_the_limit_is_the_callers_and_none_is_none(make_token: Callable[..., TokenOnDisk]) -> None:
    token = make_token()
    fail(token, 3, attempts_limit=3)
    with pytest.raises(PinLocked):
        tokens.login_user(token.directory, token.entry, token.user_pin, attempts_limit=3)
    fail(token, 12, attempts_limit=0)
    assert tokens.login_user(token.directory, token.entry, token.user_pin, attempts_limit=0)


def test_a_pin_of_ours_is_never_counted(make_token: Callable[..., TokenOnDisk]) -> None:
    token = ours(make_token)
    fail(token, 15)
    record = token.entry.user_pin
    assert record is not None
    assert attempts.wrong(token.directory, token.serial, "user", record) == 0
    assert token.open_unattended()


@pytest.mark.usefixtures("cheap")
def test_counts_are_kept_for_other_processes_and_not_for_other_nodes(
    make_token: Callable[..., TokenOnDisk], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = make_token()
    fail(token, 10)
    attempts._memory.clear()
    with pytest.raises(PinLocked):
        token.open()
    monkeypatch.setattr(attempts, "_node", lambda: "elsewhere")
    assert token.open()


def refuse(*_: object) -> None:
    raise SaveFailed("read-only")


@pytest.mark.usefixtures("cheap")
def test_where_nothing_can_be_written_counts_are_kept_in_memory(
    make_token: Callable[..., TokenOnDisk], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = make_token()
    fail(token, 2)
    with monkeypatch.context() as patched:
        patched.setattr(TokenDirectory, "write", refuse)
        fail(token, 7)
        assert token.open()  # clears, in memory
        fail(token, 10)
        with pytest.raises(PinLocked):
            token.open()
        assert token.open_unattended()
    with pytest.raises(PinLocked):
        token.open()


@pytest.mark.usefixtures("cheap")
def test_a_child_counts_though_another_thread_was_counting(
    make_token: Callable[..., TokenOnDisk], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = make_token()
    monkeypatch.setattr(TokenDirectory, "write", refuse)
    with attempts._memory_lock:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.alarm(60)  # ends a child that hangs
                fail(token, 1)
                status = 0
            finally:
                os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b'{"so":1,"user":2,"seen_generation":3}'])
def test_a_damaged_count_says_nothing(make_token: Callable[..., TokenOnDisk], content: bytes) -> None:
    token = make_token()
    token.directory.write(attempts.file_name(token.serial), content)
    assert token.open()
    fail(token, 1)
    assert token.open_so()


def test_the_so_waits_longer_and_is_never_locked(
    file_token: TokenOnDisk, monkeypatch: pytest.MonkeyPatch, cheap: None
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(tokens.hostcalls, "pause", waits.append)
    for _ in range(9):
        with pytest.raises(PinIncorrect):
            tokens.login_so(file_token.directory, file_token.entry, WRONG)
    assert waits == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert file_token.open_so()
    waits.clear()
    file_token.open_so()
    assert waits == []


# ---- files beside mrhsm.conf


def blobs(token: TokenOnDisk) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in token.folder.glob("*.enc")}


def test_encrypted_keys_are_files_too(file_token: TokenOnDisk) -> None:
    so = file_token.open_so()
    assert blobs(file_token) == {}
    so.save_settings(settings(1, CLUSTER))
    assert blobs(file_token) == {"cldb.key.enc": b"c" * 64, "dare.master.key.enc": b"d" * 64}
    so.save_settings(settings(1, dataclasses.replace(CLUSTER, dare=None)))
    assert blobs(file_token) == {"cldb.key.enc": b"c" * 64}
    (file_token.folder / "cldb.key.enc").unlink()
    so.save_settings(so.settings)
    assert blobs(file_token) == {"cldb.key.enc": b"c" * 64}


# ---- initialised again


def test_a_reset_token_is_new_but_keeps_its_place(file_token: TokenOnDisk) -> None:
    so = file_token.open_so()
    so.save_settings(settings(5))
    before = file_token.open()
    file_token.directory.write(f"{file_token.serial}/l-1.object", b"x")
    file_token.directory.write(f"{file_token.serial}/l-1+l-2.pair", b"x")
    so.reset("another label", file_token.so_pin)
    assert (file_token.entry.label, file_token.entry.user_pin) == ("another label", None)
    assert file_token.open_so().settings == settings(5)
    assert file_token.open_so().token_key != before.token_key
    assert not [
        *file_token.folder.glob("*.object"),
        *file_token.folder.glob("*.pair"),
        *file_token.folder.glob("*pin*"),
    ]


def test_a_reset_removes_what_was_noted_of_objects_on_servers(file_token: TokenOnDisk) -> None:
    so = file_token.open_so()
    for name in ("learned.json", f"{'0' * 32}.kmip", "one.object", "one+two.pair"):
        so.directory.write(f"{file_token.serial}/{name}", b"content")
    so.reset("label", file_token.so_pin)
    left = so.directory.names(file_token.serial)
    assert [name for name in left if not name.startswith("node-")] == []


def test_a_token_with_cluster_keys_is_not_reset(file_token: TokenOnDisk) -> None:
    so = file_token.open_so()
    so.save_settings(settings(5, CLUSTER))
    with pytest.raises(SettingsLocked, match="cluster keys"):
        so.reset("label", file_token.so_pin)
    assert file_token.open().settings == settings(5, CLUSTER)


# ---- killed while saving


@pytest.fixture
def restore(file_token: TokenOnDisk) -> Callable[[], None]:
    """Put the token directory back as it is now."""
    root = file_token.configuration.parent
    shutil.copytree(root, root.parent / "saved")

    def again() -> None:
        shutil.rmtree(root)
        shutil.copytree(root.parent / "saved", root)

    return again


@pytest.mark.usefixtures("cheap")
def test_killed_while_saving_settings(make_token: Callable[..., TokenOnDisk]) -> None:
    token = make_token()
    token.open_so().save_settings(settings(1))
    states = set()

    def save() -> None:
        token.open_so().save_settings(settings(2, CLUSTER))

    def check(step: int) -> None:
        found = token.open_unattended().settings
        assert found == token.open_so().settings
        assert found in (settings(1), settings(2, CLUSTER)), step
        states.add(found.connection.port)
        so = token.open_so()
        so.save_settings(so.settings)
        assert len(blobs(token)) == (2 if found.cluster else 0), step
        so.save_settings(settings(1))

    assert run_all_killed(save, check) > 20
    assert states == {1, 2}


@pytest.mark.usefixtures("cheap")
def test_killed_while_the_user_pin_changes_unattended_login_goes_on(make_token: Callable[..., TokenOnDisk]) -> None:
    token = make_token(user_pin=UserPin.random())
    pins = set()

    def change() -> None:
        token.open_so().set_user_pin(UserPin.random())

    def check(step: int) -> None:
        assert token.open_unattended().token_key == token.open_so().token_key, step
        pins.add(tokens.read_pin_file(token.directory, token.entry).reveal())  # type: ignore[union-attr]

    assert run_all_killed(change, check) > 20
    assert len(pins) > 1


@pytest.mark.usefixtures("cheap")
def test_killed_while_the_so_pin_changes_one_of_the_two_opens(
    file_token: TokenOnDisk, restore: Callable[[], None]
) -> None:
    opened_by = set()

    def check(step: int) -> None:
        for pin in (SO_PIN, b"new so pin"):
            try:
                so = tokens.login_so(file_token.directory, file_token.entry, Secret(pin))
            except PinIncorrect:
                continue
            opened_by.add(pin)
            assert so.token_key == file_token.open().token_key, step
            break
        else:
            raise AssertionError(f"no PIN opens the token after step {step}")
        restore()

    run_all_killed(lambda: file_token.open_so().change_so_pin(Secret(b"new so pin")), check)
    assert opened_by == {SO_PIN, b"new so pin"}


@pytest.mark.usefixtures("cheap")
def test_killed_while_a_token_is_made_the_others_stay(make_token: Callable[..., TokenOnDisk]) -> None:
    token = make_token("first")
    counts = set()

    def check(step: int) -> None:
        assert token.open_unattended(), step
        found = entries.load(token.directory)
        counts.add(len(found))
        for entry in found:
            pin = tokens.read_pin_file(token.directory, entry)
            assert pin is not None, step
            assert tokens.login_user(token.directory, entry, pin, from_file=True), step
        entries.save(token.directory, found[:1])

    run_all_killed(lambda: make_token("second", user_pin=UserPin.random()), check)
    assert counts == {1, 2}


def test_an_unwritable_directory_changes_nothing(file_token: TokenOnDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    so = file_token.open_so()
    before = file_token.configuration.read_bytes()

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        for act in (
            lambda: so.save_settings(settings(3)),
            lambda: so.change_so_pin(WRONG),
            lambda: so.set_user_pin(UserPin(WRONG, keep=True)),
        ):
            with pytest.raises(SaveFailed, match="No space left"):
                act()
    assert file_token.configuration.read_bytes() == before
    so.save_settings(settings(4))
    assert file_token.open_so().settings == settings(4)
