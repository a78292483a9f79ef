"""Numbers for people: measured ones, counts, durations, times of day, bytes."""

import time
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

WEEKDAY_FORMATS, TIME_FORMATS = ("%A %H:%M", "%a %H:%M"), ("%H:%M",)


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
    """Bytes as `1.4 GB` (10^9 bytes), or few of them as `52.3 MB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def clock(when: float, *, now: float) -> str:
    """`14:20`, or `Mon 14:20` if it is not within the next 20 hours."""
    return time.strftime("%H:%M" if when - now < 20 * 3_600 else "%a %H:%M", time.localtime(when))


def moment(text: str, *, now: float) -> float:
    """Seconds since 1970 of `2026-11-30 09:00` (ISO), or of the next `Monday 09:00` or `09:00`, in local time.

    Raises:
        ValueError: it is none of these, or is past.
    """
    begin = datetime.fromtimestamp(now)
    try:
        found = datetime.fromisoformat(text).timestamp()
    except ValueError:
        found = _next(text, begin).timestamp()
    if found <= now:
        raise ValueError(f"{text} is past: it is {begin:%A %Y-%m-%d %H:%M}")
    return found


def _next(text: str, begin: datetime) -> datetime:
    for form in (*WEEKDAY_FORMATS, *TIME_FORMATS):
        try:
            found = time.strptime(text.strip(), form)
        except ValueError:
            continue
        days = (found.tm_wday - begin.weekday()) % 7 if form in WEEKDAY_FORMATS else 0
        day = begin + timedelta(days=days)
        then = day.replace(hour=found.tm_hour, minute=found.tm_min, second=0, microsecond=0)
        return then if then > begin else then + timedelta(days=7 if form in WEEKDAY_FORMATS else 1)
    raise ValueError(f"{text!r} is no time; write 'Monday 09:00', 09:00, or {begin + timedelta(days=3):%Y-%m-%dT09:00}")


def span(numbers: list[int]) -> str:
    """`0-4,7`: whole numbers as sweep files list them."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def plural(number: int, word: str) -> str:
    """`1 phase`, `2 phases`."""
    return f"{number} {word}{'' if number == 1 else 's'}"
