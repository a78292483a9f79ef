"""Numbers for people: counts, durations, times of day, bytes."""

import time


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


def clock(when: float, *, now: float) -> str:
    """`14:20`, or `Mon 14:20` if it is not within the next 20 hours."""
    return time.strftime("%H:%M" if when - now < 20 * 3_600 else "%a %H:%M", time.localtime(when))
