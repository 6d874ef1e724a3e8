"""What an unfinished `enable` or `rekey` has begun, in the signed settings, so that the next run can finish it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from mrhsm_p11.cluster.keys import ClusterKey
from mrhsm_p11.tokendir.settings import ClusterRecord, JournalStep, KeyRecord, Settings

ENABLE, REKEY = "enable", "rekey"


class SettingsKeeper(Protocol):
    """Whoever may change the signed settings: an SO who has logged in."""

    @property
    def settings(self) -> Settings:
        """The settings as saved last."""

    def save_settings(self, settings: Settings) -> None:
        """Sign and save, durably and whole or not at all."""


class Journal:
    """The cluster record and one command's journal; every change is saved before the method returns."""

    def __init__(self, keeper: SettingsKeeper, cluster: str, command: str = ENABLE) -> None:
        self._keeper = keeper
        self._command = command
        self.record = keeper.settings.cluster or ClusterRecord(cluster)

    def known(self, key: ClusterKey) -> KeyRecord | None:
        """Return the finished record of a key."""
        found: KeyRecord | None = getattr(self.record, key.field)
        return found

    def step(self, key: ClusterKey) -> JournalStep | None:
        """Return what was begun for a key: without a uid, the key may or may not have been made."""
        return next((step for step in self.record.journal if self._is(step, key)), None)

    def intend(self, key: ClusterKey, note: str = "") -> None:
        """Note that a key is about to be made, and what the next run must know to find it."""
        self._replace_step(key, JournalStep(self._command, key.use.value, note=note))

    def made(self, key: ClusterKey, uid: str, note: str = "") -> None:
        """Note the key that this node has made."""
        self._replace_step(key, JournalStep(self._command, key.use.value, uid, note))

    def finish(self, key: ClusterKey, record: KeyRecord) -> None:
        """Keep the key and close its step in one save."""
        self._save(replace(self.record, journal=self._others(key), **{key.field: record}))  # type: ignore[arg-type]

    def keep(self, records: Mapping[ClusterKey, KeyRecord]) -> None:
        """Keep several keys in one save; what was begun stays begun."""
        fields = {key.field: record for key, record in records.items()}
        self._save(replace(self.record, **fields))  # type: ignore[arg-type]

    def drop(self, key: ClusterKey) -> None:
        """Close a key's step."""
        if self.step(key) is not None:
            self._save(replace(self.record, journal=self._others(key)))

    def close(self) -> None:
        """Mark the cluster as enabled, with nothing of this command left to finish."""
        journal = tuple(step for step in self.record.journal if step.command != self._command)
        if not self.record.enabled or self.record.journal != journal:
            self._save(replace(self.record, enabled=True, journal=journal))

    def _replace_step(self, key: ClusterKey, step: JournalStep) -> None:
        self._save(replace(self.record, journal=(*self._others(key), step)))

    def _others(self, key: ClusterKey) -> tuple[JournalStep, ...]:
        return tuple(step for step in self.record.journal if not self._is(step, key))

    def _save(self, record: ClusterRecord) -> None:
        self._keeper.save_settings(replace(self._keeper.settings, cluster=record))
        self.record = record

    def _is(self, step: JournalStep, key: ClusterKey) -> bool:
        return step.command == self._command and step.step == key.use.value
