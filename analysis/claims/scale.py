"""At which scale a number was made: the paper's pair, budgets, stop rule, learner and finals, or in what it is less."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import pandas as pd

from analysis.claims.loader import Claim
from analysis.paper import is_paper_pair
from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.config.schema import Learning, Sweep
from nbsp_ray.specs import PhaseSpec, Trial


@cache
def paper_settings(benchmark: str) -> Sweep:
    """The paper's settings, which are a benchmark's defaults."""
    found = get_benchmark(benchmark)
    given = {"benchmark": benchmark, "pairs": (("a", "b"),), "methods": ("base",), **found.defaults}
    return Sweep.model_validate(given)


def scale_of(benchmark: str, tasks: tuple[str, ...], specs: Sequence[PhaseSpec], trial: Trial | None) -> Iterator[str]:
    """In what a trial, or without one a first phase alone, is less than the paper, or other."""
    paper = paper_settings(benchmark)
    if trial is not None and not is_paper_pair(benchmark, tasks[:2]):
        yield "not the paper's pair"
    for number, spec in enumerate(specs[:2]):
        wanted: Learning = paper.second if number else paper.first
        if spec.learning.env_steps < wanted.env_steps:
            yield f"{('first', 'second')[number]} phase {spec.learning.env_steps:,} of {wanted.env_steps:,} env steps"
    if specs[0].sac != paper.sac:
        yield "another learner than the paper's"
    if trial is not None:
        wanted_size = (paper.evaluation.env_steps or 0, paper.evaluation.episodes)
        if (trial.finals.env_steps or 0, trial.finals.episodes) < wanted_size or trial.finals.goals == "heldout":
            yield "other final evaluations than the paper's"


def scale_of_first(spec: PhaseSpec) -> tuple[str, ...]:
    """In what a first phase is less than the paper's, or other."""
    in_paper = any(spec.task in pair for pair in get_benchmark(spec.benchmark).pairs)
    found = scale_of(spec.benchmark, (spec.task,), [spec], None)
    return (*found, *([] if in_paper else ["not a task of the paper's pairs"]))


def is_reduced(claim: Claim, row: "pd.Series[Any]") -> bool:
    """Whether a trial's row is less than the paper, or other."""
    return bool((*row["scale"], *stop_of(claim, row)))


def stop_of(claim: Claim, row: "pd.Series[Any]") -> tuple[str, ...]:
    """Another stop rule than the paper's is none of its own rows, unless the claim asks for it."""
    paper = paper_settings(str(row["benchmark"])).second.stop
    other = claim.stop is None and row["stop"] != paper
    return (f"second phase stops by `{row['stop']}`, not `{paper}`",) if other else ()
