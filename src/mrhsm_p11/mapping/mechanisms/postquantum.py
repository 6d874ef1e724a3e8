"""Mechanisms that withstand quantum computers: ML-KEM, ML-DSA, SLH-DSA."""

from __future__ import annotations

from mrhsm_p11.mapping.mechanisms.row import MechanismRow

ROWS: tuple[MechanismRow, ...] = ()
