"""The page that `make perf-learning` writes from the files of finished runs."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from table import table

Run = Mapping[str, Any]


def first_reached(run: Run, what: str) -> float:
    """`env_steps` or `cpu_seconds` at the first evaluation after an update at the threshold; inf if there is none."""
    starts, threshold = run["protocol"]["learning_starts"], run["protocol"]["threshold"]
    reached = (one for one in run["evaluations"] if one["success"] >= threshold and one["env_steps"] >= starts)
    return next((float(one[what]) for one in reached), math.inf)


def mean_success(run: Run) -> float:
    """Mean success of all evaluations up to the budget; after an early stop the last three go on."""
    own = [one["success"] for one in run["evaluations"] if one["env_steps"] > 0]
    wanted = run["protocol"]["budget"] // run["protocol"]["eval_every"]
    return mean([*own, *[mean(own[-3:])] * (wanted - len(own))])


def shown(values: Sequence[float]) -> str:
    """Median, least and most; `never` where a run did not get there."""
    texts = ["never" if math.isinf(one) else f"{one:,.0f}" for one in (median(values), min(values), max(values))]
    return f"{texts[0]} ({texts[1]} to {texts[2]})"


def interval(values: Sequence[float]) -> str:
    """Mean with its 95 % t interval."""
    from scipy.stats import t

    if len(values) < 2:
        return f"{mean(values):+.3f} (one seed: no interval)"
    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    verdict = "0 lies inside" if abs(mean(values)) <= half else "**0 lies outside**"
    return f"{mean(values):+.3f} ({mean(values) - half:+.3f} to {mean(values) + half:+.3f}; {verdict})"


def write(page: Path, root: Path, names: Mapping[str, str]) -> None:
    """Write the page from all runs in `root`."""
    runs = [json.loads(path.read_text()) for path in sorted(root.glob("*.json"))]
    on = ", ".join(f"{cpu} ({number})" for cpu, number in Counter(run["cpu"] for run in runs).most_common())
    lines = [
        "# Learning, beside the reference",
        "",
        f"Written by `make perf-learning`. Runs on {on}.",
        "",
        "Seconds are CPU seconds of one thread, and hold everything: playing, learning, compiling and evaluating; "
        "machines are kept apart. Cells are the median (least to most) of the seeds.",
        "",
    ]
    for task in dict.fromkeys(run["task"] for run in runs):
        own = {name: {run["seed"]: run for run in runs if (run["name"], run["task"]) == (name, task)} for name in names}
        lines += _task(task, {name: found for name, found in own.items() if found}, names)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(lines).rstrip() + "\n")


def _task(task: str, runs: Mapping[str, Mapping[int, Run]], names: Mapping[str, str]) -> list[str]:
    protocol = next(iter(next(iter(runs.values())).values()))["protocol"]
    lines = [
        f"## {task}",
        "",
        f"At most {protocol['budget']:,} env steps, the first {protocol['learning_starts']:,} of them random; "
        f"{protocol['eval_episodes']} episodes every {protocol['eval_every']:,}; a run ends after "
        f"{protocol['in_a_row']} evaluations in a row at {protocol['threshold']}.",
        "",
    ]
    head = ["", f"reached {protocol['threshold']}", "env steps to it", "CPU seconds to it", "mean success"]
    body = []
    for name, found in runs.items():
        steps = [first_reached(run, "env_steps") for run in found.values()]
        seconds = "; ".join(
            shown([first_reached(run, "cpu_seconds") for run in found.values() if run["cpu"] == cpu]) + f" on {cpu}"
            for cpu in sorted({run["cpu"] for run in found.values()})
        )
        reached = f"{sum(map(math.isfinite, steps))} of {len(steps)}"
        body.append([names[name], reached, shown(steps), seconds])
        body[-1].append(f"{mean(mean_success(run) for run in found.values()):.2f}")
    lines += table(head, body)
    for one, other in (("ours", "cleanrl"), ("ours-bf16", "ours")):
        common = sorted(set(runs.get(one, ())) & set(runs.get(other, ())))
        if common:
            differences = [mean_success(runs[one][seed]) - mean_success(runs[other][seed]) for seed in common]
            lines += [f"Mean success, {names[one]} less {names[other]}: {interval(differences)}.", ""]
    return lines
