"""The four keys of a cluster, in the order in which they are made and shown."""

from __future__ import annotations

from dataclasses import dataclass

from mrhsm_p11.store.base import KeyUse

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class ClusterKey:
    """One row a cluster key."""

    use: KeyUse
    title: str  # what outputs call it
    field: str  # its field in ClusterRecord
    kek: bool  # stays in the store; the others are also kept encrypted under the Core KEK
    legacy_file: str = ""  # under conf/, where clusters without an HSM keep it

    def name(self, cluster: str) -> str:
        """Return the managed object's Name, by which a lost token directory's keys are found again."""
        return f"mrhsm/{cluster}/{self.use.value}"


CORE = ClusterKey(KeyUse.CORE_KEK, "Core KEK", "core_kek", kek=True)
COMMON = ClusterKey(KeyUse.COMMON_KEK, "Common KEK", "common_kek", kek=True)
CLDB = ClusterKey(KeyUse.CLDB_KEY, "CLDB key", "cldb", kek=False, legacy_file="cldb.key")
DARE = ClusterKey(KeyUse.DARE_KEY, "DARE key", "dare", kek=False, legacy_file="dare.master.key")

KEYS = (CORE, COMMON, CLDB, DARE)
