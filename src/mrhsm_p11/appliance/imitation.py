"""A product as its documents describe it: the options with which the trial appliance does as its profile says.

What no document says is offered counts as refused, so that what works here needs only what is documented. It is an
imitation made from documents: nobody has compared it with a real unit.
"""

from __future__ import annotations

from typing import Any

from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.kmip.profiles import ROWS
from mrhsm_p11.kmip.vocabulary import BlockCipherMode, KeyFormatType, ObjectType, Operation

# Optional attributes of a new object, and the fact that says whether they are kept.
_ATTRIBUTES = {
    "Application Specific Information": "information",
    "x-": "custom",
    "Activation Date": "activation_date",
}


def options_of(name: str, versions: tuple[str, ...]) -> dict[str, Any]:
    """Return fields of Options by a profile's name; `versions` are those that can be spoken. Raises MrhsmError."""
    if name not in ROWS:
        raise MrhsmError(f"{name!r} is no profile: there are {', '.join(ROWS)}")
    row = ROWS[name]
    documented = tuple(f"{major}.{minor}" for major, minor in row.versions)
    return {
        "vendor": row.answers or row.title,
        "versions": tuple(version for version in versions if version in documented) or versions,
        "refuse_operations": tuple(one.name for one in Operation if row.offers(one) is not True),
        "refuse_attributes": tuple(text for text, fact in _ATTRIBUTES.items() if getattr(row, fact) is not True),
        "refuse_types": tuple(one.name for one in ObjectType if row.objects and one not in row.objects),
        "refuse_formats": tuple(one.name for one in KeyFormatType if row.formats and one not in row.formats),
        "refuse_wrapping": BlockCipherMode.NIST_KEY_WRAP not in row.wrap_methods,
        "refuse_batches": row.batches is not True,
        "unique_names": row.unique_names is not False,
        "keep_destroyed": row.keeps_destroyed is not False,
        "active_only": row.reads_active_only is True,
        "same_name": row.username_of_certificate is True,
    }
