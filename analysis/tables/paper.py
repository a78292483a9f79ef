"""Tables of what stands fixed: the settings beside the paper's (Table 2), and the reference scores."""

import json
from typing import Any

import pandas as pd

from analysis.frames.load import Results
from analysis.paper import TABLE_2
from analysis.tables import cells
from analysis.tables.notes import score_notes
from analysis.tables.table import Shown
from nbsp_ray.benchmarks import Score, get_benchmark
from nbsp_ray.specs import PhaseSpec, Trial

NOT_THERE = "-"


def settings_table(results: Results) -> pd.DataFrame:
    """One row for each parameter of Table 2 and benchmark: `parameter`, `setting` (its name here), `here`, `paper`.

    Benchmarks that the paper does not have get a dash in `paper`; settings that differ between phases are all named.
    """
    plan, columns = results.plan, {"metaworld": 0, "atari": 1}
    benchmarks = dict.fromkeys(trial.benchmark for trial in plan.trials)
    rows: list[dict[str, str]] = []
    for benchmark in benchmarks:
        trials = [trial for trial in plan.trials if trial.benchmark == benchmark]
        specs = [plan.phases[key].spec for key in dict.fromkeys(key for trial in trials for key in trial.phases)]
        for parameter, (setting, *paper) in TABLE_2.items():
            values = [_value(trial, setting) for trial in trials] if setting.startswith("evaluation.") else []
            values += [_setting(spec, setting) for spec in specs]
            here = dict.fromkeys(_text(value) for value in values if value is not None)
            published = paper[columns[benchmark]] if benchmark in columns else NOT_THERE
            if here:
                row = {"parameter": parameter, "setting": setting, "here": " or ".join(here), "paper": published}
                rows.append({"benchmark": benchmark} | row)
    return pd.DataFrame(rows)


def _value(trial: Trial, setting: str) -> Any:
    """`evaluation.env_steps`, or `episodes` where they count."""
    name = setting.partition(".")[2]
    return getattr(trial.finals, name) if name == "env_steps" or trial.finals.env_steps is None else None


def _setting(spec: PhaseSpec, setting: str) -> Any:
    """What one phase has for a dotted setting; None if it has no such part."""
    section, _, name = setting.partition(".")
    match section:
        case "sac":
            return getattr(spec.sac, name)
        case "first" | "second" if name == "stop_threshold" and spec.learning.stop == "fixed":
            return None
        case "first" | "second":
            return getattr(spec.learning, name) if (section == "first") == (spec.index == 0) else None
        case "method":
            return next((one["interval"] for one in spec.ingredients if one["kind"] == "replay"), None)
    return None


def _text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else json.dumps(value)


def references_table(results: Results) -> pd.DataFrame:
    """One row per task: the raw scores at `normalised 0` and at `normalised 1`; no rows where nothing is normalised."""
    rows: list[dict[str, Any]] = []
    tasks = dict.fromkeys((trial.benchmark, task) for trial in results.plan.trials for task in trial.tasks)
    for benchmark, task in tasks:
        judged_by = get_benchmark(benchmark).judged_by
        if isinstance(judged_by, Score):
            zero, one = judged_by.references.get(task, (None, None))
            rows.append({"task": task, "normalised 0": zero, "normalised 1": one})
    return pd.DataFrame(rows)


def show_settings(results: Results) -> Shown:
    """`settings_table`: the paper's Table 2."""
    data = settings_table(results)
    caption = [
        "The settings of these trials beside the paper's Table 2; `or` where phases differ, a dash where the paper "
        "gives nothing. `nbsp-ray explain SETTING` says how the paper's words were read."
    ]
    text = data.assign(setting=[f"`{name}`" for name in data["setting"]])
    if data["benchmark"].nunique() == 1:
        text = text.drop(columns="benchmark")
    return Shown("settings", "Settings", data, text, caption)


def show_references(results: Results) -> Shown:
    """`references_table`: in Atari the paper's Table 3; no rows of success rates."""
    data = references_table(results)
    text = data.map(lambda value: value if isinstance(value, str) else cells.number(value, digits=1))
    text = text.rename(columns={"task": results.words.task})
    return Shown("references", "Reference scores", data, text, score_notes(results))
