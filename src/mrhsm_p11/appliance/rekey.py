"""The replacement that Re-key makes of a symmetric key."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from kmip.pie import objects

from mrhsm_p11.appliance import kept

# Dates that keep their distance from the Activation Date when an Offset moves that.
MOVING = ("Process Start Date", "Protect Stop Date", kept.DEACTIVATION)
NEVER_COPIED = {kept.IDENTIFIER, kept.LINK, "Destroy Date", "Compromise Date", "Compromise Occurrence Date"}


def take_over(existing: Any, replacement: Any, given: Collection[str]) -> None:
    """Copy what the request did not give; the existing key loses its names.

    KMIP Specification 1.4, "Re-key".
    """
    names, existing.names = list(existing.names), []
    if "Name" not in given:
        replacement.names.extend(names)
    if "Cryptographic Usage Mask" not in given:
        replacement.cryptographic_usage_masks = existing.cryptographic_usage_masks
    if "Application Specific Information" not in given:
        replacement.app_specific_info.extend(
            objects.ApplicationSpecificInformation(i.application_namespace, i.application_data)
            for i in existing.app_specific_info
        )
    if "Object Group" not in given:
        replacement.object_groups.extend(objects.ObjectGroup(g.object_group) for g in existing.object_groups)
    for attribute in existing.kept:
        if attribute.name not in NEVER_COPIED and attribute.name not in given:
            kept.add(replacement, attribute.name, attribute.value)
    replacement.sensitive = existing.sensitive
    replacement.operation_policy_name = existing.operation_policy_name
    replacement._owner = existing._owner


def move_dates(existing: Any, replacement: Any, activation: int) -> None:
    """Set the Activation Date that an Offset asks for, and the dates that hang on it."""
    kept.replace(replacement, kept.ACTIVATION, kept.date(activation))
    for before in kept.dates_of(existing, kept.ACTIVATION):
        for name in MOVING:
            for date in kept.dates_of(existing, name):
                kept.replace(replacement, name, kept.date(date + activation - before))
