"""settings_key in maprhsm.conf: which tokens readers take, where only root may say so.

Whoever may write the token directory may put another token in a token's place. A list of fingerprints in a file that
only root may change tells readers which are meant. Where root does not own that file and its folder there is nothing to
hold on to, and nothing is written.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tomllib
from dataclasses import replace
from pathlib import Path

from mrhsm_p11 import config as settings
from mrhsm_p11 import log
from mrhsm_p11.config import Config
from mrhsm_p11.tokendir import entries, posix, tokens
from mrhsm_p11.tokendir.entries import TokenEntry
from mrhsm_p11.tokendir.files import TokenDirectory

KEY = "settings_key"
_LINE = re.compile(rf"^[ \t]*{KEY}[ \t]*=[^\n]*\n?", re.MULTILINE)


def bind(directory: TokenDirectory, config: Config, entry: TokenEntry, *, begin: bool) -> Config:
    """Add a token to the list, if root asks and only root may change the file; return the settings then in force.

    `begin`: begin a list where there is none, with every token that is there. A file that cannot be changed safely is
    left alone, and the log says so.
    """
    if not may_bind(config) or not (config.settings_key or begin):
        return config
    try:
        with directory.lock():
            before = config.file.read_text(encoding="utf-8") if config.file.exists() else ""
            listed = _listed(before) or [one.fingerprint() for one in entries.load(directory)]
            wanted = list(dict.fromkeys([*listed, entry.fingerprint()]))
            if wanted != _listed(before):
                _write(config.file, before, wanted)
    except (OSError, ValueError, settings.ConfigurationError) as error:
        log.warning(f"{config.file} is not changed: add {entry.fingerprint()} to {KEY} by hand ({error})")
        return config
    return replace(config, settings_key=tuple(wanted))


def _listed(text: str) -> list[str]:
    found = tomllib.loads(text).get(KEY, [])
    return [tokens.spelled(one) for one in ([found] if isinstance(found, str) else found)]


def may_bind(config: Config) -> bool:
    """Tell whether we are root, and nobody else may change the file or put another in its place."""
    if os.geteuid() != 0:
        return False
    for place in (config.file.parent, config.file):
        try:
            status = place.stat(follow_symlinks=False)
        except FileNotFoundError:
            if place == config.file:
                continue
            return False
        if stat.S_ISLNK(status.st_mode) or status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return False
    return True


def _write(file: Path, before: str, fingerprints: list[str]) -> None:
    """Put the list into the file, whose other lines stay as they are."""
    line = KEY + " = [" + ", ".join(f'"{one}"' for one in fingerprints) + "]\n"
    found = _LINE.search(before)
    text = _LINE.sub(lambda _: line, before, count=1) if found else line + before
    document = tomllib.loads(text)
    if document != {**tomllib.loads(before), KEY: fingerprints}:
        raise settings.ConfigurationError("its present list has several lines")
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    temporary = f".{file.name}.{os.urandom(6).hex()}.new"
    try:
        posix.write_new(folder, temporary, text.encode(), stat.S_IMODE(file.stat().st_mode) if before else 0o644)
        os.rename(temporary, file.name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        os.close(folder)
