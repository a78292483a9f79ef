"""The page on which one plays with the number of skill neurons: one file, offline, plotly inside.

Everything that is a number is computed here and tested; `pages/explorer.js` only draws it and answers clicks.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.bands import CurveReader, SeedCurve
from analysis.figures.palette import look
from analysis.frames.load import Results
from analysis.metrics import Floats
from analysis.pages import html
from analysis.statistics import Summary
from analysis.tables.groups import is_true
from analysis.tables.table import UNDEFINED_NOTE
from analysis.tradeoff import (
    FRONT_RULE,
    KNEE_RULE,
    LIVE_RULE,
    MEASURES,
    Count,
    Series,
    all_series,
    knee,
    live_sentence,
    pareto_front,
)
from analysis.words import Words
from nbsp_ray.config.describe import AXES, settings
from nbsp_ray.errors import NbspError
from nbsp_ray.layout import NETWORKS
from nbsp_ray.store import Files
from nbsp_ray.sweepfile import command

CURVE_POINTS = 120
"""Points of a curve that the page keeps."""
SYMBOLS: Mapping[str, str] = {
    "o": "circle",
    "s": "square",
    "D": "diamond",
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
VARIED = re.compile(r"(?:^|, )(\w+\.\w+)=(.*?)(?=, \w+\.\w+=|$)")
"""A setting of a variant and its value, JSON."""
Json = dict[str, Any]


def write_explorer(
    results: Results, path: str | Path, *, name: str, title: str, given: str = "", overrides: Sequence[str] = ()
) -> Path:
    """Write the page of sweep `name` to `path`.

    Args:
        results: What there is of it.
        path: The page's file.
        name: Of the sweep.
        title: Its title.
        given: The sweep as it is named on the command line; default: `name`.
        overrides: `KEY=VALUE`s that the sweep was planned with, for the commands that the page shows.

    Raises:
        NbspError: the results root has nothing of the sweep yet.
    """
    if not results.any_begun:
        raise NbspError(f"{results.root} has nothing of {name} yet: start it with `nbsp-ray run {name}`")
    path = Path(path)
    Files(path.parent).write(path.name, explorer_page(results, title, given or name, overrides).encode())
    return path


def explorer_page(results: Results, title: str, given: str, overrides: Sequence[str]) -> str:
    """The page as text."""
    data = explorer_data(results, given, overrides)
    # `<` as an escape: no text of a sweep can end the script.
    script = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    plotly = (files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")
    body = html.asset("explorer.html").replace("{{title}}", escape(title))
    scripts = (plotly, f"const DATA = {script};", html.asset("explorer.js"))
    return html.page(f"{title}: explorer", body, style=html.asset("explorer.css"), scripts=scripts)


def explorer_data(results: Results, given: str, overrides: Sequence[str]) -> Json:
    """All that the page knows, as JSON."""
    series = list(all_series(results))
    methods = dict.fromkeys(one.method for one in series)
    trials: list[Json] = []
    described: list[Json] = []
    for part in results.parts().values():
        reader = CurveReader(part)
        described += [_series(one, trials, reader, part, given, overrides) for one in all_series(part)]
    return {
        "pairs": list(dict.fromkeys(one.pair for one in series)),
        "methods": [_method(method) for method in methods],
        "networks": list(NETWORKS),
        "measures": [one for measure, part in results.parts().items() for one in _measures(measure, part.words)],
        "rules": _rules(results, series),
        "counts": _all_counts(series),
        "series": described,
        "trials": trials,
    }


def _rules(results: Results, series: Sequence[Series]) -> list[str]:
    """The sentences under the page."""
    normalised = [part.words.normalised for part in results.parts().values() if part.words.normalised]
    rules = [FRONT_RULE, KNEE_RULE, *normalised]
    live = [live_sentence(one.label, one.live()) for one in series if one.live() and len(one.counts) > 1]
    rules += [LIVE_RULE, *live] if live else []
    return (
        [*rules, UNDEFINED_NOTE.partition(". ")[0] + "."] if is_true(results.finals["score_undefined"]).any() else rules
    )


def _measures(measure: str, words: Words) -> list[Json]:
    """What can be drawn of trials judged so: axes in [0, 1] for success rates, their own for scores."""
    return [
        {
            "id": f"{measure}-{name}",
            "kind": measure,
            "words": measures.words.format(task=words.task),
            "axis": "raw score" if name == "raw" else "success" if words.is_rate else words.performance,
            "task": words.task,
            "rate": words.is_rate,
        }
        for name, measures in MEASURES[measure].items()
    ]


def _method(method: str) -> Json:
    its_look = look(method)
    return {"name": method, "colour": its_look.colour, "symbol": SYMBOLS[its_look.marker]}


def _all_counts(series: Iterable[Series]) -> list[Json]:
    """Every number of skill neurons, from few to many: what the slider stops at."""
    found = {(count.neurons, count.label) for one in series for count in one.counts if count.neurons is not None}
    return [{"label": label, "neurons": neurons} for neurons, label in sorted(found)]


def _series(
    series: Series,
    trials: list[Json],
    reader: CurveReader,
    results: Results,
    given: str,
    overrides: Sequence[str],
) -> Json:
    counts: list[Json] = []
    for count in series.counts:
        indices = range(len(trials), len(trials) + len(count.trials))
        trials += [_trial(row, reader, results, given, overrides) for row in count.trials.to_dict("records")]
        counts.append(_count(count, series.measure) | {"trials": list(indices)})
    fronts: Json = {}
    for name, measures in MEASURES[series.measure].items():
        means = series.means(measures)
        front = pareto_front(means)
        found = {"front": front, "knee": knee(means, front), "live": _live_point(series, means)}
        fronts[f"{series.measure}-{name}"] = found
    identity = {
        "kind": series.measure,
        "pair": series.pair,
        "method": series.method,
        "variant": series.variant,
        "label": series.label,
    }
    return identity | {"counts": counts, "fronts": fronts}


def _live_point(series: Series, means: Floats) -> list[float | None] | None:
    """Where on the line through the means (C, 2) the live neurons end; None if it is not on the line."""
    place, means = series.live_place(), means[[count.neurons is not None for count in series.counts]]
    if place is None:
        return None
    at = [float(np.interp(place, np.arange(len(means)), means[:, axis])) for axis in range(2)]
    return None if np.isnan(at).any() else [_rounded(value) for value in at]


def _count(count: Count, measure: str) -> Json:
    row: Json = {"label": count.label, "neurons": count.neurons, "planned": len(count.trials)}
    row["undefined"] = int(is_true(count.trials["score_undefined"]).sum())
    for name, measures in MEASURES[measure].items():
        stability, plasticity = map(_summary, count.summaries(measures))
        n = len(count.both(measures))
        row[f"{measure}-{name}"] = {"n": n, "stability": stability, "plasticity": plasticity}
    return row


def _summary(found: Summary) -> Json:
    t = [_rounded(found.low), _rounded(found.high)] if found.has_interval else None
    return {"mean": _rounded(found.mean), "se": _rounded(found.standard_error), "equal": found.equal, "t": t}


def _trial(row: Mapping[Any, Any], reader: CurveReader, results: Results, given: str, overrides: Sequence[str]) -> Json:
    first, last = str(row["key_first"]), str(row["key_second"])
    folders = {which: str(results.phase_data[key].folder.path) for which, key in (("first", first), ("second", last))}
    found: Json = {
        name: str(row[name]) for name in ("pair", "method", "variant", "status", "first_task", "second_task", "measure")
    }
    found |= {
        "seed": int(row["seed"]),
        "count": None if pd.isna(row["skill_neurons_given"]) else str(row["skill_neurons_given"]),
        "budget": results.plan.phases[last].spec.learning.env_steps,
        "first_before": _rounded(row["first_before"]),
        "learnt": None if pd.isna(row["learnt_first"]) else bool(row["learnt_first"]),
        "undefined": False if pd.isna(row["score_undefined"]) else bool(row["score_undefined"]),
        "truncated": bool(row["curve_truncated"]) if not pd.isna(row["curve_truncated"]) else False,
        "training": _curve(reader.training(last)),
        "retained": _curve(reader.evaluation(last, str(row["first_task"]))),
        "folders": folders,
        "command": rerun_command(row, given, overrides),
        "selected": {network: _per_layer(row, network) for network in NETWORKS},
    }
    for name, measures in MEASURES[results.measure].items():
        found[f"{results.measure}-{name}"] = [_rounded(row[measures.stability]), _rounded(row[measures.plasticity])]
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
    return [{name: int(value) for name, value in layer.items()} for layer in layers if not pd.isna(layer["selected"])]


def _curve(curve: SeedCurve) -> Json:
    at = np.unique(np.linspace(0, max(0, len(curve.env_steps) - 1), CURVE_POINTS).round().astype(int))
    at = at[at < len(curve.env_steps)]
    return {
        "x": curve.env_steps[at].astype(int).tolist(),
        "y": [_rounded(value) for value in curve.heights[at]],
        "stopped": curve.end if curve.stopped_early else None,
        "carried": _rounded(curve.carried) if curve.stopped_early else None,
    }


def _rounded(value: Any) -> float | None:
    return None if pd.isna(value) else round(float(value), 4)
