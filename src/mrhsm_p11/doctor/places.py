"""Files and folders: what must be there, whose it must be, and who may read it."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from mrhsm_p11 import config as configuration
from mrhsm_p11.cluster import site
from mrhsm_p11.doctor.findings import Finding, broken, not_checked, note, warning, well
from mrhsm_p11.doctor.subjects import Node
from mrhsm_p11.tokendir.entries import CONFIGURATION, ConfigurationDamaged, load, slot_id
from mrhsm_p11.tokendir.files import TEMPORARY_SUFFIX, FileUnreadable

DAEMONS_USER = "mapr"  # whom CLDB and ZooKeeper run as, where a host has that user
_OTHERS = 0o077


def home(node: Node) -> Iterator[Finding]:
    root, conf = node.config.home, node.config.conf_dir
    for path in (root, conf):
        if not path.is_dir():
            yield broken(f"{path} is not there", "set MAPR_HOME to where the cluster is installed")
            return
    logs = node.config.log_path.parent
    if not logs.is_dir():
        yield warning(f"{logs} is not there: nothing can be logged", f"mkdir {logs} and give it to the daemons' user")
    else:
        yield well(f"{root} with conf and the log's folder")


def settings(node: Node) -> Iterator[Finding]:
    file = node.config.file
    try:
        found = configuration.load()
    except configuration.ConfigurationError as error:
        yield broken(str(error), "correct the line, or remove it: every setting has a default")
        return
    if not file.exists():
        yield well(f"{file} is absent: all defaults")
        return
    status = file.stat()
    if status.st_mode & 0o022:
        yield warning(f"{file} may be written by others than its owner", f"chmod go-w {file}")
    if found.settings_key and status.st_uid != 0:
        yield warning(f"{file} holds settings_key and does not belong to root", f"chown root {file}")
    yield well(f"{file} is read without a fault")


def cluster(node: Node) -> Iterator[Finding]:
    try:
        name = site.cluster_name(node.config.conf_dir)
    except site.SiteFileRefused as error:
        yield broken(str(error), "write the cluster's name and its CLDB nodes there, as on the other nodes")
        return
    yield well(f"{site.CLUSTERS_FILE} names {name}")


def log_file(node: Node) -> Iterator[Finding]:
    path = node.config.log_path
    tokens = _status(node.config.tokens_dir)
    try:
        status = path.stat()
    except FileNotFoundError:
        yield well(f"{path} has not been written yet")
        return
    if not os.access(path, os.W_OK):
        yield broken(f"{path} cannot be written by {_user(os.geteuid())}", f"chown {_user(os.geteuid())} {path}")
    elif tokens is not None and status.st_uid != tokens.st_uid and not status.st_mode & 0o002:
        theirs = _user(tokens.st_uid)
        yield warning(
            f"{path} belongs to {_user(status.st_uid)}: the daemons of {theirs} cannot log", f"chown {theirs} {path}"
        )
    else:
        yield well(f"{path}, {status.st_size} bytes")


def directory(node: Node) -> Iterator[Finding]:
    root = node.config.tokens_dir
    status = _status(root)
    if status is None:
        yield broken(f"{root} is not there", "run mrhsm init, or copy the folder from another node")
        return
    if not stat.S_ISDIR(status.st_mode):
        yield broken(f"{root} is not a folder of its own: links are not followed", "put the folder itself there")
        return
    paths = [root, *_below(root)]
    faults = [fault for path in paths for fault in _faults(path)]
    strangers = [path for path in paths if _owner(path.lstat()) != _owner(status)]
    if strangers:
        whose = f"{_user(status.st_uid)}:{_group(status.st_gid)}"
        faults.append(
            broken(
                f"{strangers[0]} does not belong to {whose} as the folder does"
                + (f", nor do {len(strangers) - 1} more" if len(strangers) > 1 else ""),
                f"chown -R {whose} {root}",
            )
        )
    yield from faults
    yield from _daemons(root, status)
    if not faults:
        whose = f"{_user(status.st_uid)}:{_group(status.st_gid)}"
        yield well(f"{len(paths) - 1} files and folders of {whose}, closed to others")


def tokens(node: Node) -> Iterator[Finding]:
    if not node.directory.exists():
        yield not_checked("not checked: there is no token directory")
        return
    try:
        node.entries = load(node.directory)
    except ConfigurationDamaged as error:
        yield broken(str(error), "copy conf/tokens from another node, or from a backup")
        return
    except FileUnreadable as error:
        yield broken(str(error), "run as the owner of the folder, or as root")
        return
    if not node.entries:
        yield broken(f"{node.config.tokens_dir}/{CONFIGURATION} holds no token", "run mrhsm init")
    for entry in node.entries:
        yield well(
            f"{entry.serial} ({entry.label}), {entry.store} store, slot {slot_id(entry.serial)}, "
            f"generation {entry.generation}, fingerprint {entry.fingerprint()[:16]}"
        )
    conf = _status(node.config.tokens_dir / CONFIGURATION)
    if conf is not None and conf.st_mtime > node.now.timestamp() + 3600:
        yield broken(
            f"{CONFIGURATION} was written after what this host takes for now, {node.now:%Y-%m-%d %H:%M} UTC",
            "set this host's clock: certificates and keys cannot be judged by a wrong one",
        )


def _faults(path: Path) -> Iterator[Finding]:
    status = path.lstat()
    kind = stat.S_IFMT(status.st_mode)
    if kind not in (stat.S_IFDIR, stat.S_IFREG):
        what = "a symbolic link" if kind == stat.S_IFLNK else "a special file"
        yield broken(f"{path} is {what}: it is not followed", "put the plain file itself there")
        return
    mode = stat.S_IMODE(status.st_mode)
    if mode & _OTHERS:
        right = 0o700 if kind == stat.S_IFDIR else 0o400 if path.name.startswith("user.pin") else 0o600
        yield broken(f"{path} has mode {mode:04o}: others than its owner may use it", f"chmod {right:o} {path}")
    if not os.access(path, os.R_OK):
        yield broken(f"{path} cannot be read by {_user(os.geteuid())}", "run as the owner, or as root")
    if path.name.endswith(TEMPORARY_SUFFIX):
        yield note(f"{path} was left by a write that was cut off", "nothing: the next write removes it")


def _daemons(root: Path, status: os.stat_result) -> Iterator[Finding]:
    try:
        expected = pwd.getpwnam(DAEMONS_USER)
    except KeyError:
        return
    if status.st_uid != expected.pw_uid:
        yield warning(
            f"{root} belongs to {_user(status.st_uid)}, and the daemons run as {DAEMONS_USER}",
            f"chown -R {DAEMONS_USER}:{_group(expected.pw_gid)} {root}",
        )


def _below(root: Path) -> list[Path]:
    found = []
    for path in sorted(root.iterdir()):
        found.append(path)
        if stat.S_ISDIR(path.lstat().st_mode) and os.access(path, os.R_OK | os.X_OK):
            found += sorted(path.iterdir())
    return found


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _owner(status: os.stat_result) -> tuple[int, int]:
    return status.st_uid, status.st_gid


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
