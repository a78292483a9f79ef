"""How words reach a terminal, a pipe or a file: as they are, whoever wrote them."""

import os
import sys
from typing import Any

from rich.console import Console
from rich.text import Text


def plain_console(*, stderr: bool = False, width: int | None = None) -> Console:
    """A console that takes no text for markup: titles, labels, notes and paths may hold brackets and colons."""
    return _Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Nobody reads on, which is no failure; rich would end the program with 1."""
        drop_output()


def print_command(console: Console, before: str, command: str) -> None:
    """Print a command to be copied: in one line, however narrow the terminal, as half of one may be another command."""
    console.print(Text(f"{before}{command}"), soft_wrap=True)


def spare_outputs() -> None:
    """Characters that an output cannot hold are replaced there, in place of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def drop_output() -> None:
    """Nobody reads the standard output any more: what is still to be printed there goes nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
