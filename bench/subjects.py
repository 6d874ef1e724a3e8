"""The libraries that are measured, each with a token of its own in a temporary folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import mrhsm_p11
from mrhsm_p11.config import Config
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.kmip import probing
from mrhsm_p11.tokendir import custody, tokens
from mrhsm_p11.tokendir.files import TokenDirectory
from mrhsm_p11.tokendir.pinfile import UserPin
from mrhsm_p11.tokendir.settings import Connection

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
from fix_appliance import Appliance, Certificates

LABEL, PIN, SO_PIN = "bench", "user pin 5678", "so pin 1234"
NO_PIN = "-"  # the driver logs in with NULL
LIBRARY = Path(mrhsm_p11.__file__).with_name("libmrhsm_p11.so")
SOFTHSM = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so")
SOFTHSM_NAME = "SoftHSM2"


@dataclass(frozen=True, slots=True)
class Subject:
    """One library with a token."""

    name: str
    library: Path
    pin: str
    environ: dict[str, str]
    label: str = LABEL
    at_server: bool = False


DATA_PATH_ON, DATA_PATH_OFF = ("[library]\ndatapath = true\n", "[library]\ndatapath = false\n")


def home(folder: Path, name: str, settings: str = "") -> Path:
    """Make a MAPR_HOME with these lines in maprhsm.conf."""
    made = folder / name.replace(" ", "-").replace(",", "")
    for part in ("conf", "logs"):
        (made / part).mkdir(parents=True)
    (made / "conf" / "maprhsm.conf").write_text(settings)
    return made


def ours(
    folder: Path,
    name: str,
    settings: str = "",
    *,
    user_pin: UserPin | None = None,
    connection: Connection | None = None,
    probe: bool = False,
) -> Subject:
    """Make a token of ours: in the file store, or with a `connection` at a key manager; `probe`: see what that does."""
    place = home(folder, name, settings)
    directory = TokenDirectory(place / "conf" / "tokens", create=True)
    chosen = user_pin is not None
    made = tokens.create_token(
        directory,
        LABEL,
        Secret(SO_PIN.encode()),
        user_pin=user_pin or UserPin.random(),
        store="kmip" if connection else "file",
        connection=connection,
    )
    if connection and probe:
        serial = made.entry.serial
        served = probing.probe(connection, serial=serial, directory=directory, config=Config())
        custody.write(directory, serial, served)
    pin = PIN if chosen else NO_PIN
    return Subject(name, LIBRARY, pin, {"MAPR_HOME": str(place)}, at_server=connection is not None)


def softhsm(folder: Path, name: str = SOFTHSM_NAME) -> Subject | None:
    """Make a token of SoftHSM2, where it is installed."""
    library = next((Path(path) for path in SOFTHSM if Path(path).exists()), None)
    tool = shutil.which("softhsm2-util")
    if library is None or tool is None:
        return None
    place = folder / name.replace(" ", "-")
    (place / "tokens").mkdir(parents=True)
    configuration = place / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {place / 'tokens'}\nlog.level = ERROR\n")
    environ = {"SOFTHSM2_CONF": str(configuration)}
    command = [tool, "--init-token", "--free", "--label", LABEL, "--so-pin", SO_PIN, "--pin", PIN]
    subprocess.run(command, check=True, env=environ, stdout=subprocess.DEVNULL, timeout=60)
    return Subject(name, library, PIN, environ)


class Appliances:
    """Trial appliances on loopback, a process each; they end with this object."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._certificates: Certificates | None = None
        self._stack = ExitStack()

    def start(self, name: str) -> Appliance:
        """Start one more, with an empty store."""
        if self._certificates is None:
            self._certificates = Certificates(self._folder / "certificates")
        own = self._folder / f"appliance-{name.replace(' ', '-').replace(',', '')}"
        own.mkdir()
        server = Appliance(own, self._certificates)
        server.start()
        self._stack.callback(server.stop)
        return server

    def close(self) -> None:
        self._stack.close()


@contextmanager
def appliances(folder: Path) -> Iterator[Appliances]:
    """Start appliances as they are asked for, and end them."""
    made = Appliances(folder)
    try:
        yield made
    finally:
        made.close()


CUSTODY = '[keys]\ncustody = "appliance"\n'
Making = Callable[[Path, Appliances, str], Subject | None]


def _file(settings: str = "") -> Making:
    return lambda folder, servers, name: ours(folder, name, settings)


def _kmip(settings: str = "", *, probe: bool = False) -> Making:
    def make(folder: Path, servers: Appliances, name: str) -> Subject:
        return ours(folder, name, settings, connection=servers.start(name).connection(), probe=probe)

    return make


def makings() -> dict[str, Making]:
    """Return the subjects of the operations by name, in the order of the tables' columns; the data path is on."""
    return {
        "file store": _file(DATA_PATH_ON),
        "KMIP, cached": _kmip(DATA_PATH_ON),
        "file store, data path off": _file(DATA_PATH_OFF),
        "KMIP, cached, data path off": _kmip(DATA_PATH_OFF),
        "KMIP, kept at the appliance": _kmip(CUSTODY + DATA_PATH_ON, probe=True),
        SOFTHSM_NAME: lambda folder, servers, name: softhsm(folder, name),
    }


def find_makings() -> dict[str, Making]:
    """Return the subjects of searches."""
    wanted = ("file store", "KMIP, cached", SOFTHSM_NAME)
    return {name: making for name, making in makings().items() if name in wanted}
