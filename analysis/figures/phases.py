"""Whole phases: the first tasks (Figures 9 and 10), and both phases of plain SAC (Figure 1)."""

from matplotlib.axes import Axes

from analysis.blocks import Picture
from analysis.figures.bands import Band, CurveReader
from analysis.figures.palette import INK, Look, look
from analysis.figures.panels import count_of, curve_notes, make_panels, put_legend, settings_of, style_panel
from analysis.figures.style import draw_band, render
from analysis.frames.load import Results
from analysis.tables.groups import BASE, groups

FIRST_TASK = Look(INK, "s", "--")
"""Of no method: the first task while the second is learnt."""


def first_tasks(results: Results, reader: CurveReader) -> Picture | None:
    """Training curves of the first tasks, each over all its first phases."""
    words = results.words
    tasks = [(str(task), trials) for task, trials in results.finals.groupby("first_task", sort=False)]
    columns = min(3, len(tasks))
    rows = -(-len(tasks) // columns)
    canvas, panels = make_panels(rows, columns, height=1.9)
    bands = []
    for (task, trials), axes in zip(tasks, panels, strict=False):
        band = reader.band(trials["key_first"])
        bands.append(band)
        draw_band(axes, band, look(BASE), dash="-")
        axes.set_title(f"{task}{count_of(band)}")
        style_panel(axes, band, words)
    for axes in panels[len(tasks) :]:
        axes.set_visible(False)
    caption = [
        f"Training curves of the first {words.task}s, in the manner of the paper's Figures 9 and 10.",
        *curve_notes(bands, words),
    ]
    return render("first_tasks", f"First {words.task}s", caption, canvas)


def two_phases(results: Results, reader: CurveReader) -> Picture | None:
    """Plain SAC on the first task, then on the second, with what is left of the first."""
    pairs = [one for one in groups(results.finals) if one[0]["method"] == BASE]
    if not pairs:
        return None
    words = results.words
    canvas, panels = make_panels(len(pairs), 2, height=1.75)
    bands: list[Band] = []
    shown: list[Axes] = []
    for (identity, trials), left, right in zip(pairs, panels[::2], panels[1::2], strict=True):
        before, after = reader.band(trials["key_first"]), reader.band(trials["key_second"])
        first = trials["first_task"].iloc[0]
        retained = reader.band(trials["key_second"], task=first)
        bands += [before, after]
        draw_band(left, before, look(BASE), dash="-", is_rate=words.is_rate)
        draw_band(right, after, look(BASE), dash="-", label="training", is_rate=words.is_rate)
        other = right if words.is_rate else _own_scale(right, str(first))
        label = f"first {words.task}, evaluated"
        draw_band(other, retained, FIRST_TASK, label=label, offset=9, is_rate=words.is_rate)
        shown += [right, other]
        left.set_title(f"first: {first}{count_of(before)}")
        right.set_title(f"second: {trials['second_task'].iloc[0]}{settings_of(identity)}{count_of(after)}")
        for axes, band in ((left, before), (right, after)):
            style_panel(axes, band, words)
    put_legend(canvas, *shown)
    caption = [
        f"Plain SAC (`base`) learns two {words.task}s one after the other, in the manner of the paper's Figure 1; the "
        f"second line on the right, which the paper does not have, is the frozen policy on the first {words.task} "
        f"meanwhile{'' if words.is_rate else ' (its raw score on the scale at the right)'}.",
        *curve_notes(bands, words),
    ]
    return render("two_phases", f"Two {words.task}s, one after the other", caption, canvas)


def _own_scale(axes: Axes, task: str) -> Axes:
    """Axes over others for the scores of another task."""
    other = axes.twinx()
    other.set_ylabel(task)
    other.margins(y=0.06)
    other.grid(visible=False)
    other.spines["right"].set_visible(True)
    return other
