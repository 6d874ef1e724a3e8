"""`mrhsm path`: where the PKCS #11 library is."""

from __future__ import annotations

from pathlib import Path

import mrhsm_p11
from mrhsm_p11.cli.options import Command, Given
from mrhsm_p11.config import Config
from mrhsm_p11.errors import MrhsmError

LIBRARY = "libmrhsm_p11.so"


def path(_: Given, __: Config) -> None:
    library = Path(mrhsm_p11.__file__).resolve().parent / LIBRARY
    if not library.is_file():
        raise MrhsmError(f"{library} is not there: install the package, which builds it")
    print(library)


PATH = Command("path", "Print the absolute path of the PKCS #11 library.", (), path)
