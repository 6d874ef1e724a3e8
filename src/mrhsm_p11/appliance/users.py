"""Who may ask beside the certificate: names and passwords from a file, as some vendors' products demand them."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kmip.core import enums

from mrhsm_p11.errors import MrhsmError


@dataclass(frozen=True, slots=True)
class Users:
    """Passwords by name."""

    passwords: dict[str, str] = field(repr=False)

    @classmethod
    def read(cls, file: Path) -> Users:
        """Read lines of name:password. Raises MrhsmError."""
        try:
            lines = [line for line in file.read_text().splitlines() if line]
        except (OSError, UnicodeDecodeError) as problem:
            raise MrhsmError(f"cannot read the users of {file}: {problem}") from problem
        wrong = [number for number, line in enumerate(lines, 1) if ":" not in line]
        if wrong or not lines:
            raise MrhsmError(f"{file} must hold lines of name:password")
        return cls(dict(line.split(":", 1) for line in lines))

    def have(self, authentication: Any) -> bool:
        """Tell whether a request header's Authentication names one of them with the password."""
        for value in _values(authentication):
            known = self.passwords.get(value.username)
            if known is not None and hmac.compare_digest(known.encode(), (value.password or "").encode()):
                return True
        return False


def names_of(authentication: Any) -> set[str]:
    """Return the user names in a request header's Authentication."""
    return {value.username for value in _values(authentication)}


def _values(authentication: Any) -> list[Any]:
    named = enums.CredentialType.USERNAME_AND_PASSWORD
    credentials = authentication.credentials if authentication is not None else ()
    return [one.credential_value for one in credentials if one.credential_type is named]
