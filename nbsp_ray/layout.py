"""The networks of an agent: their names and their geometry, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    pass

NETWORKS = ("actor", "q1", "q2")
PARTS: Mapping[str, tuple[str, ...]] = {"actor": ("actor",), "critic": ("q1", "q2")}
"""The networks of each part, in the order of their stack."""
Parts = tuple[Literal["actor", "critic"], ...]


Counts = Mapping[str, int]
"""Skill neurons of each network: `actor`, `q1`, `q2`."""
