"""`mrhsm install`: put the library where an operator wants it, and say how programs are told of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mrhsm_p11.cli.options import Command, Given, Option
from mrhsm_p11.config import HOME_RECORD, Config
from mrhsm_p11.doctor.library import LIBRARY
from mrhsm_p11.errors import MrhsmError

LINES = """\
{link} is the library; without MAPR_HOME in the environment it uses {home}

pkcs11-tool:
    pkcs11-tool --module {link} --login --list-objects

p11-kit, for GnuTLS and what else uses it, in /etc/pkcs11/modules/mrhsm.module:
    module: {link}

Java, in a file such as {home}/conf/mrhsm-java.cfg:
    name = MapRHSM
    library = {link}
    slotListIndex = 0
and in java.security, or in a file given with -Djava.security.properties=FILE, with a number that is free:
    security.provider.13=SunPKCS11 {home}/conf/mrhsm-java.cfg
"""


def install(given: Given, config: Config) -> None:
    if not LIBRARY.is_file():
        raise MrhsmError(f"{LIBRARY} is not there: install the package, which builds it")
    folder = Path(given.values["-libdir"])
    if not folder.is_dir():
        raise MrhsmError(f"-libdir: {folder} is not a folder that is there")
    link = folder.resolve() / LIBRARY.name
    _link(link)
    _replace(HOME_RECORD, lambda new: new.write_text(f"{config.home.resolve()}\n"))
    print(LINES.format(link=link, home=config.home.resolve()), end="")


def _link(link: Path) -> None:
    """Make or renew our link; what is not one is left alone."""
    if os.path.lexists(link):
        ours = link.is_symlink() and Path(os.readlink(link)).name == LIBRARY.name
        if link.resolve() == LIBRARY:
            return
        if not ours:
            raise MrhsmError(f"{link} is there and is no link of ours: move it away first")
    _replace(link, lambda new: new.symlink_to(LIBRARY))


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    """Put what `make` makes in the place of `path` at once."""
    new = path.with_name(f".{path.name}.{os.urandom(6).hex()}.new")
    try:
        make(new)
        new.rename(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise MrhsmError(f"{path} cannot be made: {error.strerror}") from error


INSTALL = Command(
    "install",
    "Link the library into a folder, remember MAPR_HOME for it, and print what programs need to be told.",
    (Option("-libdir", "folder", "Where the library is to be found", required=True),),
    install,
)
