"""A page as a list of blocks, so that what is said stands once and is rendered as Markdown and as HTML.

In texts a pair of backticks marks code; nothing else is marked up.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Heading:
    """Opens a section."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """One or more sentences."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list."""

    sentences: list[str]


@dataclass(frozen=True)
class TextTable:
    """A table of text cells."""

    text: pd.DataFrame


@dataclass(frozen=True)
class Picture:
    """A figure in the three formats, with its caption."""

    name: str
    """Of its files."""
    title: str
    caption: list[str]
    svg: bytes
    pdf: bytes
    png: bytes


Block = Heading | Paragraph | Bullets | TextTable | Picture


def join(values: Iterable[object]) -> str:
    """Different values, each once: several settings in one plan are all named."""
    distinct = dict.fromkeys(f"{value:,}" if isinstance(value, int) else str(value) for value in values)
    return " or ".join(sorted(distinct))
