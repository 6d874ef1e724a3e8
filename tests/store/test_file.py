from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fix_stores import FileStorePlace, aes_key, data_object, ec_pair, kept
from fix_tokens import TokenOnDisk, run_all_killed, run_killed_at

from mrhsm_p11 import deadline
from mrhsm_p11.constants import CKA, CKO
from mrhsm_p11.errors import DeviceError, MrhsmError, UserNotLoggedIn
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import ObjectGone
from mrhsm_p11.store.file import FileStore
from mrhsm_p11.store.folder import MOST_MATERIALS, ObjectDamaged
from mrhsm_p11.tokendir import posix
from mrhsm_p11.tokendir.files import SaveFailed, TokenDirectory

KEY = Secret(bytes(range(32)))


def files(place: FileStorePlace) -> list[str]:
    return place.directory.names(place.serial)


def labels(place: FileStorePlace) -> set[object]:
    return {record.attributes[CKA.LABEL] for record in place.open().search({})}


def test_one_closed_file_an_object(file_place: FileStorePlace) -> None:
    store = file_place.open()
    uid = store.insert(aes_key(), KEY).uid
    assert re.fullmatch(r"l-[0-9a-f]{32}", uid)
    public, private = store.insert_pair(*ec_pair())
    assert files(file_place) == sorted(f"{one}.object" for one in (uid, public.uid, private.uid))
    assert {(file_place.folder / name).stat().st_mode & 0o7777 for name in files(file_place)} == {0o600}
    store.delete(uid)
    assert f"{uid}.object" not in files(file_place)


def test_files_show_neither_attributes_nor_bytes(file_place: FileStorePlace) -> None:
    uid = file_place.open().insert(aes_key(LABEL="tell nobody"), KEY).uid
    content = (file_place.folder / f"{uid}.object").read_bytes()
    assert b"tell nobody" not in content
    assert KEY.reveal() not in content
    assert KEY.reveal()[:8] not in content


def test_material_is_read_once_while_its_file_stays(
    file_place: FileStorePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = file_place.open(), file_place.open()
    uid = store.insert(aes_key(), KEY).uid
    path, reads, read = file_place.folder / f"{uid}.object", [], TokenDirectory.read
    os.utime(path, (1, 1))
    monkeypatch.setattr(TokenDirectory, "read", lambda *a: reads.append(a) or read(*a))
    for _ in range(3):
        lent = store.material(uid)
        assert lent == KEY
        lent.wipe()  # as every caller may
    assert len(reads) == 1
    os.utime(path, (2, 2))
    assert store.material(uid) == KEY
    assert len(reads) == 2
    other.delete(uid)
    with pytest.raises(ObjectGone):
        store.material(uid)
    assert not store._objects._materials


def test_kept_material_is_bounded_and_wiped(file_place: FileStorePlace) -> None:
    store = file_place.open()
    uids = [store.insert(aes_key(), KEY).uid for _ in range(MOST_MATERIALS + 2)]
    for uid in uids:
        os.utime(file_place.folder / f"{uid}.object", (1, 1))
        assert store.material(uid) == KEY
    kept = [secret for _, secret in store._objects._materials.values()]
    assert len(kept) == MOST_MATERIALS
    store.close()
    assert all(secret == Secret(bytes(32)) for secret in kept)
    with pytest.raises(UserNotLoggedIn):
        store.material(uids[-1])


def test_an_unchanged_object_is_one_record(file_place: FileStorePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    store = file_place.open()
    uid = store.insert(aes_key(), KEY).uid
    old = file_place.folder / f"{uid}.object"
    os.utime(old, (1, 1))
    store.load(uid)
    reads = []
    read = TokenDirectory.read
    monkeypatch.setattr(TokenDirectory, "read", lambda self, name: reads.append(name) or read(self, name))
    assert store.load(uid) is store.load(uid)
    assert next(iter(store.search({}))) is store.load(uid)
    assert reads == []


def test_a_file_changed_within_the_clocks_tick_is_noticed(
    file_place: FileStorePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two quick changes may leave equal stamps, for a file's number is used again: what is new is read again."""
    monkeypatch.setattr(posix, "stamp", lambda status: (1, status.st_size, status.st_mtime_ns, 1))
    one, other = file_place.open(), file_place.open()
    uid = one.insert(aes_key(LABEL="old"), KEY).uid
    file = file_place.folder / f"{uid}.object"
    status = file.stat()
    assert other.load(uid).attributes[CKA.LABEL] == "old"
    one.update(uid, {CKA.LABEL: "new"})
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert other.load(uid).attributes[CKA.LABEL] == "new"
    assert {record.attributes[CKA.LABEL] for record in other.search({})} == {"new"}


# ---- files that are not what they should be


@pytest.mark.parametrize(
    ("position", "attributes_open", "material_opens"),
    [
        *((position, False, False) for position in (0, 8, 16, 24, 28)),  # magic, version, class, generation, length
        *((position, False, True) for position in (29, 60)),  # the two parts are sealed apart
        *((position, True, False) for position in (-60, -1)),
    ],
)
def test_a_damaged_object_is_named_and_never_left_out(
    file_place: FileStorePlace, position: int, attributes_open: bool, material_opens: bool
) -> None:
    store = file_place.open()
    uid = store.insert(aes_key(), KEY).uid
    store.insert(aes_key(), KEY)
    file = file_place.folder / f"{uid}.object"
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)
    for opens, act in (
        (attributes_open, lambda: file_place.open().load(uid)),
        (attributes_open, lambda: file_place.open().search({})),
        (material_opens, lambda: file_place.open().material(uid)),
        (False, lambda: file_place.open().update(uid, {CKA.LABEL: "x"})),
    ):
        if opens:
            assert act()
            continue
        with pytest.raises(ObjectDamaged, match=rf"{uid}\.object is damaged") as failure:
            act()
        assert isinstance(failure.value, DeviceError)
        assert isinstance(failure.value, MrhsmError)
    assert file.read_bytes() == content


@pytest.mark.parametrize("size", [0, 5, 29, 60])
def test_a_cut_object_is_damaged(file_place: FileStorePlace, size: int) -> None:
    uid = file_place.open().insert(aes_key(), KEY).uid
    file = file_place.folder / f"{uid}.object"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(ObjectDamaged):
        file_place.open().load(uid)


def test_an_object_cannot_stand_for_another(file_place: FileStorePlace) -> None:
    store = file_place.open()
    one, two = store.insert(aes_key(), KEY).uid, store.insert(aes_key(), Secret(bytes(32))).uid
    shutil.copy(file_place.folder / f"{one}.object", file_place.folder / f"{two}.object")
    with pytest.raises(ObjectDamaged):
        file_place.open().load(two)
    with pytest.raises(ObjectDamaged):
        file_place.open().material(two)


def test_an_object_opens_with_its_own_tokens_key_only(file_place: FileStorePlace) -> None:
    uid = file_place.open().insert(aes_key(), KEY).uid
    with pytest.raises(ObjectDamaged):
        FileStore(file_place.directory, file_place.serial, Secret(bytes(32))).load(uid)
    other_serial = "0123456789abcdef"
    file_place.directory.make_folder(other_serial)
    shutil.copy(file_place.folder / f"{uid}.object", Path(file_place.directory.path) / other_serial)
    with pytest.raises(ObjectDamaged):
        FileStore(file_place.directory, other_serial, file_place.token_key).load(uid)


def test_material_of_an_older_generation_does_not_fit(file_place: FileStorePlace) -> None:
    store = file_place.open()
    uid = store.insert(aes_key(), KEY).uid
    file = file_place.folder / f"{uid}.object"
    old = file.read_bytes()
    store.update(uid, {CKA.LABEL: "a lebal"})
    new = file.read_bytes()
    assert len(old) == len(new)
    tail = len(KEY) + 28
    file.write_bytes(new[:-tail] + old[-tail:])
    with pytest.raises(ObjectDamaged):
        file_place.open().material(uid)


def test_other_files_beside_the_objects_are_left_alone(file_place: FileStorePlace) -> None:
    store = file_place.open()
    store.insert(aes_key(), KEY)
    for name in ("user.pin", "cldb.key.enc", "x.kmip"):
        (file_place.folder / name).write_bytes(b"x")
    assert len(list(store.search({}))) == 1
    store.insert(aes_key(), KEY)
    assert {"user.pin", "cldb.key.enc", "x.kmip"} < set(files(file_place))


def test_a_linked_object_is_refused(file_place: FileStorePlace, tmp_path: Path) -> None:
    store = file_place.open()
    uid = store.insert(aes_key(), KEY).uid
    file = file_place.folder / f"{uid}.object"
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DeviceError, match="link"):
        file_place.open().load(uid)


def test_a_vanished_directory_is_told_apart(file_place: FileStorePlace) -> None:
    store = file_place.open()
    uid = store.insert(aes_key(), KEY).uid
    shutil.rmtree(file_place.directory.path)
    from mrhsm_p11.errors import DeviceRemoved

    for act in (lambda: store.load(uid), lambda: store.search({}), lambda: store.insert(aes_key(), KEY)):
        with pytest.raises(DeviceRemoved):
            act()


# ---- killed, full, contended


@pytest.mark.parametrize("act", ["insert", "update", "delete", "pair"])
def test_killed_while_changing_shows_old_or_new(file_place: FileStorePlace, act: str) -> None:
    first = file_place.open().insert(aes_key(LABEL="first"), KEY).uid
    public, private = ec_pair(LABEL="half")
    acts: dict[str, tuple[Callable[[], object], list[list[str]]]] = {
        "insert": (
            lambda: file_place.open().insert(aes_key(LABEL="second"), KEY),
            [["first"], ["first", "second"]],
        ),
        "update": (lambda: file_place.open().update(first, {CKA.LABEL: "changed"}), [["first"], ["changed"]]),
        "delete": (lambda: file_place.open().delete(first), [["first"], []]),
        "pair": (
            lambda: file_place.open().insert_pair(public, private),
            [["first"], ["first", "half", "half"]],
        ),
    }
    change, allowed = acts[act]
    saved = file_place.folder.parent / "saved"
    shutil.copytree(file_place.folder, saved)
    seen: list[list[str]] = []

    def check(step: int) -> None:
        store = file_place.open()
        found = list(store.search({}))
        names = sorted(str(record.attributes[CKA.LABEL]) for record in found)
        assert names in allowed, step
        seen.append(names)
        for record in found:  # each is whole, also before the next writer has put the folder in order
            assert record.uid == store.load(record.uid).uid, step
            is_key = record.attributes[CKA.CLASS] == CKO.SECRET_KEY
            is_public = record.attributes[CKA.CLASS] == CKO.PUBLIC_KEY
            assert store.material(record.uid) == (KEY if is_key else public[1] if is_public else private[1]), step
        extra = store.insert(data_object(LABEL="after"), Secret(b""))
        store.delete(extra.uid)
        assert {name.rpartition(".")[2] for name in files(file_place)} <= {"object"}, step
        assert sorted(str(record.attributes[CKA.LABEL]) for record in store.search({})) == names, step
        shutil.rmtree(file_place.folder)
        shutil.copytree(saved, file_place.folder)

    assert run_all_killed(change, check) > 6
    assert [names for names in allowed if names not in seen] == []


def test_halves_of_an_unsettled_pair_can_be_changed(file_place: FileStorePlace) -> None:
    """A pair that was killed before it was taken apart is changed as any other objects are."""
    public, private = ec_pair()
    step = 1
    while True:
        assert run_killed_at(step, lambda: file_place.open().insert_pair(public, private))
        if any(name.endswith(".pair") for name in files(file_place)):
            break
        step += 1
    halves = {record.attributes[CKA.CLASS]: record.uid for record in file_place.open().search({})}
    assert len(halves) == 2
    file_place.open().update(halves[CKO.PRIVATE_KEY], {CKA.LABEL: "mine"})
    file_place.open().delete(halves[CKO.PUBLIC_KEY])
    assert labels(file_place) == {"mine"}
    assert file_place.open().material(halves[CKO.PRIVATE_KEY]) == private[1]


def test_a_full_disk_changes_nothing(file_place: FileStorePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    store = file_place.open()
    record = store.insert(aes_key(), KEY)
    before = files(file_place)

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        for act in (
            lambda: store.insert(aes_key(), KEY),
            lambda: store.insert_pair(*ec_pair()),
            lambda: store.update(record.uid, {CKA.LABEL: "x"}),
        ):
            with pytest.raises(SaveFailed, match="No space left"):
                act()
    assert files(file_place) == before
    assert kept(store.load(record.uid), aes_key()) == aes_key()


def test_processes_lose_nothing_and_see_whole_objects(file_place: FileStorePlace) -> None:
    steady = file_place.open().insert(aes_key(LABEL="0", ID=b"0"), KEY).uid

    def writer(number: int) -> None:
        store = file_place.open()
        for turn in range(15):
            store.insert(aes_key(LABEL=f"{number}-{turn}"), KEY)
            store.insert_pair(*ec_pair(LABEL=f"{number}-{turn}"))
            store.update(steady, {CKA.LABEL: f"{number}{turn}", CKA.ID: f"{number}{turn}".encode()})
            doomed = store.insert(aes_key(LABEL="doomed"), KEY).uid
            store.delete(doomed)

    children = [_forked(lambda number=number: writer(number)) for number in range(3)]
    store = file_place.open()
    with deadline.limit(60) as limit:
        running = set(children)
        while running and not limit.passed:
            found = {record.uid: record for record in store.search({})}
            attributes = found[steady].attributes
            assert str(attributes[CKA.LABEL]).encode() == attributes[CKA.ID]
            assert store.material(steady) == KEY
            halves = [r.attributes[CKA.LABEL] for r in found.values() if r.attributes[CKA.CLASS] != CKO.SECRET_KEY]
            assert all(halves.count(label) == 2 for label in halves), "a pair is never seen by halves"
            running -= {child for child in running if os.waitpid(child, os.WNOHANG)[0]}
    assert not running
    assert len(list(file_place.open().search({}))) == 1 + 3 * 15 * 3


def _forked(act: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(0)
    return child


def test_a_closed_store_keeps_no_key(file_place: FileStorePlace) -> None:
    store = file_place.open()
    uid = store.insert(aes_key(), KEY).uid
    store.close()
    assert store._objects._key.token_key == Secret(bytes(32))
    assert file_place.token_key != Secret(bytes(32)), "the caller's own is the caller's"
    assert file_place.open().load(uid)


def test_an_unsafe_identifier_touches_no_file(file_place: FileStorePlace) -> None:
    (Path(file_place.directory.path) / "victim.object").write_bytes(b"x")
    file_place.open().insert(aes_key(), KEY)
    with pytest.raises(ObjectGone):
        file_place.open().delete("../victim")
    assert (Path(file_place.directory.path) / "victim.object").exists()


def test_nothing_is_written_under_a_key_that_the_token_has_no_more(file_token: TokenOnDisk) -> None:
    opened = file_token.open()
    store = FileStore(opened.directory, file_token.serial, opened.token_key)
    store.insert(aes_key(), Secret(bytes(32)))
    file_token.open_so().save_settings(opened.settings)  # another generation, the same key
    store.insert(aes_key(), Secret(bytes(32)))
    file_token.open_so().reset("label", file_token.so_pin)
    for change in (
        lambda: store.insert(aes_key(), Secret(bytes(32))),
        lambda: store.generate({**aes_key(), CKA.VALUE_LEN: 32}),
    ):
        with pytest.raises(UserNotLoggedIn, match="initialised again"):
            change()
    assert not [name for name in opened.directory.names(file_token.serial) if name.endswith(".object")]
