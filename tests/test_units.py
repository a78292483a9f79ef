"""Times of day as people give them, and lists of numbers as sweep files have them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbsp_ray.units import moment, plural, span

THURSDAY = time.mktime((2026, 11, 26, 13, 30, 0, 0, 0, -1))


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("Monday 09:00", (2026, 11, 30, 9, 0)),
        ("mon 9:00", (2026, 11, 30, 9, 0)),
        ("Thursday 14:00", (2026, 11, 26, 14, 0)),
        ("Thursday 13:00", (2026, 12, 3, 13, 0)),
        ("13:31", (2026, 11, 26, 13, 31)),
        ("13:30", (2026, 11, 27, 13, 30)),
        ("2026-12-24T18:00", (2026, 12, 24, 18, 0)),
        ("2026-12-24 18:00", (2026, 12, 24, 18, 0)),
        ("2026-12-24", (2026, 12, 24, 0, 0)),
    ],
)
def test_a_time_is_the_next_that_is_called_so(text: str, at: tuple[int, ...]) -> None:
    assert moment(text, now=THURSDAY) == time.mktime((*at, 0, 0, 0, -1))


@pytest.mark.parametrize("text", ["tomorrow", "25:00", "2026-11-26 13:00", ""])
def test_what_is_no_time_to_come_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no time; write 'Monday 09:00'|is past: it is Thursday 2026-11-26 13:30"):
        moment(text, now=THURSDAY)


@given(st.sets(st.integers(0, 30)))
def test_a_span_names_each_number_once(numbers: set[int]) -> None:
    parts = [part.split("-") for part in span(list(numbers)).split(",") if part]
    assert [number for part in parts for number in range(int(part[0]), int(part[-1]) + 1)] == sorted(numbers)


def test_words_agree_with_their_number() -> None:
    assert (plural(0, "phase"), plural(1, "phase"), plural(2, "GPU")) == ("0 phases", "1 phase", "2 GPUs")
