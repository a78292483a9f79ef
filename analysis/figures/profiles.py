"""Performance profiles over all pairs: how many runs are better than each success rate or score."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from analysis.blocks import Picture
from analysis.figures.bands import CurveReader
from analysis.figures.methods import repeats
from analysis.figures.palette import DASHES, look, scale
from analysis.figures.panels import make_panels, put_legend, settings_of
from analysis.figures.style import render, style_rates
from analysis.frames.load import Results
from analysis.metrics import Floats
from analysis.statistics import BOOTSTRAP_SEED, RESAMPLES, bootstrap_band, performance_profile
from analysis.tables.across_pairs import MEASURES, Row, configurations, runs_of

POINTS = 101
Configurations = Sequence[tuple[Row, pd.DataFrame]]


def profiles(results: Results, reader: CurveReader) -> Picture | None:
    """Performance profiles of stability and plasticity (Agarwal et al. 2021)."""
    found = list(configurations(results.finals))
    if not found or not results.finals[list(MEASURES)].notna().any(axis=None):
        return None
    canvas, panels = make_panels(1, 2, height=2.4)
    alpha = 0.15 if len(found) < 5 else 0.07
    words = results.words
    taus = _thresholds(results, is_rate=words.is_rate)
    statistic = performance_profile(taus)
    colours = list(_colours(found))
    titles = (f"first {words.task}, after the second", f"second {words.task}")
    for measure, title, axes in zip(MEASURES, titles, panels, strict=True):
        for (identity, trials), rank, colour in zip(found, repeats(found), colours, strict=True):
            runs = runs_of(trials, measure)
            if not len(runs):
                continue
            own, several, count = (
                look(str(identity["method"])),
                _counts(found, identity),
                identity["skill_neurons_given"],
            )
            neurons = f" {count}" if len(several) > 1 and not pd.isna(count) else ""
            label = f"{identity['method']}{neurons}{settings_of(identity)}"
            # Counts differ in their colour, all else of one method in its dash.
            dash = own.dash if rank == 0 or neurons else DASHES[rank % len(DASHES)]
            axes.plot(taus, statistic(runs), color=colour, linestyle=dash, label=label, drawstyle="steps-post")
            band = bootstrap_band(runs, statistic, resamples=RESAMPLES // 4)
            if band is not None:
                axes.fill_between(taus, *band, color=colour, alpha=alpha, linewidth=0, step="post")
        axes.set_title(title)
        axes.set_xlabel(f"{words.performance} x")
        axes.set_xlim(taus[0], taus[-1])
        style_rates(axes)
    panels[0].set_ylabel("share of runs above x")
    put_legend(canvas, panels[0])
    caption = [
        "Performance profiles over all pairs and seeds (Agarwal et al. 2021): the share of runs whose "
        f"{words.performance} is above x; higher is better.",
        f"Bands: pointwise 95 % bootstrap, seeds drawn jointly over pairs ({RESAMPLES // 4} resamples, seed "
        f"{BOOTSTRAP_SEED}); none if a pair has fewer than three seeds, and one without width is no certainty.",
    ]
    return render("profiles", "Performance profiles", caption, canvas)


def _counts(found: Configurations, identity: Row) -> list[int]:
    """The different numbers of skill neurons of a method, from few to many."""
    own = [trials for other, trials in found if other["method"] == identity["method"]]
    return sorted(
        {int(trials["skill_neurons_count"].iloc[0]) for trials in own if not pd.isna(trials["skill_neurons"].iloc[0])}
    )


def _colours(found: Configurations) -> Iterator[str]:
    """A method's own colour, or the count's of Figure 15 where the method has several."""
    for identity, trials in found:
        counts = _counts(found, identity)
        if len(counts) > 1 and not pd.isna(identity["skill_neurons_given"]):
            yield scale(len(counts))[counts.index(int(trials["skill_neurons_count"].iloc[0]))]
        else:
            yield look(str(identity["method"])).colour


def _thresholds(results: Results, *, is_rate: bool) -> Floats:
    """The x axis (T,): all rates, or all scores there are with 0 and 1 among them."""
    if is_rate:
        return np.linspace(0, 1, POINTS)
    scores = results.finals[list(MEASURES)].to_numpy(dtype=np.float64)
    return np.linspace(min(0.0, np.nanmin(scores)), max(1.0, np.nanmax(scores)), POINTS)
