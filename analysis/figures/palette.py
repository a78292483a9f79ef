"""How a method looks, in every figure and on every page: one colour, marker and dash, by its name.

The colours are those of Okabe and Ito (2008) without black and yellow, which vanish on a dark and on a light page, and
five of Tol's muted ones, all of which differ for the colour-blind in pairs that the paper compares; three more are for
what stands beside these. Marker and dash say the same
again, so that a grey print can be read too.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

INK, PAPER = "#1b1f24", "#ffffff"
"""Text and lines, and what is behind them; a page puts its own colours in their place."""


@dataclass(frozen=True)
class Look:
    """Colour (`#rrggbb`), matplotlib marker and line style."""

    colour: str
    marker: str
    dash: str = "-"


GREY, BLUE, ORANGE, SKY, GREEN = "#7f7f7f", "#0072b2", "#e69f00", "#56b4e9", "#009e73"
VERMILLION, PURPLE, WINE, OLIVE, SAND = "#d55e00", "#cc79a7", "#aa4499", "#999933", "#c2a93d"
VIOLET, BROWN, ROSE = "#7a5cd6", "#9c5a3c", "#c25b78"

LOOKS: Mapping[str, Look] = {
    "base": Look(GREY, "o", "--"),
    "nbsp": Look(BLUE, "o"),
    "nbsp_balanced": Look(VIOLET, "h"),
    "replay_only": Look(ORANGE, "s"),
    "mask_only": Look(PURPLE, "D"),
    "nbsp_actor": Look(SKY, "^"),
    "nbsp_critic": Look(GREEN, "v"),
    "random_nbsp": Look(SAND, "X"),
    "ewc": Look(VERMILLION, "s", "-."),
    "ancl": Look(WINE, "P", "-."),
    "ewc_replay": Look(BROWN, "s", ":"),
    "ancl_replay": Look(ROSE, "P", ":"),
    "importance_nbsp": Look(OLIVE, "D", "-."),
}
OTHERS = (SKY, GREEN, SAND, VERMILLION, WINE, OLIVE, PURPLE, ORANGE)
MARKERS = ("*", "h", "<", ">", "p")
DASHES = ("-", "--", "-.", ":")

RAMP = ("#5a4fb0", "#4673b8", "#3391b0", "#2aa79a", "#3fb97c", "#7cc45a", "#b9bd3c", "#e0a92e")
"""Numbers of skill neurons from few to many: blue to yellow, as viridis, without the ends that vanish on a page."""


def look(method: str) -> Look:
    """The look of a method; one that the table does not know has a look that its name fixes."""
    if method in LOOKS:
        return LOOKS[method]
    number = zlib.crc32(method.encode())
    return Look(OTHERS[number % len(OTHERS)], MARKERS[number // 8 % len(MARKERS)], ":")


def scale(n: int) -> list[str]:
    """`n` colours from few skill neurons to many, evenly spaced."""
    at = [rank * (len(RAMP) - 1) / max(1, n - 1) for rank in range(n)]
    return [_between(RAMP[int(place)], RAMP[min(int(place) + 1, len(RAMP) - 1)], place % 1) for place in at]


def _between(one: str, other: str, share: float) -> str:
    parts = [(int(one[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in parts)
