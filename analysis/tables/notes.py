"""Sentences that belong under tables: what their numbers are, and what to beware of."""

import pandas as pd

from analysis.frames.load import Results
from analysis.metrics import LEARNT
from analysis.statistics import CUT
from nbsp_ray.benchmarks import Score, get_benchmark
from nbsp_ray.states import STORED


def what_ran(results: Results) -> str:
    """How many trials are done, and what is with the others."""
    counts = results.finals["status"].value_counts()
    there = [f"{counts[status]} {status}" for status in STORED if counts.get(status, 0)]
    return f"{len(results.finals)} trial{'s' * (len(results.finals) != 1)}: {', '.join(there)}."


def interval_notes(data: pd.DataFrame, *names: str, interval: bool = True) -> list[str]:
    """What the numbers after a mean are, for the statistics `names` of a table, and what one seed allows."""
    counts = data[[f"{name}_n" for name in names]].to_numpy()
    notes = []
    if (counts > 1).any() and not interval:
        notes.append("Mean ± standard error over seeds; the report has the intervals.")
    elif (counts > 1).any():
        notes.append(
            f"Mean ± standard error over seeds, in brackets the interval of the mean. {CUT} Fewer than three seeds "
            "have none, nor have seeds that are all equal: they do not say that the next would be."
        )
    if (counts == 1).any():
        notes.append("One seed ranks nothing: no interval is possible, and another seed may turn the order round.")
    if (counts < data[["seeds"]].to_numpy()).any() and (data["done"] < data["seeds"]).any():
        notes.append("Seeds are missing: `n=3 of 5` means over the three that are there, a dash that there is none.")
    return notes


def unreferenced(results: Results) -> list[str]:
    """Tasks of the plan that are judged by their score and have no reference scores."""
    found = [(trial.benchmark, task) for trial in results.plan.trials for task in trial.tasks]
    return list(
        dict.fromkeys(
            task
            for benchmark, task in found
            if isinstance(judged_by := get_benchmark(benchmark).judged_by, Score) and task not in judged_by.references
        )
    )


def score_notes(results: Results) -> list[str]:
    """What a normalised score is, and which tasks have none; nothing of success rates."""
    if results.measure != "score":
        return []
    tasks = unreferenced(results)
    lacking = f"{', '.join(tasks)} {'has' if len(tasks) == 1 else 'have'} no reference scores: raw scores only."
    return [note for note in (results.words.normalised, lacking if tasks else "") if note]


def undefined_notes(results: Results) -> list[str]:
    """Of how many trials the score was undefined, under what has no rows to mark; nothing if of none."""
    known = results.finals["score_undefined"].dropna()
    if not known.any():
        return []
    return [
        f"Score undefined in {known.sum()} of {len(known)} trials, which are in this figure too: all scoring steps "
        "were alike there, and the neurons were drawn at random."
    ]


def cautions(results: Results) -> list[str]:
    """What must be said under a table that holds all trials."""
    finals = results.finals
    notes = []
    learnt = finals.drop_duplicates("key_first")["learnt_first"].dropna()
    if len(learnt) and not learnt.all():
        notes.append(
            f"{(~learnt).sum()} of {len(learnt)} first phases did not learn their task (success below "
            f"{LEARNT}). They have nothing to forget; they are in every number here, except in forgetting where it "
            "says `learnt only`."
        )
    for flag, column, what in (("paper_pair", "pair", "pairs"), ("paper_method", "method", "methods")):
        others = list(dict.fromkeys(finals.loc[~finals[flag].astype(bool), column]))
        if others:
            notes.append(f"Not one of the paper's {what}: {', '.join(map(str, others))}.")
    return notes
