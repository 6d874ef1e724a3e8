"""What an unfinished `enable` has begun, kept in the signed settings so that the next run can finish it."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from mrhsm_p11.cluster.keys import ClusterKey
from mrhsm_p11.tokendir.settings import ClusterRecord, JournalStep, KeyRecord, Settings

COMMAND = "enable"


class SettingsKeeper(Protocol):
    """Whoever may change the signed settings: an SO who has logged in."""

    @property
    def settings(self) -> Settings:
        """The settings as saved last."""

    def save_settings(self, settings: Settings) -> None:
        """Sign and save, durably and whole or not at all."""


class Journal:
    """The cluster record and its journal; every change is saved before the method returns."""

    def __init__(self, keeper: SettingsKeeper, cluster: str) -> None:
        self._keeper = keeper
        self.record = keeper.settings.cluster or ClusterRecord(cluster)

    def known(self, key: ClusterKey) -> KeyRecord | None:
        """Return the finished record of a key."""
        found: KeyRecord | None = getattr(self.record, key.field)
        return found

    def step(self, key: ClusterKey) -> JournalStep | None:
        """Return what was begun for a key: without a uid, the key may or may not have been made."""
        return next((step for step in self.record.journal if _is(step, key)), None)

    def intend(self, key: ClusterKey) -> None:
        """Note that a key is about to be made."""
        self._replace_step(key, JournalStep(COMMAND, key.use.value))

    def made(self, key: ClusterKey, uid: str) -> None:
        """Note the key that this node has made."""
        self._replace_step(key, JournalStep(COMMAND, key.use.value, uid))

    def finish(self, key: ClusterKey, record: KeyRecord) -> None:
        """Keep the key and close its step in one save."""
        journal = tuple(step for step in self.record.journal if not _is(step, key))
        self._save(replace(self.record, journal=journal, **{key.field: record}))  # type: ignore[arg-type]

    def close(self) -> None:
        """Mark the cluster as enabled, with nothing left to finish."""
        if not self.record.enabled or self.record.journal:
            self._save(replace(self.record, enabled=True, journal=()))

    def _replace_step(self, key: ClusterKey, step: JournalStep) -> None:
        others = tuple(other for other in self.record.journal if not _is(other, key))
        self._save(replace(self.record, journal=(*others, step)))

    def _save(self, record: ClusterRecord) -> None:
        self._keeper.save_settings(replace(self._keeper.settings, cluster=record))
        self.record = record


def _is(step: JournalStep, key: ClusterKey) -> bool:
    return step.command == COMMAND and step.step == key.use.value
