"""How words reach a terminal, a pipe or a file: as they are, whoever wrote them, and all of them.

A terminal is as wide as it is: prose is broken between words, and a table that does not fit even with its columns
folded becomes a list. What is no terminal gets every line whole.
"""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

WIDE = 10_000
"""Columns of what is no terminal."""


def plain_console(*, stderr: bool = False) -> Console:
    """A console that takes no text for markup: titles, labels, notes and paths may hold brackets and colons."""
    console = _Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDE
    return console


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Nobody reads on, which is no failure; rich would end the program with 1."""
        drop_output()


def print_command(console: Console, before: str, command: str) -> None:
    """Print a command to be copied: in one line, however narrow the terminal, as half of one may be another command."""
    console.print(Text(f"{before}{command}"), soft_wrap=True)


def print_prose(console: Console, text: str, *, indent: int = 0, style: str = "") -> None:
    """Print sentences, broken between words; what stands in backticks is a command, and stays in one line."""
    for line in text.split("\n"):
        for part in wrapped(line, console.width - indent):
            console.print(Text(" " * indent + part, style=style), soft_wrap=True)


def wrapped(text: str, width: int) -> Iterator[str]:
    """Lines of at most `width` characters, but for words, and commands in backticks, that are longer."""
    line = ""
    for word in re.findall(r"[^\s`]*`[^`]*`\S*|\S+", text):
        if line and len(line) + 1 + len(word) > width:
            yield line
            line = ""
        line += f"{' ' if line else ''}{word}"
    yield line


@dataclass(frozen=True)
class Column:
    """A column of `Rows`."""

    title: str
    whole: bool = False
    """Its cells are never broken: they say which row it is."""
    right: bool = False
    least: int = 0
    """Characters, at least: so long is what must not be broken of its cells."""


class Rows:
    """A table; where its columns do not fit, a list: for each row what names it, and each cell below with its title."""

    def __init__(
        self,
        columns: Sequence[Column],
        rows: Sequence[Sequence[str]],
        *,
        ends: Sequence[bool] = (),
        ruled: bool = False,
    ) -> None:
        """As it is to be shown.

        Args:
            columns: The whole ones first.
            rows: Their cells.
            ends: Whether a group of rows ends after each of them.
            ruled: A line below the titles, and between groups.
        """
        self.columns, self.rows = columns, rows
        self.ends = ends or [False] * len(rows)
        self.ruled = ruled

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As a table, or as a list."""
        table = self._table()
        if Measurement.get(console, options.update(width=WIDE), table).minimum <= options.max_width:
            # What is no terminal gets no blanks at the ends of its lines.
            lines = [] if console.is_terminal else console.render_lines(table, options, pad=False)
            yield from (Text("".join(part.text for part in line).rstrip()) for line in lines)
            if console.is_terminal:
                yield table
        else:
            yield from self._list(options.max_width)

    def _table(self) -> Table:
        table = Table(
            box=SIMPLE_HEAD if self.ruled else None,
            show_header=any(column.title for column in self.columns),
            header_style="bold",
            collapse_padding=True,
            pad_edge=False,
            padding=(0, 1) if self.ruled else (0, 2, 0, 0),
        )
        for number, column in enumerate(self.columns):
            cells = [row[number] for row in self.rows] if column.whole else []
            words = max((len(word) for cell in (*cells, *column.title.split()) for word in cell.split("\n")), default=0)
            table.add_column(
                Text(column.title),
                no_wrap=column.whole,
                justify="right" if column.right else "left",
                min_width=max(column.least, words),
            )
        for row, end in zip(self.rows, self.ends, strict=True):
            table.add_row(*map(Text, row), end_section=end and self.ruled)
        return table

    def _list(self, width: int) -> Iterator[Text]:
        names = [number for number, column in enumerate(self.columns) if column.whole]
        cells = [number for number in range(len(self.columns)) if number not in names]
        titles = {number: " ".join(self.columns[number].title.split()) for number in cells}
        room = max((len(title) for title in titles.values()), default=0)
        if room > width // 2:
            room = 0
        for row in self.rows:
            for line in wrapped(", ".join(row[number] for number in names if row[number]), width):
                yield Text(line, style="bold")
            for number in cells:
                for line in _cell(titles[number], row[number], room, width):
                    yield Text(line)


def _cell(title: str, cell: str, room: int, width: int) -> Iterator[str]:
    first, *more = wrapped(cell, max(1, width - room - 4))
    yield f"  {title:<{room}}  {first}".rstrip()
    for line in more:
        yield " " * (room + 4) + line


def spare_outputs() -> None:
    """Characters that an output cannot hold are replaced there, in place of ending the program; one may be closed."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - until the end
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def drop_output() -> None:
    """Nobody reads the standard output any more: what is still to be printed there goes nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
