"""Numbers for people: measured ones, counts, durations, times of day, bytes."""

import time
from decimal import ROUND_HALF_UP, Decimal


def rounded(value: float, digits: int = 2) -> str:
    """A measured number to so many digits behind the point; the one place where such numbers are rounded.

    Halves go away from 0, of the decimal number: what differs by less than 1e-9, as 0.775 and a mean that comes to
    0.7749999999999999 do, is the same text everywhere. Never `-0.00`.
    """
    exact = Decimal(repr(round(float(value), 9) + 0.0))
    text = f"{exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP):,f}"
    return text.removeprefix("-") if not text.strip("-0.,") else text


def count(number: int) -> str:
    """`950`, `22.5k`, `412k`, `1.0M`."""
    if number < 10_000:
        return str(number)
    if number < 100_000:
        return f"{number / 1_000:.1f}k"
    return f"{number / 1_000:.0f}k" if number < 999_500 else f"{number / 1_000_000:.1f}M"


def duration(seconds: float) -> str:
    """`40 s`, `6 min`, `2.5 h`, `3.2 days`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3_600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h" if seconds < 48 * 3_600 else f"{seconds / 86_400:.1f} days"


def gb(count: float) -> str:
    """Bytes as `1.4 GB` (10^9 bytes)."""
    return f"{count / 1e9:.1f} GB"


def clock(when: float, *, now: float) -> str:
    """`14:20`, or `Mon 14:20` if it is not within the next 20 hours."""
    return time.strftime("%H:%M" if when - now < 20 * 3_600 else "%a %H:%M", time.localtime(when))
