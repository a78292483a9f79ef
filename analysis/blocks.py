"""A page as a list of blocks, so that what is said stands once and is rendered as Markdown and as HTML.

In texts a pair of backticks marks code, two stars on each side what is best, and `[text](path)` links to a section of
the page or to a path beside it; nothing else is marked up.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

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
    lead: bool = False
    """Whether it is what a page comes to."""


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
    """A figure, drawn in each of the three formats when it is first asked for; and its caption."""

    name: str
    """Of its files."""
    title: str
    caption: list[str]
    draw: Callable[[str], bytes]
    """By the format's name."""

    @cached_property
    def svg(self) -> bytes:
        """For pages."""
        return self.draw("svg")

    @cached_property
    def pdf(self) -> bytes:
        """For papers."""
        return self.draw("pdf")

    @cached_property
    def png(self) -> bytes:
        """For slides."""
        return self.draw("png")


@dataclass(frozen=True)
class Facts:
    """Short answers under their names."""

    found: Mapping[str, str]


@dataclass(frozen=True)
class Contents:
    """Where a page lists its sections; on pages without it they are listed under the title."""


@dataclass(frozen=True)
class Section:
    """A title with what is under it, which a reader may fold away."""

    title: str
    blocks: "list[Block]"
    open: bool = False
    """Whether it is unfolded at first."""


Block = Heading | Paragraph | Bullets | TextTable | Picture | Facts | Contents | Section


def join(values: Iterable[object]) -> str:
    """Different values, each once: several settings in one plan are all named."""
    distinct = dict.fromkeys(f"{value:,}" if isinstance(value, int) else str(value) for value in values)
    return " or ".join(sorted(distinct))
