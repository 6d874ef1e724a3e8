"""`mrhsm export` and `import`: the token directory on its way to other nodes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mrhsm_p11.cli import pins
from mrhsm_p11.cli.commands.opening import TOKEN, as_officer
from mrhsm_p11.cli.options import Command, Given, Option, UsageError
from mrhsm_p11.cli.progress import during
from mrhsm_p11.cluster import archive, transfer
from mrhsm_p11.cluster.archive import ArchiveRefused
from mrhsm_p11.config import Config
from mrhsm_p11.tokendir import binding, posix
from mrhsm_p11.tokendir.files import TokenDirectory

OPEN_MANIFEST = "The manifest is not encrypted: whoever reads it has the token and can log in as its user."


def export(given: Given, config: Config) -> None:
    pins.refuse_two_inputs(given)
    secret, file = given.get("-k8s"), given.get("file")
    if secret is None and file is None:
        raise UsageError("mrhsm export needs a file to write, or -k8s <name>")
    if secret is not None and "-passphrasefile" in given:
        raise UsageError("a Kubernetes Secret is not encrypted: -k8s takes no -passphrasefile")
    if file is not None:
        _refuse_existing(Path(file))
    with as_officer(given, config) as so:
        packed = transfer.collect(so.directory)
    if secret is not None:
        text = archive.manifest(packed, secret)
        print(OPEN_MANIFEST, file=sys.stderr)
        if file is None:
            print(text, end="")
            return
        content = text.encode()
    else:
        phrase = pins.new_pass_phrase(given)
        with during("Encrypting"):
            content = archive.seal(packed, phrase)
    assert file is not None
    _write(Path(file), content)


def import_(given: Given, config: Config) -> None:
    pins.refuse_two_inputs(given)
    sealed = _read(Path(given.values["file"]))
    phrase = pins.pass_phrase(given)
    with during("Decrypting"):
        unsealed = archive.unseal(sealed, phrase)
    so_pin, here = pins.so_pin(given), TokenDirectory(config.tokens_dir)
    with during("Checking the archive"):
        arriving = transfer.check(unsealed, here, given.get("-token"), so_pin, older="-older" in given)
    directory = transfer.prepare(unsealed, here)
    with directory.lock():
        transfer.check(unsealed, directory, given.get("-token"), so_pin, older="-older" in given)
        transfer.install(unsealed, directory)
        for entry in arriving:
            config = binding.bind(directory, config, entry, begin=True)
    for entry in arriving:
        print(f"Imported token {entry.serial} ({entry.label}), generation {entry.generation}")


def _refuse_existing(file: Path) -> None:
    if os.path.lexists(file):
        raise ArchiveRefused(f"{file} exists already: it is not overwritten")


def _write(file: Path, content: bytes) -> None:
    """Make the file, private and whole, or not at all."""
    try:
        folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ArchiveRefused(f"{file} cannot be written: {error.strerror}") from error
    temporary = f".{file.name}.{os.urandom(6).hex()}"
    try:
        posix.write_new(folder, temporary, content, 0o600)
        try:
            os.link(temporary, file.name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        finally:
            os.unlink(temporary, dir_fd=folder)
        os.fsync(folder)
    except FileExistsError:
        _refuse_existing(file)
        raise
    except OSError as error:
        raise ArchiveRefused(f"{file} cannot be written: {error.strerror}") from error
    finally:
        os.close(folder)


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            content = opened.read(archive.ARCHIVE_MOST_BYTES + 1)
    except OSError as error:
        raise ArchiveRefused(f"{file} cannot be read: {error.strerror}") from error
    if len(content) > archive.ARCHIVE_MOST_BYTES:
        raise ArchiveRefused(f"{file} is too large to be a token directory")
    return content


EXPORT = Command(
    "export",
    "Write the token directory, encrypted under a pass phrase, for other nodes or as a backup.",
    (
        Option(
            "-k8s", "name", "Write the manifest of a Kubernetes Secret of this name instead, to the file or to stdout"
        ),
        *pins.PASS_PHRASE,
        *pins.SO_PIN,
        TOKEN,
    ),
    export,
    argument=Option("file", "file", "The archive to write; one that exists is not overwritten"),
)
IMPORT = Command(
    "import",
    "Take over a token directory that mrhsm export wrote on another node.",
    (
        Option("-older", "", "Take it over although this node has, or has seen, a later one"),
        *pins.PASS_PHRASE,
        *pins.SO_PIN,
        TOKEN,
    ),
    import_,
    argument=Option("file", "file", "The archive to read", required=True),
)
