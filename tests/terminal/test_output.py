"""Words reach an output as they are, whoever wrote them and whatever the output can hold; and all of them."""

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from nbsp_ray.terminal import output
from nbsp_ray.terminal.output import Column, Rows


def printed(width: int | None = None) -> tuple[Console, io.StringIO]:
    console, file = output.plain_console(), io.StringIO()
    console.file = file
    console.width = width or console.width
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


def test_a_pipe_gets_whole_lines_whatever_the_terminal_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    console, file = printed()
    output.print_prose(console, "word " * 100)
    console.print(Rows([Column("name", whole=True), *(Column("a number") for _ in range(9))], [["x" * 30] * 10]))
    assert len(file.getvalue().splitlines()) == 3


def test_prose_is_broken_between_words_and_never_within_a_command() -> None:
    console, file = printed(30)
    output.print_prose(
        console, "All of it is kept: `nbsp-ray run toy seeds=0-4 methods=nbsp` goes on, it says", indent=2
    )
    assert file.getvalue().splitlines() == [
        "  All of it is kept:",
        "  `nbsp-ray run toy seeds=0-4 methods=nbsp`",
        "  goes on, it says",
    ]


@given(st.lists(st.text("ab-`", min_size=1, max_size=12), max_size=20), st.integers(1, 40))
def test_breaking_lines_changes_no_word(words: list[str], width: int) -> None:
    text = " ".join(words)
    lines = list(output.wrapped(text, width))
    assert " ".join(lines) == text
    assert all(len(line) <= width or " " not in line or "`" in line for line in lines)


CELLS = [["drawer-open > drawer-close", "nbsp", "0.62 ± 0.20 (n=3 of 5)", "1.00 (5 of 5 seeds equal)", "0.5"]]
COLUMNS = [
    *(Column("pair", whole=True), Column("method", whole=True)),
    *(Column(name, least=11) for name in ("first task before", "first task after", "second task after")),
]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 300])
def test_a_table_loses_nothing_at_any_width(width: int) -> None:
    console, file = printed(width)
    console.print(Rows(COLUMNS, CELLS, ruled=True))
    shown = file.getvalue()
    assert max(map(len, shown.splitlines())) <= width
    words = {word for text in (*CELLS[0], *(column.title for column in COLUMNS[2:])) for word in text.split()}
    assert {word for word in words if word not in shown} == set()
    assert "\u2026" not in shown


def test_where_a_table_does_not_fit_it_is_a_list() -> None:
    console, file = printed(60)
    console.print(Rows(COLUMNS, CELLS))
    assert [line.rstrip() for line in file.getvalue().splitlines()] == [
        "drawer-open > drawer-close, nbsp",
        "  first task before  0.62 ± 0.20 (n=3 of 5)",
        "  first task after   1.00 (5 of 5 seeds equal)",
        "  second task after  0.5",
    ]


def test_what_an_output_cannot_hold_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    output.spare_outputs()
    output.plain_console().print("0.60 ± 0.30")
    sys.stdout.flush()
    assert raw.getvalue() == b"0.60 ? 0.30\n"
