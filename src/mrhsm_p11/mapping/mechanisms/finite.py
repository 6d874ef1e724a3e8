"""Mechanisms of finite fields: DSA and Diffie-Hellman."""

from __future__ import annotations

from mrhsm_p11.mapping.mechanisms.row import MechanismRow

ROWS: tuple[MechanismRow, ...] = ()
