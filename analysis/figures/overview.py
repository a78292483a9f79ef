"""What a sweep comes to at one glance: the first task after against the second, a panel for each pair."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from analysis.blocks import Picture
from analysis.figures.bands import CurveReader
from analysis.figures.palette import INK, PAPER, Look, look, scale
from analysis.figures.panels import make_panels, put_legend
from analysis.figures.style import render
from analysis.frames.load import Results
from analysis.statistics import Summary
from analysis.tradeoff import FRONT_RULE, KNEE_RULE, LIVE_RULE, MEASURES, Count, Series, all_series
from analysis.words import Words

COLUMNS = 4


def overview(results: Results, reader: CurveReader) -> Picture | None:
    """Both tasks of all trials of a sweep; None with one thing to show."""
    series = list(all_series(results.finals))
    if max(Counter(one.pair for one in series for _ in one.counts).values()) < 2:
        return None
    canvas, caption = both_tasks(series, results.words)
    return render("overview", "Both tasks at a glance", caption, canvas)


def both_tasks(series: Sequence[Series], words: Words) -> tuple[Canvas, list[str]]:
    """A panel for each pair: means with the crosses of their intervals, seeds as small dots; and the caption."""
    by_pair: dict[str, list[Series]] = {}
    for one in series:
        by_pair.setdefault(one.pair, []).append(one)
    columns = min(COLUMNS, len(by_pair))
    canvas, panels = make_panels(-(-len(by_pair) // columns), columns, height=2.3)
    looks = _looks(series)
    live: list[bool] = []
    knees: list[bool] = []
    for (pair, of_pair), axes in zip(by_pair.items(), panels, strict=False):
        for one in of_pair:
            _draw(axes, one, looks)
            live.append(_mark_live(axes, one))
            knees.append(_mark_knee(axes, one))
        axes.set_title("\n> ".join(pair.split(" > ")) if columns > 2 else pair)
        _style(axes, is_rate=words.is_rate)
        if not axes.lines:
            axes.text(0.5, 0.5, "nothing to draw yet", transform=axes.transAxes, ha="center", va="center")
    for axes in panels[len(by_pair) :]:
        axes.set_visible(False)
    what = "" if words.is_rate else f", {words.performance}"
    for number, axes in enumerate(panels):
        axes.set_xlabel(f"first {words.task} after{what}")
        if number % columns == 0:
            axes.set_ylabel(f"second {words.task}{what}")
    put_legend(canvas, *panels)
    caption = [
        f"Stability (the first {words.task} after the second was learnt) against plasticity (the second {words.task}): "
        "means over seeds, their 95 % t intervals as crosses where there are three seeds that differ, every seed as a "
        "small dot. Up and to the right is better.",
        *(
            ["A line joins the numbers of skill neurons of one method, from few (blue) to many (yellow)."]
            if any(len(one.numbers) > 1 for one in series)
            else []
        ),
        *([f"Ring: a line's knee. {FRONT_RULE} {KNEE_RULE}"] if any(knees) else []),
        *([f"Hollow diamond on a line: where live neurons end. {LIVE_RULE}"] if any(live) else []),
    ]
    return canvas, caption


def _looks(every: Sequence[Series]) -> dict[tuple[str, int | None], Look]:
    """A method's own look; where it has several numbers of skill neurons, each in its colour of Figure 15."""
    neurons: dict[str, set[int]] = {}
    for series in every:
        neurons.setdefault(series.method, set()).update(series.numbers)
    found: dict[tuple[str, int | None], Look] = {}
    for method, of_method in neurons.items():
        own, counts = look(method), sorted(of_method)
        found[method, None] = own
        colours = scale(len(counts)) if len(counts) > 1 else [own.colour] * len(counts)
        found |= {(method, count): Look(colour, own.marker) for count, colour in zip(counts, colours, strict=True)}
    return found


def _draw(axes: Axes, series: Series, looks: Mapping[tuple[str, int | None], Look]) -> None:
    measures = MEASURES[series.measure]["final"]
    means = [(count, *count.summaries(measures)) for count in series.counts]
    means = [one for one in means if one[1].n]
    several = len(series.numbers) > 1
    if several:
        joined = [one for one in means if one[0].neurons is not None]
        axes.plot([x.mean for _, x, _ in joined], [y.mean for _, _, y in joined], color=INK, linewidth=0.7, alpha=0.5)
    for count, x, y in means:
        own, both = looks[series.method, count.neurons], count.both(measures)
        axes.plot(both[:, 0], both[:, 1], own.marker, color=own.colour, markersize=2.6, alpha=0.45, markeredgewidth=0)
        axes.errorbar(
            x.mean, y.mean, xerr=_half(x), yerr=_half(y), fmt=own.marker, color=own.colour, markersize=5.5,
            markeredgecolor=PAPER, markeredgewidth=0.5, elinewidth=0.9, zorder=3,
            label=_label(series, count, several=several),
        )  # fmt: skip


def _mark_live(axes: Axes, series: Series) -> bool:
    """A diamond on the line through the means where the live neurons end; whether there is such a place."""
    point = series.live_point(MEASURES[series.measure]["final"])
    if point is not None:
        axes.plot(*point, "D", markerfacecolor="none", markeredgecolor=INK, markersize=5, zorder=4)
    return point is not None


def _mark_knee(axes: Axes, series: Series) -> bool:
    """A ring about the knee of a series with several counts; whether it has one."""
    measures = MEASURES[series.measure]["final"]
    _, knee = series.front_and_knee(measures)
    if knee is None or len(series.numbers) < 2:
        return False
    axes.plot(*series.means(measures)[knee], "o", markerfacecolor="none", markeredgecolor=INK, markersize=10, zorder=4)
    return True


def _half(found: Summary) -> np.ndarray | None:
    return np.array([[found.mean - found.low], [found.high - found.mean]]) if found.has_interval else None


def _label(series: Series, count: Count, *, several: bool) -> str:
    neurons = f" {count.label}" if several and count.label else ""
    return " ".join(part for part in (f"{series.method}{neurons}", series.variant) if part)


def _style(axes: Axes, *, is_rate: bool) -> None:
    if is_rate:
        axes.set_xlim(-0.04, 1.04)
        axes.set_ylim(-0.04, 1.04)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    else:
        axes.margins(0.08)
