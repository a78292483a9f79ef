"""The figure of a probe: what breaks, by the number of silenced neurons, for the best-scored, random and worst ones."""

from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from analysis.blocks import Picture
from analysis.figures.palette import BLUE, GREY, ORANGE, Look
from analysis.figures.style import STYLE, WIDTH, render
from analysis.probe.frames import GROUP, ambiguous
from analysis.statistics import summary

LOOKS = {
    "best": ("best-scored", Look(BLUE, "o")),
    "random": ("random", Look(GREY, "s", "--")),
    "worst": ("worst-scored", Look(ORANGE, "v", "-.")),
}
LABELS = {"success": "drop of success", "score": "drop of raw score"}
"""Of the actor, by what its task is judged by."""
ROW = GROUP[:-1]
"""What a row of panels has in common; a column is a network."""


def probe_figure(cells: pd.DataFrame) -> Picture:
    """A picture of `Probe.cells`: mean over seeds, every seed a dot, the standard error as a bar."""
    rows = list(cells.groupby(ROW, sort=False))
    networks = list(dict.fromkeys(cells["network"]))
    with matplotlib.rc_context(STYLE):
        width = WIDTH if len(networks) > 1 else WIDTH / 2
        canvas = Canvas(figsize=(width, 1.9 * len(rows) + 0.4), layout="constrained")
        panels = canvas.subplots(len(rows), len(networks), squeeze=False)
        for (names, group), line in zip(rows, panels, strict=True):
            identity = dict(zip(ROW, names, strict=True))
            words = ", ".join(str(identity[name]) for name in ("task", *ambiguous(cells)))
            for network, axes in zip(networks, line, strict=True):
                _draw(axes, group[group["network"] == network], network, str(identity["measure"]))
                axes.set_title(f"{words}: {network} (n={group['seed'].nunique()})")
                axes.set_xlabel(f"neurons silenced, of {identity['neurons']}")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside upper center", ncols=3)
        return render("probe", "Silenced neurons", _caption(cells, networks), canvas)


def _draw(axes: Axes, cells: pd.DataFrame, network: str, measure: str) -> None:
    whole = cells[cells["choice"] == "none"]
    for choice, (label, look) in LOOKS.items():
        # Nothing silenced is the first point of every line of a seed that has the others.
        own = cells[cells["choice"] == choice]
        if own.empty:
            continue
        found = pd.concat([whole[whole["seed"].isin(own["seed"])], own])
        by_seed = found.groupby(["count", "seed"])["effect"].mean().unstack("seed")
        counts = by_seed.index.to_numpy(dtype=np.float64)
        statistics = [summary(row) for row in by_seed.to_numpy(dtype=np.float64)]
        means, errors = ([getattr(one, name) for one in statistics] for name in ("mean", "standard_error"))
        style: dict[str, Any] = {"color": look.colour, "marker": look.marker}
        line: dict[str, Any] = {"label": label, "linestyle": look.dash, "markersize": 3.5, "elinewidth": 0.8}
        axes.errorbar(counts, means, np.nan_to_num(errors), **line, **style)
        if by_seed.shape[1] > 1:
            axes.plot(counts, by_seed.to_numpy(), linestyle="", markersize=2.2, alpha=0.55, **style)
    axes.set_xlim(left=0)
    axes.set_xticks(sorted(set(cells["count"])))
    axes.set_ylabel(LABELS[measure] if network == "actor" else f"change of {network.upper()} (std)")
    if network == "actor" and measure == "success":
        axes.set_ylim(min(0.0, float(cells["effect"].min())) - 0.04, 1.04)


def _caption(cells: pd.DataFrame, networks: list[str]) -> list[str]:
    notes = ["Best-scored, random and worst-scored neurons of one network silenced in trained first phases."]
    if "actor" in networks:
        notes.append("Actor: by how much the success rate on the first task drops, or the mean raw score.")
    if set(networks) - {"actor"}:
        notes.append("Critics: mean change of Q on the first task's transitions, in standard deviations of Q.")
    if int(cells.groupby([*ROW, "network"])["seed"].nunique().max()) > 1:
        notes.append("Lines: mean over n seeds; bars: standard error; small markers: every seed (draws averaged).")
    else:
        notes.append("One seed: no error bar.")
    return notes
