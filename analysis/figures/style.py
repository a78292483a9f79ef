"""How a figure is drawn with matplotlib: style, axes, bands, bars of seeds, and its three file formats.

Knows nothing of sweeps: it is given bands, values and looks; `is_rate` says whether they lie in [0, 1]. matplotlib is
imported in the modules of figures alone, and these only where figures are made.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from analysis.blocks import Picture
from analysis.figures.bands import Band
from analysis.figures.palette import INK, PAPER, Look
from analysis.metrics import Floats
from analysis.statistics import summary

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.12,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
DATELESS: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
"""By format, metadata without the time of drawing."""
WIDTH = 7.2
"""Inches: the text width of a paper in one column."""
DOTS_SPREAD = 0.5
"""Height over which the dots of a row's seeds are spread, of a row's 1."""


@dataclass(frozen=True)
class Line:
    """What a panel draws of one group of trials."""

    label: str
    look: Look
    band: Band
    values: Floats
    """The bar's values, one per seed that has one (n,)."""
    planned: int
    published: float = np.nan
    """The paper's mean, if it gives one."""


def render(name: str, title: str, caption: list[str], canvas: Canvas) -> Picture:
    """Lay it out, to be drawn in any format: the same data give the same bytes."""
    style = {**STYLE, "svg.hashsalt": name}
    with matplotlib.rc_context(style):
        # Once for three formats: with an engine of its own the canvas would be laid out and drawn twice for each.
        ConstrainedLayoutEngine().execute(canvas)

    def draw(kind: str) -> bytes:
        file = io.BytesIO()
        with matplotlib.rc_context(style):
            canvas.savefig(file, format=kind, metadata=DATELESS[kind], facecolor=PAPER)
        return file.getvalue()

    return Picture(name, title, caption, draw)


def style_rates(axes: Axes) -> None:
    """A rate in [0, 1] upwards, with room for lines that lie on 0 and 1."""
    axes.set_ylim(-0.04, 1.04)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])


def style_heights(axes: Axes, *, is_rate: bool, word: str) -> None:
    """What goes upwards: a rate, or scores on a scale of their own."""
    axes.set_ylabel(word)
    if is_rate:
        style_rates(axes)
    else:
        axes.margins(y=0.06)


def style_env_steps(axes: Axes, budget: float) -> None:
    """Env steps to the right, in thousands or millions."""
    unit, word = (1e6, "million ") if budget >= 1e6 else (1e3, "thousand ") if budget >= 1e4 else (1, "")
    axes.set_xlim(0, budget)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / unit:g}")
    axes.set_xlabel(f"env steps ({word.strip()})" if word else "env steps")


def draw_band(
    axes: Axes,
    band: Band,
    look: Look,
    *,
    label: str = "",
    dash: str | None = None,
    offset: int = 0,
    alpha: float = 0.18,
    is_rate: bool = True,
) -> None:
    """Mean, standard error, early stops as crosses, dotted where all is carried forward; unfinished seeds thin."""
    for curve in band.unfinished:
        axes.plot(curve.env_steps, curve.heights, color=look.colour, linewidth=0.5, alpha=0.6)
    if not band.n:
        return
    x, carried = band.env_steps, band.env_steps >= band.carried_from
    own = ~carried | (np.arange(len(x)) == int(np.argmax(carried)) if carried.any() else False)
    every = len(x) // 6
    axes.plot(
        np.where(own, x, np.nan),
        band.mean,
        color=look.colour,
        linestyle=dash or look.dash,
        marker=look.marker,
        markersize=3.5,
        markevery=(offset % every, every),
        label=label,
    )
    axes.plot(np.where(carried, x, np.nan), band.mean, color=look.colour, linestyle=(0, (1, 1.6)))
    if band.n > 1:
        low, high = band.mean - band.standard_error, band.mean + band.standard_error
        low, high = (low.clip(0, 1), high.clip(0, 1)) if is_rate else (low, high)
        axes.fill_between(x, low, high, color=look.colour, alpha=alpha, linewidth=0)
    if band.stops:
        stops = np.array(band.stops, dtype=np.float64)
        means = np.interp(stops, x, band.mean)
        _over_the_edge(axes.plot(stops, means, "x", color=look.colour, markersize=5, zorder=4))


def draw_bars(axes: Axes, lines: Sequence[Line], *, is_rate: bool = True) -> None:
    """A row for each line: a bar over mean +- standard error, a black stroke at the mean, a dot for every seed."""
    for row, line in enumerate(lines):
        found = summary(line.values)
        if found.n > 1:
            low, high = found.mean - found.standard_error, found.mean + found.standard_error
            low, high = (max(0.0, low), min(1.0, high)) if is_rate else (low, high)
            axes.barh(row, high - low, left=low, height=0.62, color=line.look.colour, alpha=0.35, linewidth=0)
        if found.n:
            axes.plot([found.mean] * 2, [row - 0.31, row + 0.31], color=INK, linewidth=1.6, zorder=3)
            spread = np.linspace(-0.5, 0.5, found.n) * DOTS_SPREAD if found.n > 1 else np.zeros(1)
            style: dict[str, Any] = {"markersize": 3.6, "markeredgecolor": PAPER, "markeredgewidth": 0.4, "zorder": 4}
            _over_the_edge(axes.plot(line.values, row + spread, line.look.marker, color=line.look.colour, **style))
        if not np.isnan(line.published):
            _over_the_edge(
                axes.plot(line.published, row, "D", markerfacecolor="none", markeredgecolor=INK, markersize=6.5)
            )
    names = [f"{line.label}{_short(len(line.values), line.planned)}" for line in lines]
    axes.set_yticks(range(len(lines)), names)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    if is_rate:
        axes.set_xlim(-0.04, 1.04)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
    else:
        axes.margins(x=0.08)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _over_the_edge(drawn: Sequence[Line2D]) -> None:
    """Show markers on the edge whole; the layout need not make room for them."""
    for one in drawn:
        one.set_clip_on(False)
        one.set_in_layout(False)


def _short(n: int, planned: int) -> str:
    return "" if n == planned else f" ({n} of {planned})"
