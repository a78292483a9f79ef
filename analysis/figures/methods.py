"""The second task's curves beside the first task's bars: by method (Figures 4-7, 11-14), by number of neurons (15)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from analysis.blocks import Picture
from analysis.figures.bands import CurveReader
from analysis.figures.palette import DASHES, INK, Look, look, scale
from analysis.figures.panels import both_notes, put_legend, settings_of, style_panel
from analysis.figures.style import WIDTH, Line, draw_band, draw_bars, render
from analysis.frames.load import Results
from analysis.paper import TABLE_1
from analysis.tables.groups import BASE, groups
from analysis.tradeoff import LIVE_RULE, live_neurons, live_place, live_sentence

PAPER_COUNT = 0.2
"""Share of skill neurons that a comparison of methods shows of a method that has several: the sweeps' default."""
NOWHERE: Mapping[str, float] = {}
Group = tuple[dict[str, Any], pd.DataFrame]


def methods_figure(results: Results, reader: CurveReader) -> Picture | None:
    """Second task's curve beside first task's bars; a line for each method."""
    if results.finals["method"].nunique() == 1 and results.finals["skill_neurons_given"].nunique() > 1:
        return None  # `counts` shows all of it
    by_pair: dict[str, list[Line]] = {}
    chosen_counts = False
    for pair, found in _by_pair(results).items():
        kept = [one for one in found if _shown_count(one, found)]
        chosen_counts |= len(kept) < len(found)
        by_pair[pair] = [_method_line(one, reader, rank) for one, rank in zip(kept, repeats(kept), strict=True)]
    caption = [
        "By method, in the manner of the paper's Figures 4 to 7 and 11 to 14.",
        *both_notes(by_pair, results.words),
    ]
    if chosen_counts:
        caption.append(
            f"Of methods with several numbers of skill neurons, the one nearest to {PAPER_COUNT:.0%} of the neurons."
        )
    return render("methods", "Methods", caption, _beside(results, by_pair))


def counts_figure(results: Results, reader: CurveReader) -> Picture | None:
    """The same, a line for each number of skill neurons, a row for each pair and method that has several."""
    by_row: dict[str, list[Line]] = {}
    live: dict[str, dict[str, float]] = {}
    places: dict[str, float] = {}
    for pair, found in _by_pair(results).items():
        for method in dict.fromkeys(identity["method"] for identity, _ in found):
            own = [one for one in found if one[0]["method"] == method and not pd.isna(one[0]["skill_neurons_given"])]
            own = sorted(own, key=_neurons)
            if len({_neurons(one) for one in own}) > 1:
                of_counts = dict(zip(sorted({_neurons(one) for one in own}), scale(len(own)), strict=False))
                by_row[f"{pair}, {method}"] = [
                    _line(one, reader, Look(of_counts[_neurons(one)], "o"), str(one[0]["skill_neurons_given"]))
                    for one in own
                ]
                alive = live_neurons(pd.concat([trials for _, trials in own]))
                place = live_place([_neurons(one) for one in own], alive)
                live |= {f"{pair}, {method}": alive} if alive else {}
                places |= {} if place is None else {f"{pair}, {method}": place}
    if not by_row:
        return None
    caption = [
        "By number of skill neurons, in the manner of the paper's Figure 15: a fraction of each network's hidden "
        "neurons, or a count.",
        *both_notes(by_row, results.words),
    ]
    if live:
        caption += [f"Dotted line between the bars: where live neurons end. {LIVE_RULE}"] if places else [LIVE_RULE]
        caption += [live_sentence(row, alive) for row, alive in live.items()]
    return render("counts", "Numbers of skill neurons", caption, _beside(results, by_row, places))


def _by_pair(results: Results) -> dict[str, list[Group]]:
    found: dict[str, list[Group]] = {}
    for identity, trials in groups(results.finals):
        found.setdefault(str(identity["pair"]), []).append((identity, trials))
    return found


def _neurons(group: Group) -> int:
    return int(group[1]["skill_neurons_count"].iloc[0])


def _shown_count(group: Group, others: Sequence[Group]) -> bool:
    """Whether it is its method's number of skill neurons nearest to the paper's share."""
    if pd.isna(group[0]["skill_neurons_given"]):
        return True
    own = [one for one in others if one[0]["method"] == group[0]["method"]]
    nearest = min(own, key=lambda one: abs(float(one[1]["skill_neurons_share"].iloc[0]) - PAPER_COUNT))
    return _neurons(nearest) == _neurons(group)


def repeats(found: Sequence[Group]) -> Iterator[int]:
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
    return _line(group, reader, own, method + settings_of(group[0]))


def _line(group: Group, reader: CurveReader, its_look: Look, label: str) -> Line:
    identity, trials = group
    published = TABLE_1.get((str(identity["benchmark"]), str(identity["pair"])))
    return Line(
        label=label,
        look=its_look,
        band=reader.band(trials["key_second"]),
        values=trials[_bar_column(trials)].dropna().to_numpy(dtype=np.float64),
        planned=len(trials),
        published=published[1].mean if published and identity["method"] == BASE else np.nan,
    )


def _bar_column(trials: pd.DataFrame) -> str:
    """What the bars show: of a first task without reference scores the raw one."""
    raw = trials["first_after"].isna().all() and trials["first_after_return"].notna().any()
    return "first_after_return" if raw else "first_after"


def _beside(results: Results, rows: dict[str, list[Line]], live_places: Mapping[str, float] = NOWHERE) -> Canvas:
    """A row for each entry: curves of the second task on the left, bars of the first on the right.

    Between which bars the live neurons end is marked, where `live_places` says so.
    """
    words = results.words
    of_pair = {str(pair): trials for pair, trials in results.finals.groupby("pair", sort=False)}
    tasks = results.finals.drop_duplicates("pair").set_index("pair")
    heights = [max(1.7, 0.75 + 0.2 * len(lines)) for lines in rows.values()]
    canvas = Canvas(figsize=(WIDTH, sum(heights) + 0.35))
    panels = canvas.subplots(
        len(rows), 2, squeeze=False, gridspec_kw={"width_ratios": [1.7, 1], "height_ratios": heights}
    )
    for (row, lines), (left, right) in zip(rows.items(), panels, strict=True):
        pair, _, method = row.partition(", ")
        for number, line in enumerate(lines):
            alpha = 0.18 if len(lines) < 5 else 0.1
            draw_band(
                left,
                line.band,
                line.look,
                label=line.label,
                offset=5 * number,
                alpha=alpha,
                is_rate=words.is_rate,
            )
        style_panel(left, max((line.band for line in lines), key=lambda band: float(band.env_steps[-1])), words)
        draw_bars(right, lines, is_rate=words.is_rate)
        if row in live_places:
            right.axhline(math.floor(live_places[row]) + 0.5, color=INK, linestyle=":", linewidth=1)
        left.set_title(f"second {words.task}: {tasks['second_task'][pair]}{f', {method}' if method else ''}")
        right.set_title(f"first {words.task} after it: {tasks['first_task'][pair]}")
        right.set_xlabel("raw score" if _bar_column(of_pair[pair]) == "first_after_return" else words.performance)
    put_legend(canvas, *panels[:, 0])
    return canvas
