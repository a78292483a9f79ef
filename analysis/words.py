"""How tables, figures and pages speak of what trials are judged by."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """The words of one measure."""

    performance: str
    """What a trial is judged by."""
    curve: str
    """What goes upwards where a task's training is drawn."""
    task: str
    suffix: str
    """Of file names."""
    title: str
    """Behind a title."""
    is_rate: bool
    """Whether it lies in [0, 1]."""


WORDS: Mapping[str, Words] = {
    "success": Words("success rate", "success rate", "task", "", "", is_rate=True),
    "score": Words("normalised score", "raw score", "game", "_score", " (games, by score)", is_rate=False),
}
NORMALISED = "Normalised score: (agent - random) / (human - random), so that random play is 0 and a human 1 (Eq. 8)."
