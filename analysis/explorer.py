"""The page on which one plays with the number of skill neurons: one file, offline, plotly inside.

Everything that is a number is computed here and tested; `pages/explorer.js` only draws it and answers clicks.
"""

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from analysis.advise import WITHOUT_UNDEFINED, Advice, CountValue, advise_at
from analysis.figures.bands import CurveReader, SeedCurve
from analysis.figures.palette import look, scale
from analysis.frames.load import Results
from analysis.pages import html
from analysis.statistics import CUT, Summary
from analysis.tables import cells
from analysis.tables.groups import is_true
from analysis.tables.table import UNDEFINED_NOTE
from analysis.tables.trials import films_of
from analysis.tradeoff import (
    FRONT_RULE,
    KNEE_RULE,
    LIVE_RULE,
    MEASURES,
    Count,
    Measures,
    Series,
    all_series,
    live_place,
    live_sentence,
)
from analysis.words import Words
from nbsp_ray.config.describe import AXES, settings
from nbsp_ray.errors import NbspError
from nbsp_ray.layout import NETWORKS
from nbsp_ray.store import Files
from nbsp_ray.sweepfile import command
from nbsp_ray.sweepfile.scope import Scope

CURVE_POINTS = 120
"""Points of a curve that the page keeps."""
SYMBOLS: Mapping[str, str] = {
    "o": "circle",
    "s": "square",
    "D": "diamond",
    "d": "diamond-tall",
    "^": "triangle-up",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
    "*": "star",
    "h": "hexagon",
    "<": "triangle-left",
    ">": "triangle-right",
    "p": "pentagon",
}
"""matplotlib's markers as plotly calls them: a method looks the same everywhere."""
WEIGHTS = tuple(number / 20 for number in range(21))
"""Weights of stability that the slider stops at."""
VARIED = re.compile(r"(?:^|, )(\w+\.\w+)=(.*?)(?=, \w+\.\w+=|$)")
"""A setting of a variant and its value, JSON."""
Json = dict[str, Any]


def write_explorer(results: Results, path: str | Path, *, name: str, title: str, scope: Scope | None = None) -> Path:
    """Write the page of sweep `name` to `path`.

    Args:
        results: What there is of it.
        path: The page's file.
        name: Of the sweep.
        title: Its title.
        scope: With which overrides and root it was asked for, for the commands that the page shows; without it, it is
            the whole sweep.

    Raises:
        NbspError: the results root has nothing of the sweep yet.
    """
    if not results.any_begun:
        raise NbspError(f"{results.store.address} has nothing of {name} yet: start it with `nbsp-ray run {name}`")
    path = Path(path)
    scope = scope or Scope.of_all(name, title, results.store.address, len(results.plan.trials))
    page_of = explorer_page(results, title, scope, path.parent)
    Files(path.parent).write(path.name, page_of.encode(errors="surrogateescape"))
    return path


def explorer_page(results: Results, title: str, scope: Scope, folder: Path) -> str:
    """The page as text, to stand in `folder`."""
    data = explorer_data(results, scope, folder)
    # `<` as an escape: no text of a sweep can end the script.
    script = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    plotly = (files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")
    body = html.asset("explorer.html").replace("{{title}}", escape(title))
    body = body.replace(
        "{{part}}", f"<p><strong>{html.inline(scope.sentence())}</strong></p>" if scope.sentence() else ""
    )
    scripts = (plotly, f"const DATA = {script};", html.asset("explorer.js"))
    return html.page(f"{title}: explorer", body, style=html.asset("explorer.css"), scripts=scripts)


@dataclass(frozen=True)
class _Page:
    """Where trials are looked up, and where the page stands among them."""

    results: Results
    reader: CurveReader
    scope: Scope
    folder: Path
    films: Mapping[str, Sequence[str]]

    def link(self, path: Path) -> str:
        """From the page to a folder of the results root."""
        return quote(Path(os.path.relpath(path, self.folder)).as_posix()) + "/"


def explorer_data(results: Results, scope: Scope, folder: Path) -> Json:
    """All that the page in `folder` knows, as JSON. Each number that it shows is text here, rounded once."""
    series = list(all_series(results.finals))
    methods = dict.fromkeys(one.method for one in series)
    trials: list[Json] = []
    described: list[Json] = []
    films, counts = films_of(results), _all_counts(series)
    for part in results.parts().values():
        page = _Page(part, CurveReader(part), scope, folder, films)
        described += [_series(one, trials, page) | {"live": _live(one, counts)} for one in all_series(part.finals)]
    return {
        "pairs": list(dict.fromkeys(one.pair for one in series)),
        "methods": [_method(method) for method in methods],
        "networks": list(NETWORKS),
        "measures": [one for measure, part in results.parts().items() for one in _measures(measure, part.words, scope)],
        "weights": [cells.number(weight) for weight in WEIGHTS],
        "advice": dict(_advice(results)),
        "rules": _rules(results, series),
        "counts": counts,
        "series": described,
        "trials": trials,
    }


def _rules(results: Results, series: Sequence[Series]) -> list[str]:
    """The sentences under the page."""
    normalised = [part.words.normalised for part in results.parts().values() if part.words.normalised]
    rules = [
        f"Means ± standard errors are over the seeds that have both numbers. {CUT} One seed has neither, and two, "
        "or seeds that are all equal, have no interval.",
        FRONT_RULE,
        KNEE_RULE,
        *normalised,
    ]
    live = [live_sentence(one.label, one.live()) for one in series if one.live() and len(one.counts) > 1]
    rules += [LIVE_RULE, *live] if live else []
    return (
        [*rules, UNDEFINED_NOTE.partition(". ")[0] + "."] if is_true(results.finals["score_undefined"]).any() else rules
    )


def _measures(measure: str, words: Words, scope: Scope) -> Iterator[Json]:
    """What can be drawn of trials judged so: axes in [0, 1] for success rates, their own for scores."""
    for name, measures in MEASURES[measure].items():
        axis = "raw score" if name == "raw" else words.performance
        first, second = f"{axis}, first {words.task} after", f"{axis}, second {words.task}"
        if name == "learning":
            first, second = f"{axis}, first {words.task}, last 5", f"AUC of {axis}, second {words.task}"
        yield {
            "id": f"{measure}-{name}",
            "kind": measure,
            "words": measures.words.format(task=words.task),
            "axis": axis,
            "stability": f"stability: {first}",
            "plasticity": f"plasticity: {second}",
            "task": words.task,
            "rate": words.is_rate,
            "raw": name == "raw",
            "command": scope.command("advise") if name == "final" else "",
        }


def _advice(results: Results) -> Iterator[tuple[str, list[list[Json]]]]:
    """What `advise` says at each weight, by the id of the measures: the slider looks it up and reckons nothing."""
    for measure, part in results.parts().items():
        series = {one.label: one for one in all_series(part.finals)}
        for name in MEASURES[measure]:
            if name == "raw":
                continue
            try:
                advice = advise_at(part, WEIGHTS, measures=name)
            except NbspError:  # nothing to choose from
                continue
            yield f"{measure}-{name}", [[_advised(one, series) for one in at_weight] for at_weight in advice]


def _advised(advice: Advice, series: Mapping[str, Series]) -> Json:
    of = advice.label.removesuffix(f", {WITHOUT_UNDEFINED}")
    return {
        "of": advice.label,
        "series": of if of in series else None,
        "seeds": advice.seeds,
        "best": advice.counts.index(advice.best),
        "ties": [count.label for count in advice.ties],
        "sentence": advice.sentence(),
        "counts": [_valued(count) for count in advice.counts],
    }


def _valued(count: CountValue) -> Json:
    best_in = cells.NONE if math.isnan(count.best_share) else f"{count.best_share:.0%}"
    return {
        "label": count.label,
        "neurons": count.neurons,
        "value": {"mean": _place(count.value.mean), "text": cells.of_summary(count.value, error=False)},
        "behind": cells.of_summary(count.behind_best, error=False),
        "best_in": best_in,
    }


def _method(method: str) -> Json:
    its_look = look(method)
    return {"name": method, "colour": its_look.colour, "symbol": SYMBOLS[its_look.marker]}


def _all_counts(series: Iterable[Series]) -> list[Json]:
    """Every number of skill neurons, from few to many: what the slider stops at."""
    found = {(count.neurons, count.label) for one in series for count in one.counts if count.neurons is not None}
    return [
        {"label": label, "neurons": neurons, "colour": colour}
        for (neurons, label), colour in zip(sorted(found), scale(len(found)), strict=True)
    ]


def _live(series: Series, counts: Sequence[Json]) -> float | None:
    """Where among all numbers of skill neurons the live ones of a series with several end."""
    several = len(series.numbers) > 1
    return live_place([count["neurons"] for count in counts], series.live()) if several else None


def _series(series: Series, trials: list[Json], page: _Page) -> Json:
    counts: list[Json] = []
    for count in series.counts:
        indices = range(len(trials), len(trials) + len(count.trials))
        trials += [_trial(row, page) for row in count.trials.to_dict("records")]
        selected = {network: _mean_per_layer([trials[i]["selected"][network] for i in indices]) for network in NETWORKS}
        counts.append(_count(count, series.measure) | {"trials": list(indices), "selected": selected})
    fronts: Json = {}
    for name, measures in MEASURES[series.measure].items():
        (front, knee), live = series.front_and_knee(measures), series.live_point(measures)
        found = {"front": front, "knee": knee, "live": None if live is None else list(map(_place, live))}
        fronts[f"{series.measure}-{name}"] = found
    identity = {
        "kind": series.measure,
        "pair": series.pair,
        "method": series.method,
        "variant": series.variant,
        "label": series.label,
    }
    return identity | {"counts": counts, "fronts": fronts}


def _count(count: Count, measure: str) -> Json:
    row: Json = {"label": count.label, "neurons": count.neurons, "planned": len(count.trials)}
    row["undefined"] = count.undefined
    for name, measures in MEASURES[measure].items():
        found = _both(count, measures)
        # As in every table: once more without the seeds whose score was undefined.
        without = _both(count.defined(), measures) if 0 < count.undefined < len(count.trials) else None
        row[f"{measure}-{name}"] = found | {"defined": without}
    return row


def _both(count: Count, measures: Measures) -> Json:
    stability, plasticity = map(_summary, count.summaries(measures))
    return {"n": len(count.both(measures)), "stability": stability, "plasticity": plasticity}


def _summary(found: Summary) -> Json:
    return {
        "mean": _place(found.mean),
        "se": _place(found.standard_error),
        "t": [_place(found.low), _place(found.high)] if found.has_interval else None,
        "text": cells.of_summary(found),
        "mean_text": cells.of_summary(found, interval=False),
        "t_text": cells.within(found.low, found.high, cells.digits_of(found.low, found.high, found.standard_error)),
    }


def _trial(row: Mapping[Any, Any], page: _Page) -> Json:
    results, reader = page.results, page.reader
    keys = {which: str(row[f"key_{which}"]) for which in ("first", "second")}
    last = keys["second"]
    found: Json = {
        name: str(row[name]) for name in ("pair", "method", "variant", "status", "first_task", "second_task", "measure")
    }
    found |= {
        "seed": int(row["seed"]),
        "count": None if pd.isna(row["skill_neurons_given"]) else str(row["skill_neurons_given"]),
        "budget": results.plan.phases[last].spec.learning.env_steps,
        "learnt": None if pd.isna(row["learnt_first"]) else bool(row["learnt_first"]),
        "undefined": False if pd.isna(row["score_undefined"]) else bool(row["score_undefined"]),
        "truncated": bool(row["curve_truncated"]) if not pd.isna(row["curve_truncated"]) else False,
        "training": _curve(reader.training(last)),
        "retained": _curve(reader.evaluation(last, str(row["first_task"]))),
        "keys": keys,
        "folders": {which: page.link(results.phase_data[key].folder.path) for which, key in keys.items()},
        "films": [page.link(results.root / one) for one in page.films[last]],
        "command": rerun_command(row, page.scope.given, page.scope.overrides),
        "selected": {network: _per_layer(row, network) for network in NETWORKS},
    }
    found["texts"] = {}
    for name, measures in MEASURES[results.measure].items():
        both = [row[measures.stability], row[measures.plasticity]]
        if not any(map(pd.isna, both)):
            found[f"{results.measure}-{name}"] = list(map(_place, both))
            found["texts"][f"{results.measure}-{name}"] = list(map(cells.number, both))
    return found


def rerun_command(row: Mapping[Any, Any], given: str, overrides: Sequence[str]) -> str:
    """The command that runs one trial anew, in a results root of its own (in the old one it is done already)."""
    varied = {name: _as_typed(value) for name, value in VARIED.findall(row["variant"]) if name in settings()}
    given_here = [(one.partition("=")[0].strip(), one) for one in overrides]
    # A search is replaced by the number that it tried, a variation by its value.
    kept = [one for name, one in given_here if name not in (*AXES, *varied) and not name.startswith("search.")]
    kept += [f"{name}={value}" for name, value in varied.items()]
    chosen = [f"pairs={str(row['pair']).replace(' > ', ':')}", f"methods={row['method']}", f"seeds={row['seed']}"]
    if not pd.isna(row["skill_neurons_given"]):
        chosen.append(f"skill_neurons={row['skill_neurons_given']}")
    return command("try", given, (*kept, *chosen), Path("rerun"))


def _as_typed(value: str) -> str:
    """A JSON value as on the command line."""
    found = json.loads(value)
    return found if isinstance(found, str) else value


def _per_layer(row: Mapping[Any, Any], network: str) -> list[Json] | None:
    """Selected and, of all neurons, constant ones of each layer; None if the method selects none there."""
    if pd.isna(row[f"{network}_selected"]):
        return None
    numbers = range(1, 1 + sum(str(name).startswith(f"{network}_selected_layer_") for name in row))
    layers = [{what: row[f"{network}_{what}_layer_{n}"] for what in ("selected", "constant")} for n in numbers]
    known = [layer for layer in layers if not pd.isna(layer["selected"])]
    return [{name: _neurons(float(value)) for name, value in layer.items()} for layer in known]


def _neurons(number: float) -> Json:
    return {"mean": _place(number), "text": cells.count(number)}


def _mean_per_layer(seeds: Sequence[list[Json] | None]) -> list[Json] | None:
    """The mean over the seeds that selected neurons."""
    by_layer = zip(*(layers for layers in seeds if layers), strict=False)
    names = ("selected", "constant")
    return [
        {name: _neurons(float(np.mean([one[name]["mean"] for one in layer]))) for name in names} for layer in by_layer
    ] or None


def _curve(curve: SeedCurve) -> Json:
    at = np.unique(np.linspace(0, max(0, len(curve.env_steps) - 1), CURVE_POINTS).round().astype(int))
    at = at[at < len(curve.env_steps)]
    return {
        "x": curve.env_steps[at].astype(int).tolist(),
        "y": [_place(value) for value in curve.heights[at]],
        "text": [cells.number(value) for value in curve.heights[at]],
        "stopped": curve.end if curve.stopped_early else None,
        "carried": _place(curve.carried) if curve.stopped_early else None,
    }


def _place(value: Any) -> float | None:
    """Where a mark stands: for the eye, never to be read as a number."""
    return None if pd.isna(value) else round(float(value), 6)
