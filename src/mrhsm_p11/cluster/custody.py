"""Keys that stay at the key manager: what it does with them, and which keys of a token it does nothing with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrhsm_p11 import deadline, store
from mrhsm_p11.cluster.connection import missing
from mrhsm_p11.config import Config
from mrhsm_p11.constants import CKA, CKK, CKO
from mrhsm_p11.mapping.mechanisms import ROWS
from mrhsm_p11.tokendir.tokens import OpenToken, SoToken

if TYPE_CHECKING:
    from mrhsm_p11.store.base import Record
    from mrhsm_p11.tokendir.custody import Served


def applies(opened: OpenToken | SoToken, config: Config) -> bool:
    """Tell whether a token's key bytes are to stay at its key managers, and those are configured."""
    settings = opened.settings
    return config.custody == "appliance" and settings.store == "kmip" and not missing(settings.connection)


def probe(opened: OpenToken | SoToken, config: Config) -> Served:
    """Find out and note what the key managers do with keys that they keep. Raises CryptokiError."""
    from mrhsm_p11.store import kmip

    return kmip.probe_custody(opened, config)


def left_behind(opened: OpenToken | SoToken, config: Config, served: Served) -> list[str]:
    """Return the keys of a token that nothing can be done with in this custody, named for people."""
    used = {key_type for (mechanism, _), way in served.items() if way >= 0 for key_type in ROWS[mechanism].key_types}
    objects = store.open_store(opened, config)
    try:
        with deadline.limit(config.deadline_s):
            return [_named(record) for record in objects.search({}) if _is_left_behind(record, used)]
    finally:
        objects.close()


def _is_left_behind(record: Record, used: set[int]) -> bool:
    cls, key_type = record.attributes.get(CKA.CLASS), record.attributes.get(CKA.KEY_TYPE)
    if cls not in (CKO.SECRET_KEY, CKO.PRIVATE_KEY):
        return False
    blind = cls == CKO.PRIVATE_KEY and CKA.PUBLIC_KEY_INFO not in record.attributes
    return key_type not in used or blind


def _named(record: Record) -> str:
    key_type = record.attributes.get(CKA.KEY_TYPE)
    kind = f"CKK_{CKK.name(key_type)}" if isinstance(key_type, int) else "a key"
    label = record.attributes.get(CKA.LABEL)
    return f"{label if isinstance(label, str) and label else 'without label'} ({kind}, UUID {record.uid})"
