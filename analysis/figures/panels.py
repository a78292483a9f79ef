"""What all figures have in common: panels, a legend, and the sentences of captions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from analysis.figures.bands import Band
from analysis.figures.style import WIDTH, Line, style_env_steps, style_heights
from analysis.words import Words


def make_panels(rows: int, columns: int, *, height: float) -> tuple[Canvas, list[Axes]]:
    """A grid of panels, row by row."""
    canvas = Canvas(figsize=(WIDTH if columns > 1 else WIDTH / 2, rows * height + 0.3))
    return canvas, list(canvas.subplots(rows, columns, squeeze=False).flat)


def style_panel(axes: Axes, band: Band, words: Words) -> None:
    """Axes of a curve; an empty panel says so."""
    style_heights(axes, is_rate=words.is_rate, word=words.curve)
    style_env_steps(axes, float(band.env_steps[-1]))
    if not band.n and not band.unfinished and not axes.lines:
        axes.text(0.5, 0.5, "nothing to draw yet", transform=axes.transAxes, ha="center", va="center")


def put_legend(canvas: Canvas, *panels: Axes) -> None:
    """One legend over all panels, each label once."""
    found = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if found:
        rows = -(-len(found) // (5 if max(map(len, found)) > 6 else 10))
        canvas.legend(list(found.values()), list(found), loc="outside upper center", ncols=-(-len(found) // rows))


def count_of(band: Band) -> str:
    """`(n=5)`, or `(n=3 of 5)`."""
    return f" (n={band.n})" if band.n == band.planned else f" (n={band.n} of {band.planned})"


def settings_of(identity: Mapping[str, Any]) -> str:
    """In what a group differs from others of its name."""
    return f" {identity['variant']}" if identity["variant"] else ""


def curve_notes(bands: Sequence[Band], words: Words) -> list[str]:
    """What a line and a band are, for these bands."""
    what = "success of the last ten training episodes" if words.is_rate else "mean raw score of the last ten episodes"
    notes = [f"Lines: {what}, mean over the n seeds that are done."]
    if any(band.n > 1 for band in bands):
        notes.append("Bands: mean ± standard error over seeds, as in the paper; not a 95 % interval (63 % with n = 5).")
    if any(band.n == 1 for band in bands):
        notes.append("A line of one seed has no band and ranks nothing.")
    if any(band.stops for band in bands):
        notes.append(
            "Cross: here a seed stopped early, having mastered the task; from there on its final evaluation is carried "
            "forward. Dotted: all seeds are carried forward."
        )
    if any(band.unfinished for band in bands):
        notes.append("Thin lines: seeds that have not finished, or whose curve is cut off; in no mean.")
    return notes


def both_notes(rows: Mapping[str, Sequence[Line]], words: Words) -> list[str]:
    """What curves and bars beside one another are."""
    lines = [line for of_row in rows.values() for line in of_row]
    present = sorted({line.band.n for line in lines})
    seeds = f"n = {' or '.join(map(str, present))} seeds."
    notes = [seeds, *curve_notes([line.band for line in lines], words)]
    notes.append(
        f"Right: {words.performance} of the first {words.task} after the second was learnt (final evaluation): every "
        "seed a dot, the bar mean ± standard error, the upright stroke the mean."
    )
    if any(len(line.values) < line.planned for line in lines):
        notes.append("`(3 of 5)` behind a name: seeds that are done of those planned.")
    if any(not np.isnan(line.published) for line in lines):
        notes.append("Hollow diamond: the paper's mean (Table 1).")
    return notes
