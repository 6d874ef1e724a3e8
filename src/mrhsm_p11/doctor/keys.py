"""The cluster's keys: there, active, and opening to what was recorded."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from mrhsm_p11 import deadline, store
from mrhsm_p11.cluster import blob, site
from mrhsm_p11.cluster.keys import CORE, KEYS, ClusterKey
from mrhsm_p11.crypto.base import KeptKey, Key
from mrhsm_p11.doctor.findings import Finding, broken, not_checked, note, warning, well
from mrhsm_p11.doctor.subjects import Token
from mrhsm_p11.errors import CryptokiError, MrhsmError
from mrhsm_p11.store.base import ClusterKeyStore, KeyState, ObjectGone
from mrhsm_p11.tokendir.files import FileMissing
from mrhsm_p11.tokendir.settings import ClusterRecord, KeyRecord

_BACKUP = "restore it from the backup of the key store"


def cluster_keys(token: Token) -> Iterator[Finding]:
    record = token.settings.cluster
    if record is None or record.core_kek is None:
        yield warning("no cluster keys yet", "run mrhsm enable, on one node")
        return
    if not record.enabled:
        yield warning("the cluster keys are switched off", "mrhsm set -active true, or mrhsm enable")
    if record.journal:
        yield warning(f"a command was cut off ({record.journal[0].command})", "run it again: it finishes its work")
    assert token.opened is not None
    keys = store.open_keys(token.opened, token.node.config)
    core: Key | None = None
    try:
        for key in KEYS:
            known: KeyRecord | None = getattr(record, key.field)
            if known is None:
                continue
            material = yield from _in_store(token, keys, key, known)
            if key is CORE:
                core = material
            elif not key.kek:
                yield from _encrypted(key, known, core)
            yield from _former(token, keys, key, known)
    finally:
        close = getattr(keys, "close", None)
        if callable(close):
            close()


def _in_store(
    token: Token, keys: ClusterKeyStore, key: ClusterKey, known: KeyRecord
) -> Generator[Finding, None, Key | None]:
    """Yield what is wrong with the key in the store; return what computes with it, unless it is another one."""
    what = f"{key.title}, UUID {known.uid}"
    try:
        with deadline.limit(token.node.config.deadline_s):
            state, material = keys.state(known.uid), keys.key(known.uid)
    except ObjectGone:
        gone = f"{what}, is not in the key store any more"
        if key.kek:
            yield broken(gone, f"{_BACKUP}: without it {'CLDB cannot start' if key is CORE else 'some keys are lost'}")
        else:
            yield warning(f"{gone}: only the encrypted key is left", f"{_BACKUP}, and back conf/tokens up now")
        return None
    except (MrhsmError, CryptokiError) as error:
        yield broken(f"{what}, cannot be read: {error}", "see the checks of the servers, and this user's rights")
        return None
    if state is not KeyState.ACTIVE:
        yield _inactive(what, key, state)
    if isinstance(material, KeptKey):
        if state is KeyState.ACTIVE:
            yield well(f"{what}, is active, and its bytes stay at the key manager")
        return material
    token.secrets.append(material)
    if blob.checksum(material) != known.checksum:
        yield broken(f"{what}, has another SHA-256 than recorded: it is not the same key", _BACKUP)
        return None
    if state is KeyState.ACTIVE:
        yield well(f"{what}, is active and the recorded one")
    return material


def _former(token: Token, keys: ClusterKeyStore, key: ClusterKey, known: KeyRecord) -> Iterator[Finding]:
    """Yield the generations before a rekey that still work: right while a node has the conf/tokens of before."""
    for uid in known.earlier if key.kek else ():
        try:
            with deadline.limit(token.node.config.deadline_s):
                active = keys.state(uid) is KeyState.ACTIVE
        except (MrhsmError, CryptokiError):
            continue  # gone, or as unreadable as the present one: that is told
        if active:
            name = "core" if key is CORE else "common"
            yield note(
                f"the former {key.title}, UUID {uid}, is still active",
                f"when every node has this conf/tokens: mrhsm rekey {name} -retire",
            )


def _inactive(what: str, key: ClusterKey, state: KeyState) -> Finding:
    if state is KeyState.PRE_ACTIVE:
        return broken(f"{what}, is not active yet: every use is refused", "run mrhsm enable, which activates it")
    if state is KeyState.COMPROMISED:
        return broken(f"{what}, was revoked as compromised", "run mrhsm rekey, and find out who had it")
    advice = f"run mrhsm rekey {'core' if key is CORE else 'common'}" if key.kek else "nothing: it is kept encrypted"
    return warning(f"{what}, was deactivated: it still decrypts and nothing more", advice)


def _encrypted(key: ClusterKey, known: KeyRecord, core: Key | None) -> Iterator[Finding]:
    if core is None:
        yield not_checked(f"the encrypted {key.title} is not checked: there is no Core KEK to open it")
        return
    try:
        blob.decrypt(core, known.encrypted, known.checksum, key.title).wipe()
    except blob.BlobDamaged as error:
        yield broken(str(error), "copy conf/tokens from a node where this check is well, or from a backup")
    else:
        yield well(f"the encrypted {key.title} opens to its SHA-256 {known.checksum[:16]}...")


def files(token: Token) -> Iterator[Finding]:
    """Compare cldb.key.enc and dare.master.key.enc, which JVMs read, with the record."""
    record = token.settings.cluster or ClusterRecord("")
    for key in KEYS:
        known: KeyRecord | None = getattr(record, key.field)
        if key.kek or known is None:
            continue
        name = f"{token.entry.serial}/{key.legacy_file}.enc"
        try:
            content = token.node.directory.read(name)
        except FileMissing:
            yield broken(f"{name} is not there: a JVM cannot take the {key.title}", "run mrhsm enable: it writes it")
            continue
        if content == known.encrypted:
            yield well(f"{name} is the recorded one")
        else:
            yield broken(f"{name} is not the recorded {key.title}", "run mrhsm enable: it writes it again")


def legacy(token: Token) -> Iterator[Finding]:
    record, conf = token.settings.cluster, token.node.config.conf_dir
    protected = [key for key in KEYS if not key.kek and record is not None and getattr(record, key.field) is not None]
    lying = [str(site.legacy_path(conf, key)) for key in protected if site.has_legacy_key(conf, key)]
    if lying:
        yield warning(
            f"{' and '.join(lying)} still {'hold' if len(lying) > 1 else 'holds'} a key in the clear",
            "keep a backup in a safe place, then remove it here",
        )
    else:
        yield well(f"no key of the cluster lies in the clear in {conf}")
