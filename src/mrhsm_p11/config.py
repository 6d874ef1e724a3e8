"""conf/maprhsm.conf: what is not secret. Every setting has a default; the file may be absent."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mrhsm_p11.errors import MrhsmError

DEFAULT_HOME = Path("/opt/mapr")
HOME_RECORD = Path(__file__).with_name("installed.home")  # what `mrhsm install` was told, or absent
# Rows of kmip.profiles, which is not imported for a check of spelling.
PROFILES = ("default", "eskm", "keysecure", "ciphertrust", "dsm", "vault", "pykmip", "cosmian")
DATAPATH_VARIABLE = "MRHSM_DATAPATH"  # 0 or 1 in place of the setting: both ways are tried against each other
_AT_SECURE = 23  # getauxval(3)


class ConfigurationError(MrhsmError):
    """maprhsm.conf says something that cannot be meant."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The row of one setting: where it stands in the file, and which values it takes."""

    key: str  # "table.name" or "name"
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    plain: bool = False  # C reads it too (cdef/isolate_settings.c), in one form only


def _row(default: Any, key: str, **limits: Any) -> Any:
    return field(default=default, metadata={"setting": Setting(key, **limits)})


@dataclass(frozen=True, slots=True)
class Config:
    """The library's settings. Fields with a row are read from maprhsm.conf; `home` comes from MAPR_HOME."""

    home: Path = DEFAULT_HOME
    file: Path = DEFAULT_HOME / "conf" / "maprhsm.conf"
    log_level: str = _row("warning", "log.level", choices=("debug", "info", "warning", "error"))
    log_file: str = _row("", "log.file")  # empty: logs/mrhsm.log under home
    isolation: str = _row("foreign", "library.isolation", choices=("foreign", "process"), plain=True)
    datapath: bool = _row(True, "library.datapath")
    metrics_file: str = _row("", "log.metrics")  # empty: nothing is counted
    deadline_s: float = _row(10.0, "network.deadline_seconds", least=0.1, most=600)
    connect_s: float = _row(3.0, "network.connect_seconds", least=0.1, most=600)
    idle_s: float = _row(45.0, "network.idle_seconds", least=1, most=3600)
    age_s: float = _row(600.0, "network.age_seconds", least=1, most=86_400)
    pool_size: int = _row(4, "network.connections", least=1, most=64)
    profile: str = _row("", "network.profile", choices=("", *PROFILES))  # empty: as the servers say who they are
    response_limit: int = _row(16 << 20, "network.response_bytes", least=1 << 16, most=1 << 30)
    correlation: bool = _row(False, "network.correlation")  # messages carry a Client Correlation Value
    cache_seconds: float = _row(300.0, "keys.cache_seconds", least=0, most=86_400)
    stale_seconds: float = _row(0.0, "keys.stale_seconds", least=0, most=86_400)
    allow_compromised: bool = _row(False, "keys.allow_compromised")
    custody: str = _row("cached", "keys.custody", choices=("cached", "appliance"))
    foreign_objects: str = _row("read-only", "objects.foreign", choices=("read-only", "writable"))
    public_objects: str = _row("kept", "objects.public", choices=("kept", "live"))
    pin_attempts: int = _row(10, "pin.attempts", least=0, most=1_000_000)  # 0: never locked
    legacy: bool = _row(True, "mechanisms.legacy")
    hw_slot: bool = _row(False, "slots.hardware")
    settings_key: tuple[str, ...] = _row((), "settings_key")  # fingerprints that bind readers; empty: none
    new_token_store: str = _row("file", "new_token.store", choices=("file", "kmip"))
    new_token_like: str = _row("", "new_token.like")

    @property
    def conf_dir(self) -> Path:
        return self.home / "conf"

    @property
    def tokens_dir(self) -> Path:
        return self.conf_dir / "tokens"

    @property
    def log_path(self) -> Path:
        return Path(self.log_file) if self.log_file else self.home / "logs" / "mrhsm.log"


def load(environ: Mapping[str, str] | None = None, *, privileged: bool | None = None) -> Config:
    """Return the settings in force for this process.

    The environment is ignored in a privileged (setuid, AT_SECURE) process. Raises ConfigurationError with
    file and line for an unknown key, a wrong type or a value out of range.
    """
    environ = _believed(environ, privileged=privileged)
    found = places(environ, privileged=False)
    try:
        text = found.file.read_bytes().decode()
    except FileNotFoundError:
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {found.file}: {error}") from error
    settings = _settings(found.file, text) if text else {}
    if environ.get(DATAPATH_VARIABLE) in ("0", "1"):
        settings["datapath"] = environ[DATAPATH_VARIABLE] == "1"
    return Config(home=found.home, file=found.file, **settings)


def places(environ: Mapping[str, str] | None = None, *, privileged: bool | None = None) -> Config:
    """Return the defaults for MAPR_HOME, without reading maprhsm.conf: what this process or `mrhsm install` says."""
    environ = _believed(environ, privileged=privileged)
    home = Path(environ.get("MAPR_HOME") or _installed_home())
    return Config(home=home, file=Path(environ.get("MRHSM_CONF") or home / "conf" / "maprhsm.conf"))


def _believed(environ: Mapping[str, str] | None, *, privileged: bool | None) -> Mapping[str, str]:
    if _privileged() if privileged is None else privileged:
        return {}
    return os.environ if environ is None else environ


def _installed_home() -> Path:
    try:
        return Path(HOME_RECORD.read_text().strip() or DEFAULT_HOME)
    except OSError:
        return DEFAULT_HOME


def _privileged() -> bool:
    """Tell whether the kernel marked this process AT_SECURE (setuid, setgid, file capabilities)."""
    try:
        vector = memoryview(Path("/proc/self/auxv").read_bytes()).cast("L")
    except PermissionError:  # a server that has given up root may not read its own
        import ctypes

        ask = ctypes.CDLL(None).getauxval
        ask.restype, ask.argtypes = ctypes.c_ulong, (ctypes.c_ulong,)
        return bool(ask(_AT_SECURE))
    return dict(zip(vector[::2], vector[1::2], strict=True)).get(_AT_SECURE, 0) != 0


def _settings(file: Path, text: str) -> dict[str, Any]:
    document = simple_document(text)
    if document is None:
        import tomllib  # some 5 ms, which C_Initialize spends only where the file needs it

        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"{file}: {error}") from error
    rows = {spec.metadata["setting"].key: spec for spec in fields(Config) if "setting" in spec.metadata}
    found: dict[str, Any] = {}
    for key, value in _flat(document):
        where = f"{file}, line {_line(text, key)}"
        if key not in rows:
            raise ConfigurationError(f"{where}: unknown setting {key!r}")
        setting = rows[key].metadata["setting"]
        found[rows[key].name] = _checked(where, setting, rows[key].default, value)
        if setting.plain and not _is_plain(text, key, value):
            raise ConfigurationError(
                f'{where}: {key} must stand on a line of its own, "name = "value"" under its [table]'
            )
    return found


_TEXT = r'"[ !#-\[\]-~]*"'
_SIMPLE_LINE = (
    r"[ \t]*(?:"
    r"\[(?P<table>[A-Za-z0-9_-]+)\]"
    rf"|(?P<name>[A-Za-z0-9_-]+)[ \t]*=[ \t]*(?:(?P<text>{_TEXT})|(?P<bool>true|false)"
    r"|(?P<number>(?:0|[1-9][0-9]{0,15})(?P<part>\.[0-9]{1,15})?)"
    rf"|\[[ \t]*(?P<list>{_TEXT}(?:[ \t]*,[ \t]*{_TEXT})*)[ \t]*,?[ \t]*\])"
    r")?[ \t]*(?:#[\t -~]*)?"
)


def simple_document(text: str) -> dict[str, Any] | None:
    """Return what tomllib says of a document of tables, texts, numbers and lists of texts, each on a line.

    None for all that is less simple, wrong documents among them: only tomllib judges those.
    """
    simple = re.compile(_SIMPLE_LINE)  # where there is a file to read
    document: dict[str, Any] = {}
    here = document
    for line in text.split("\n"):
        found = simple.fullmatch(line)
        if found is None:
            return None
        if table := found["table"]:
            if table in document:
                return None
            here = document[table] = {}
        elif name := found["name"]:
            if name in here:
                return None
            here[name] = _simple_value(found)
    return document


def _simple_value(found: re.Match[str]) -> Any:
    if found["text"]:
        return found["text"][1:-1]
    if found["bool"]:
        return found["bool"] == "true"
    if found["number"]:
        return float(found["number"]) if found["part"] else int(found["number"])
    return [one[1:-1] for one in re.findall(_TEXT, found["list"])]


def _is_plain(text: str, key: str, value: str) -> bool:
    """Tell whether a text is set in the one form that C reads: `key = "value"` under `[table]`."""
    table, name = key.split(".")
    here = ""
    for line in text.splitlines():
        here = line.strip() if line.lstrip(" \t").startswith("[") else here
        if here.startswith(f"[{table}]") and re.match(rf'[ \t]*{name} *= *"{value}"\s*(#.*)?$', line):
            return True
    return False


def _flat(document: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in document.items():
        pairs += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return pairs


def _checked(where: str, setting: Setting, default: Any, value: Any) -> Any:
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if isinstance(default, tuple):
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
            raise ConfigurationError(f"{where}: {setting.key} must be a text or a list of texts")
        return tuple(listed)
    if type(value) is not type(default):
        kind = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}[type(default)]
        raise ConfigurationError(f"{where}: {setting.key} must be {kind}")
    if setting.choices and value not in setting.choices:
        raise ConfigurationError(f"{where}: {setting.key} must be one of {', '.join(filter(None, setting.choices))}")
    if setting.least is not None and setting.most is not None and not setting.least <= value <= setting.most:
        raise ConfigurationError(f"{where}: {setting.key} must be from {setting.least:g} to {setting.most:g}")
    return value


def _line(text: str, key: str) -> int:
    """Return the line on which `key` is set, counting from 1; tomllib keeps no positions."""
    *table, name = key.split(".")
    here: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\s*([^\]]+?)\s*\]", line):
            here = [part.strip().strip("\"'") for part in header[1].split(".")]
        elif assigned := re.match(r"\s*([\w.\"'-]+)\s*=", line):
            path = here + [part.strip("\"'") for part in assigned[1].split(".")]
            if path == [*table, name] or (path == table and "{" in line):
                return number
    return 1
