"""Words reach an output as they are, whoever wrote them and whatever the output can hold."""

import io
import sys

import pytest
from rich.console import Console
from rich.table import Table

from nbsp_ray.terminal import output


def printed(width: int = 40) -> tuple[Console, io.StringIO]:
    console, file = output.plain_console(width=width), io.StringIO()
    console.file = file
    return console, file


def test_no_text_is_markup() -> None:
    console, file = printed(200)
    words = "a [/x] [bold]b[/] :smile: [link=x]"
    table = Table(title=words)
    table.add_column(words)
    table.add_row(words)
    console.print(words)
    console.print(table)
    assert file.getvalue().count(words) == 4


def test_a_command_is_one_line() -> None:
    console, file = printed(20)
    command = "nbsp-ray run toy 'methods=[base,nbsp]' seeds=0-4"
    output.print_command(console, "Run it:  ", command)
    assert file.getvalue() == f"Run it:  {command}\n"


def test_what_an_output_cannot_hold_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    output.spare_outputs()
    output.plain_console().print("0.60 ± 0.30")
    sys.stdout.flush()
    assert raw.getvalue() == b"0.60 ? 0.30\n"
