"""What `mrhsm` prints, as templates: padding, spacing and words are the manual's."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cryptography import x509

from mrhsm_p11.cli import certificates
from mrhsm_p11.cluster.events import Event, Happened
from mrhsm_p11.cluster.keys import CLDB, COMMON, CORE, DARE, ClusterKey
from mrhsm_p11.cluster.status import ServerStatus
from mrhsm_p11.tokendir.entries import TokenEntry, slot_id
from mrhsm_p11.tokendir.settings import ClusterRecord, Connection, KeyRecord

MANUFACTURER, MODEL = "HPE MapR-HSM", "MapRHSM"
DOCUMENTED_HOME = "/opt/mapr"

SLOT = """\
Slot {slot}
    Slot info:
        Description:          {description:<64}
        Manufacturer ID:      {manufacturer:<32}
        Token present:        yes
    Token info:
        Manufacturer ID:      {manufacturer:<32}
        Model:                {model:<16}
        Serial number:        {serial:<16}
        Initialized:          {initialized}
        User PIN initialized: {user_pin}
        Label:                {label}
"""

HEADING = "Displaying information for {store} token with serial {serial}\n"
STORE_NAMES = {"kmip": "KMIP", "file": "file"}

CONNECTION = """\
{ips}
Port                   : {port}
KMIP Version           : {kmip_version}
KMIP Client Key        : {client_key}
"""
SERVER = "  {left:<21}: {address} {state}"
NO_SERVERS = "IPs                    : Not configured"
NO_CERTIFICATE = "\nKMIP {whose} Certificate: Not configured\n"
CERTIFICATE = """
KMIP {whose} Certificate:
    Subject: {subject}
    Issuer: {issuer}
    Version: {version}
    Signature Algorithm: {algorithm}
    Validity:
        Not before: {not_before}
        Not after: {not_after}
"""

CLUSTER = """\
{what} Configuration Version {version}
-----------------------------
{keys}Enabled             : {enabled}
"""
CONFIGURED = {"kmip": "KMIP", "file": "File Store"}
KEY = """\
{heading}:
{encrypted}    UUID            : {uid}
    SHA-256 checksum: {checksum}
"""
ENCRYPTED = "    Encrypted Key   : {encrypted}\n"
KEY_HEADINGS: dict[ClusterKey, str] = {CLDB: "CLDB", DARE: "DARE ", CORE: "Core KEK ", COMMON: "Common KEK "}

EVENTS = {
    Happened.CLUSTER_NAMED: "Obtained cluster name {text} from mapr-clusters.conf",
    Happened.ENABLING: "Enabling MapR HSM on cluster {text}",
    Happened.GENERATED: "Successfully generated {title}, UUID {text}",
    Happened.FOUND: "Found existing {title}, UUID {text}",
    Happened.CHECKSUM: "SHA-256 checksum for {title} is {text}",
    Happened.ENCRYPTED: "Successfully set encrypted {title} in KMIP configuration",
    Happened.INACTIVE: "Warning: {title}, UUID {text}, is no longer active: it still decrypts; replace it when you can",
    Happened.NO_COPY: "Warning: {title}, UUID {text}, is no longer in the key store: only the encrypted key is left",
    Happened.REKEYING: "Rekeying {title} on cluster {text}",
    Happened.RESUMED: "Finishing the rekey of {title} that was interrupted",
    Happened.KEPT: "The former {title}, UUID {text}, stays active for nodes that still have the old token directory",
    Happened.RETIRED: "Revoked the former {title}, UUID {text}",
    Happened.GONE: "The former {title}, UUID {text}, is no longer in the key store",
    Happened.ASKING: "Asking the KMIP servers",
    Happened.LOOKING: "Looking for the keys of cluster {text}",
    Happened.SETTLING: "Waiting whether another node makes the same key",
    Happened.REVOKED: "Another node made {title} at the same time: UUID {text}, made here, is revoked",
}

DARE_NOT_CHOSEN = """\
Existing DARE master key found at {path}, and -dare is not specified
Use the -dare option to import the DARE master key into the HSM."""

CONFIRM_NEW = """\
A new {titles} will be made although cluster {cluster} has keys in the key store. \
What was encrypted under another key cannot be read with a new one. {second}\
Type the name of the cluster if that is what you want."""
CONFIRM_SECOND = """\
The key store has a {titles} of this cluster already: the new one is a second, \
which this node then uses instead of the first. """

RULE = "#" * 78
COPY = """\
Copy the entire contents of the KMIP token directory /opt/mapr/conf/tokens to
all CLDB and Zookeeper nodes. All files in /opt/mapr/conf/tokens must be owned
by the mapr user and mapr group."""

REKEYED = """\
The {what} now encrypted under the new Core KEK. Nodes that still have the old
token directory go on with the former one, which is revoked only by mrhsm rekey
core -retire: run that once every node has the new directory."""
REKEYED_COMMON = """\
The former Common KEK is revoked only by mrhsm rekey common -retire: run that
once every node has the new token directory."""

NEW_SO_PIN = "New SO PIN is set successfully"
NEW_USER_PIN = "New user PIN is set successfully"


def slots(entries: Sequence[TokenEntry]) -> str:
    """Lay out `info -slots`; the uninitialised slot is listed only while no token exists."""
    blocks = [_slot(slot_id(entry.serial), entry) for entry in entries] or [_slot(0, None)]
    return "Available slots:\n" + "".join(blocks)


def _slot(number: int, entry: TokenEntry | None) -> str:
    label = entry.label if entry else ""
    return SLOT.format(
        slot=number,
        description=f"MapRHSM slot ID 0x{number:x}",
        manufacturer=MANUFACTURER,
        model=MODEL,
        serial=entry.serial if entry else "",
        initialized=_yes(entry is not None),
        user_pin=_yes(entry is not None and entry.user_pin is not None),
        label=label + " " * (32 - len(label.encode())),  # the field has 32 bytes, not characters
    )


def heading(serial: str, store: str) -> str:
    """Lay out the first line of a section about one token."""
    return HEADING.format(store=STORE_NAMES[store], serial=serial)


def connection(configured: Connection, servers: Sequence[ServerStatus]) -> str:
    """Lay out `info -config` below its heading."""
    lines = [
        SERVER.format(left=f"IP {number}", address=server.address, state=_state(server))
        for number, server in enumerate(servers, 1)
    ]
    return CONNECTION.format(
        ips="\n".join(["IPs", *lines]) if lines else NO_SERVERS,
        port=configured.port,
        kmip_version=configured.kmip_version,
        client_key="Not configured" if configured.client_key is None else "Configured",
    ) + "".join(
        _certificates(whose, text)
        for whose, text in (("Client", configured.client_certificate), ("CA", configured.ca_certificate))
    )


def _state(server: ServerStatus) -> str:
    return f"Inactive ({server.fault})" if server.fault else "Active"


def _certificates(whose: str, text: bytes) -> str:
    if not text:
        return NO_CERTIFICATE.format(whose=whose)
    return "".join(certificate(whose, found) for found in x509.load_pem_x509_certificates(text))


def certificate(whose: str, found: x509.Certificate) -> str:
    """Lay out one certificate."""
    return CERTIFICATE.format(
        whose=whose,
        subject=certificates.one_line(found.subject),
        issuer=certificates.one_line(found.issuer),
        version=found.version.value + 1,
        algorithm=certificates.public_key_algorithm(found),
        not_before=certificates.moment(found.not_valid_before_utc),
        not_after=certificates.moment(found.not_valid_after_utc),
    )


def cluster(store: str, record: ClusterRecord | None) -> str:
    """Lay out `info -kmip` or `-file` below its heading."""
    shown = record or ClusterRecord("")
    found = ((words, getattr(shown, key.field)) for key, words in KEY_HEADINGS.items())
    return CLUSTER.format(
        what=CONFIGURED[store],
        version=shown.version,
        keys="".join(_key(words, key) for words, key in found if key is not None),
        enabled=_yes(shown.enabled).capitalize(),
    )


def _key(words: str, key: KeyRecord) -> str:
    encrypted = ENCRYPTED.format(encrypted=key.encrypted.hex().upper()) if key.encrypted else ""
    return KEY.format(heading=words, encrypted=encrypted, uid=key.uid, checksum=key.checksum)


def event(happened: Event) -> str:
    """Lay out one line of `enable`."""
    return EVENTS[happened.what].format(title=happened.title, text=happened.text)


def banner(home: Path, protected: Iterable[ClusterKey], legacy: Iterable[ClusterKey]) -> str:
    """Lay out what `enable` ends with; the manual's text where both keys were imported from their files."""
    keys, files = list(protected), list(legacy)
    both = DARE in keys
    sentences = [f"The CLDB {'and DARE master keys are' if both else 'key is'} now protected by the HSM."]
    advice = []
    if files:
        names = " and ".join(f"{LEGACY_NAMES[key]} {key.legacy_file}" for key in files)
        one = len(files) == 1
        advice += [
            f"The {names} in {DOCUMENTED_HOME}/conf {'is' if one else 'are'} no longer used.",
            f"Back up {'this key' if one else 'these keys'} in a safe location,"
            f" and then remove {'it' if one else 'them'} from {DOCUMENTED_HOME}/conf.",
        ]
    inside = "CLDB and DARE master keys" if both else "CLDB key"
    advice.append(f"All keys in the HSM, including the {inside}, should be safely backed up.")
    lost = "cluster cannot be started and data cannot be accessed" if both else "cluster cannot be started"
    advice.append(f"Without the {'DARE master' if both else 'CLDB'} key, the {lost}.")
    sentences.append(textwrap.fill(" ".join(advice), 78))
    text = "\n".join([RULE, *sentences, "", COPY, RULE])
    # Lines break where the manual breaks them, whatever the directory is called.
    return text.replace(DOCUMENTED_HOME, str(home))


def confirm_new(keys: Mapping[ClusterKey, bool], cluster: str) -> str:
    """Lay out what is asked before keys are made beside others; True: beside one of the same kind."""
    second = [key for key, there in keys.items() if there]
    return textwrap.fill(
        CONFIRM_NEW.format(
            titles=" and a new ".join(key.title for key in keys),
            cluster=cluster,
            second=CONFIRM_SECOND.format(titles=" and a ".join(key.title for key in second)) if second else "",
        ),
        78,
    )


def rekeyed(home: Path, key: ClusterKey, protected: Iterable[ClusterKey]) -> str:
    """Lay out what `rekey` ends with, in the style of `enable`."""
    what = "CLDB and DARE master keys are" if DARE in protected else "CLDB key is"
    text = REKEYED.format(what=what) if key is CORE else REKEYED_COMMON
    return "\n".join([RULE, textwrap.fill(text, 78), "", COPY, RULE]).replace(DOCUMENTED_HOME, str(home))


LEGACY_NAMES: dict[ClusterKey, str] = {CLDB: "CLDB key", DARE: "DARE master key"}


def _yes(true: bool) -> str:
    return "yes" if true else "no"
