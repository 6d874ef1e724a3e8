"""The subcommands: one module a theme, one row a command, in the order in which they are listed."""

from __future__ import annotations

from mrhsm_p11.cli import doctor, info, install
from mrhsm_p11.cli.commands import archive, configure, keys, library, officer, settings
from mrhsm_p11.cli.options import Command

COMMANDS: tuple[Command, ...] = (
    settings.INIT,
    settings.SET,
    info.INFO,
    keys.ENABLE,
    configure.CONFIGURE,
    settings.REMOVE,
    keys.REKEY,
    officer.SOPIN,
    officer.USERPIN,
    archive.EXPORT,
    archive.IMPORT,
    library.PATH,
    doctor.DOCTOR,
    install.INSTALL,
)
