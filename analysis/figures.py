"""The figures of a sweep, in the manner of the paper's: which ones there are, what each shows, and its caption.

first_tasks   Figures 9, 10       the first tasks' training curves
two_phases    Figure 1            both phases of plain SAC
methods       Figures 4-7, 11-14  the second task's curves beside the first task's bars, by method
counts        Figure 15           the same, by number of skill neurons
profiles      -                   share of runs above each success rate, over all pairs
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from analysis.across import MEASURES, configurations, strata
from analysis.bands import Band, CurveReader
from analysis.document import Picture
from analysis.drawing import (
    STYLE,
    WIDTH,
    Line,
    draw_band,
    draw_bars,
    render,
    style_env_steps,
    style_rates,
)
from analysis.load import Results
from analysis.palette import DASHES, INK, Look, look, scale
from analysis.paper import TABLE_1
from analysis.statistics import BOOTSTRAP_SEED, RESAMPLES, performance_profile, stratified_bootstrap
from analysis.tables import BASE, groups

PAPER_COUNT = 0.2
"""Share of skill neurons that a comparison of methods shows of a method that has several: the sweeps' default."""
FIRST_TASK = Look(INK, "s", "--")
"""Of no method: the first task while the second is learnt."""
TAUS = np.linspace(0, 1, 101)
Group = tuple[dict[str, Any], pd.DataFrame]


def all_figures(results: Results) -> list[Picture]:
    """Every figure that the plan has the trials for; what has not run yet is left blank and said."""
    reader = CurveReader(results)
    makers: tuple[Callable[[Results, CurveReader], Picture | None], ...] = (
        two_phases,
        methods_figure,
        counts_figure,
        first_tasks,
        profiles,
    )
    with matplotlib.rc_context(STYLE):
        found = [make(results, reader) for make in makers]
    return [picture for picture in found if picture is not None]


# Figures 9, 10 and 1


def first_tasks(results: Results, reader: CurveReader) -> Picture | None:
    """Training curves of the first tasks, each over all its first phases."""
    tasks = [(str(task), trials) for task, trials in results.finals.groupby("first_task", sort=False)]
    columns = min(3, len(tasks))
    rows = -(-len(tasks) // columns)
    canvas, panels = _panels(rows, columns, height=1.9)
    bands = []
    for (task, trials), axes in zip(tasks, panels, strict=False):
        band = reader.band(trials["key_first"])
        bands.append(band)
        draw_band(axes, band, look(BASE), dash="-")
        axes.set_title(f"{task}{_count(band)}")
        _style(axes, band)
    for axes in panels[len(tasks) :]:
        axes.set_visible(False)
    caption = [
        "Training curves of the first tasks, in the manner of the paper's Figures 9 and 10.",
        *_curve_notes(bands),
    ]
    return render("first_tasks", "First tasks", caption, canvas)


def two_phases(results: Results, reader: CurveReader) -> Picture | None:
    """Plain SAC on the first task, then on the second, with what is left of the first."""
    pairs = [one for one in groups(results.finals) if one[0]["method"] == BASE]
    if not pairs:
        return None
    canvas, panels = _panels(len(pairs), 2, height=1.75)
    bands = []
    for (identity, trials), left, right in zip(pairs, panels[::2], panels[1::2], strict=True):
        before, after = reader.band(trials["key_first"]), reader.band(trials["key_second"])
        first = trials["first_task"].iloc[0]
        retained = reader.band(trials["key_second"], task=first)
        bands += [before, after]
        draw_band(left, before, look(BASE), dash="-")
        draw_band(right, after, look(BASE), dash="-", label="second task, training")
        draw_band(right, retained, FIRST_TASK, label="first task, evaluated", offset=9)
        left.set_title(f"first: {first}{_count(before)}")
        right.set_title(f"second: {trials['second_task'].iloc[0]}{_settings(identity)}{_count(after)}")
        for axes, band in ((left, before), (right, after)):
            _style(axes, band)
    _legend(canvas, *panels[1::2])
    caption = [
        "Plain SAC (`base`) learns two tasks one after the other, in the manner of the paper's Figure 1; the second "
        "line on the right, which the paper does not have, is the frozen policy's success on the first task meanwhile.",
        *_curve_notes(bands),
    ]
    return render("two_phases", "Two tasks, one after the other", caption, canvas)


# Figures 4-7, 11-14 and 15


def methods_figure(results: Results, reader: CurveReader) -> Picture | None:
    """Second task's curve beside first task's bars; a line for each method."""
    if results.finals["method"].nunique() == 1 and results.finals["skill_neurons"].nunique() > 1:
        return None  # `counts` shows all of it
    by_pair: dict[str, list[Line]] = {}
    chosen_counts = False
    for pair, found in _by_pair(results).items():
        kept = [one for one in found if _shown_count(one, found)]
        chosen_counts |= len(kept) < len(found)
        by_pair[pair] = [_method_line(one, reader, rank) for one, rank in zip(kept, _repeats(kept), strict=True)]
    caption = ["By method, in the manner of the paper's Figures 4 to 7 and 11 to 14.", *_both_notes(by_pair)]
    if chosen_counts:
        caption.append(
            f"Of methods with several numbers of skill neurons, the one nearest to {PAPER_COUNT:.0%} of the neurons."
        )
    return render("methods", "Methods", caption, _beside(results, by_pair))


def counts_figure(results: Results, reader: CurveReader) -> Picture | None:
    """The same, a line for each number of skill neurons, a row for each pair and method that has several."""
    by_row: dict[str, list[Line]] = {}
    for pair, found in _by_pair(results).items():
        for method in dict.fromkeys(identity["method"] for identity, _ in found):
            own = [one for one in found if one[0]["method"] == method and not pd.isna(one[0]["skill_neurons"])]
            own = sorted(own, key=_neurons)
            if len({_neurons(one) for one in own}) > 1:
                of_counts = dict(zip(sorted({_neurons(one) for one in own}), scale(len(own)), strict=False))
                by_row[f"{pair}, {method}"] = [
                    _line(one, reader, Look(of_counts[_neurons(one)], "o"), str(one[0]["skill_neurons"])) for one in own
                ]
    if not by_row:
        return None
    caption = [
        "By number of skill neurons, in the manner of the paper's Figure 15: a fraction of each network's hidden "
        "neurons, or a count.",
        *_both_notes(by_row),
    ]
    return render("counts", "Numbers of skill neurons", caption, _beside(results, by_row))


def _by_pair(results: Results) -> dict[str, list[Group]]:
    found: dict[str, list[Group]] = {}
    for identity, trials in groups(results.finals):
        found.setdefault(str(identity["pair"]), []).append((identity, trials))
    return found


def _neurons(group: Group) -> int:
    return int(group[1]["skill_neurons_count"].iloc[0])


def _shown_count(group: Group, others: Sequence[Group]) -> bool:
    """Whether it is its method's number of skill neurons nearest to the paper's share."""
    if pd.isna(group[0]["skill_neurons"]):
        return True
    own = [one for one in others if one[0]["method"] == group[0]["method"]]
    every = max(_neurons(one) for one in own) if any(one[0]["skill_neurons"] == "1.0" for one in own) else None
    nearest = min(own, key=lambda one: abs(_share(one, every) - PAPER_COUNT))
    return _neurons(nearest) == _neurons(group)


def _share(group: Group, every: int | None) -> float:
    """The number of skill neurons as a share of the network's."""
    text = str(group[0]["skill_neurons"])
    if "." in text or "e" in text:
        return float(text)
    return int(text) / every if every else int(text)


def _repeats(found: Sequence[Group]) -> Iterator[int]:
    """How many groups of the same method came before: they differ in settings, and so in their dash."""
    seen: dict[str, int] = {}
    for identity, _ in found:
        method = str(identity["method"])
        yield seen.get(method, 0)
        seen[method] = seen.get(method, 0) + 1


def _method_line(group: Group, reader: CurveReader, rank: int) -> Line:
    method = str(group[0]["method"])
    own = look(method)
    own = own if rank == 0 else Look(own.colour, own.marker, DASHES[rank % len(DASHES)])
    return _line(group, reader, own, method + _settings(group[0]))


def _line(group: Group, reader: CurveReader, its_look: Look, label: str) -> Line:
    identity, trials = group
    published = TABLE_1.get((str(identity["benchmark"]), str(identity["pair"])))
    return Line(
        label=label,
        look=its_look,
        band=reader.band(trials["key_second"]),
        values=trials["sequential"].dropna().to_numpy(dtype=np.float64),
        planned=len(trials),
        published=published[1].mean if published and identity["method"] == BASE else np.nan,
    )


def _beside(results: Results, rows: dict[str, list[Line]]) -> Canvas:
    """A row for each entry: curves of the second task on the left, bars of the first on the right."""
    tasks = results.finals.drop_duplicates("pair").set_index("pair")
    heights = [max(1.7, 0.75 + 0.2 * len(lines)) for lines in rows.values()]
    canvas = Canvas(figsize=(WIDTH, sum(heights) + 0.35), layout="constrained")
    panels = canvas.subplots(
        len(rows), 2, squeeze=False, gridspec_kw={"width_ratios": [1.7, 1], "height_ratios": heights}
    )
    for (row, lines), (left, right) in zip(rows.items(), panels, strict=True):
        pair, _, method = row.partition(", ")
        for number, line in enumerate(lines):
            alpha = 0.18 if len(lines) < 5 else 0.1
            draw_band(left, line.band, line.look, label=line.label, offset=5 * number, alpha=alpha)
        _style(left, max((line.band for line in lines), key=lambda band: float(band.env_steps[-1])))
        draw_bars(right, lines)
        left.set_title(f"second task: {tasks['second_task'][pair]}{f', {method}' if method else ''}")
        right.set_title(f"first task after it: {tasks['first_task'][pair]}")
        right.set_xlabel("success rate")
    _legend(canvas, *panels[:, 0])
    return canvas


# Over all pairs


def profiles(results: Results, reader: CurveReader) -> Picture | None:
    """Performance profiles of stability and plasticity (Agarwal et al. 2021)."""
    found = list(configurations(results.finals))
    if not found or not results.finals[list(MEASURES)].notna().any(axis=None):
        return None
    canvas, panels = _panels(1, 2, height=2.4)
    statistic = performance_profile(TAUS)
    for measure, title, axes in zip(MEASURES, ("first task, after the second", "second task"), panels, strict=True):
        for (identity, trials), rank in zip(found, _repeats(found), strict=True):
            runs = list(strata(trials, measure).values())
            if not runs:
                continue
            own = look(str(identity["method"]))
            several = sum(other["method"] == identity["method"] for other, _ in found) > 1
            neurons = f" {identity['skill_neurons']}" if several and not pd.isna(identity["skill_neurons"]) else ""
            label = f"{identity['method']}{neurons}{_settings(identity)}"
            dash = own.dash if rank == 0 else DASHES[rank % len(DASHES)]
            axes.plot(TAUS, statistic(runs), color=own.colour, linestyle=dash, label=label, drawstyle="steps-post")
            if min(map(len, runs)) > 1:
                drawn = stratified_bootstrap(runs, statistic, np.random.default_rng(BOOTSTRAP_SEED), RESAMPLES // 4)
                low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
                axes.fill_between(TAUS, low, high, color=own.colour, alpha=0.15, linewidth=0, step="post")
        axes.set_title(title)
        axes.set_xlabel("success rate x")
        axes.set_xlim(0, 1)
        style_rates(axes)
    panels[0].set_ylabel("share of runs above x")
    _legend(canvas, panels[0])
    caption = [
        "Performance profiles over all pairs and seeds (Agarwal et al. 2021): the share of runs whose success rate is "
        "above x; higher is better.",
        f"Bands: pointwise 95 % stratified percentile bootstrap ({RESAMPLES // 4} resamples, seed {BOOTSTRAP_SEED}).",
    ]
    return render("profiles", "Performance profiles", caption, canvas)


# Panels and words


def _panels(rows: int, columns: int, *, height: float) -> tuple[Canvas, list[Axes]]:
    canvas = Canvas(figsize=(WIDTH if columns > 1 else WIDTH / 2, rows * height + 0.3), layout="constrained")
    return canvas, list(canvas.subplots(rows, columns, squeeze=False).flat)


def _style(axes: Axes, band: Band) -> None:
    style_rates(axes)
    style_env_steps(axes, float(band.env_steps[-1]))
    axes.set_ylabel("success rate")
    if not band.n and not band.unfinished and not axes.lines:
        axes.text(0.5, 0.5, "nothing to draw yet", transform=axes.transAxes, ha="center", va="center")


def _legend(canvas: Canvas, *panels: Axes) -> None:
    """One legend over all panels, each label once."""
    found = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if found:
        rows = -(-len(found) // (5 if max(map(len, found)) > 6 else 10))
        canvas.legend(list(found.values()), list(found), loc="outside upper center", ncols=-(-len(found) // rows))


def _count(band: Band) -> str:
    return f" (n={band.n})" if band.n == band.planned else f" (n={band.n} of {band.planned})"


def _settings(identity: dict[str, Any]) -> str:
    return f" {identity['variant']}" if identity["variant"] else ""


def _curve_notes(bands: Sequence[Band]) -> list[str]:
    """What a line and a band are, for these bands."""
    notes = ["Lines: success of the last ten training episodes, mean over the n seeds that are done."]
    if any(band.n > 1 for band in bands):
        notes.append("Bands: mean ± standard error over seeds, as in the paper; not a 95 % interval (63 % with n = 5).")
    if any(band.n == 1 for band in bands):
        notes.append("A line of one seed has no band and ranks nothing.")
    if any(band.stops for band in bands):
        notes.append(
            "Cross: here a seed stopped early, having mastered the task; from there on its last value is carried "
            "forward. Dotted: all seeds are carried forward."
        )
    if any(band.unfinished for band in bands):
        notes.append("Thin lines: seeds that have not finished, or whose curve is cut off; in no mean.")
    return notes


def _both_notes(rows: dict[str, list[Line]]) -> list[str]:
    lines = [line for of_row in rows.values() for line in of_row]
    present = sorted({line.band.n for line in lines})
    seeds = f"n = {' or '.join(map(str, present))} seeds."
    notes = [seeds, *_curve_notes([line.band for line in lines])]
    notes.append(
        "Right: success rate on the first task after the second was learnt (final evaluation): every seed a dot, the "
        "bar mean ± standard error, the upright stroke the mean."
    )
    if any(len(line.values) < line.planned for line in lines):
        notes.append("`(3 of 5)` behind a name: seeds that are done of those planned.")
    if any(not np.isnan(line.published) for line in lines):
        notes.append("Hollow diamond: the paper's mean (Table 1).")
    return notes
