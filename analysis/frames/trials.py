"""One trial as a row: the numbers of its phases' evaluations and curves, and the report of its method.

Whatever is not done yet is missing, never an error.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from analysis import metrics
from analysis.frames.phases import PhaseData
from analysis.paper import is_paper_pair
from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.layout import NETWORKS
from nbsp_ray.methods import get_method
from nbsp_ray.plan.counts import resolve_counts
from nbsp_ray.specs import EvaluationSpec, PhaseSpec, Trial, canonical
from nbsp_ray.states import together

Row = dict[str, Any]
NEURON_REPORT = (
    *("selected", "selected_constant", "selected_near_constant", "selected_below_constant"),
    *("score_lowest", "score_highest"),
)
"""What a method reports of each network, beside what it reports of each layer."""


def trial_row(trial: Trial, phases: list[PhaseData], data: Mapping[str, PhaseData]) -> Row:
    """The columns `FINALS` of a trial but its identity, as far as they are known; `data` has all phases of the plan."""
    first, last = phases[0], phases[-1]
    specs = [phase.planned.spec for phase in phases]
    layers = get_benchmark(trial.benchmark).layers(specs[0].sac)
    count = None if trial.skill_neurons is None else resolve_counts(trial.skill_neurons, layers)["actor"]
    row: Row = {
        "measure": get_benchmark(trial.benchmark).judged_by.kind,
        "skill_neurons_share": None if count is None else count / sum(layers),
        "status": together(phase.status(_records(trial, phase)) for phase in phases),
        "paper_pair": is_paper_pair(trial.benchmark, trial.tasks),
        "paper_method": get_method(trial.method).in_paper,
        "key_first": trial.phases[0],
        "key_second": trial.phases[-1],
        "comparable": _comparable(trial, specs),
        "goals": trial.finals.goals,
    }
    row |= _final_rates(trial, first, last)
    scratch = scratch_phase(last.planned.spec, data)
    row["second_scratch"] = scratch.learnt_by(last.planned.spec.learning.env_steps) if scratch else np.nan
    row |= _last_curve(trial.tasks[0], last, scratch)
    for name, phase in (("first", first), ("second", last)):
        row[f"env_steps_{name}"] = phase.result.get("env_steps")
        row[f"seconds_{name}"] = phase.result.get("seconds")
        row[f"stop_reason_{name}"] = phase.result.get("stop_reason")
    auxiliary = [data[key].result.get("env_steps") for spec in specs for key in spec.auxiliary.values()]
    row["env_steps_auxiliary"] = None if None in auxiliary else sum(auxiliary)
    # Of a longer sequence each phase after the first selects neurons of its own.
    undefined = [phase.result.get("score_undefined") for phase in phases[1:]]
    row["score_undefined"] = None if undefined[-1] is None else any(undefined)
    return row | _method_row(last.result, sum(layers))


def _records(trial: Trial, phase: PhaseData) -> list[EvaluationSpec]:
    """The final evaluations of the phase that this trial's columns are filled from."""
    learnt = trial.tasks[: phase.planned.spec.index + 1]
    return [record for record in trial.finals.after(learnt) if record.id in phase.planned.evaluations]


def _final_rates(trial: Trial, first: PhaseData, last: PhaseData) -> Row:
    row: Row = {}
    places = (
        ("first_before", first, trial.tasks[0]),
        ("first_after", last, trial.tasks[0]),
        ("second", last, trial.tasks[-1]),
    )
    for name, phase, task in places:
        number = phase.planned.spec.index
        for suffix, deterministic in (("", False), ("_deterministic", True)):
            found = phase.final(trial.finals.evaluation(task, number, deterministic=deterministic))
            row |= {name + suffix: found.performance, f"{name}{suffix}_n": found.episodes}
            row[f"{name}{suffix}_return"] = found.env_return
        if trial.finals.goals == "both":
            found = phase.final(trial.finals.evaluation(task, number, goals="heldout"))
            row |= {f"{name}_heldout": found.performance, f"{name}_heldout_n": found.episodes}
    row["forgetting"] = metrics.forgetting(row["first_before"], row["first_after"])
    # A score has no threshold that would mean "learnt".
    known = not first.is_scored and not np.isnan(row["first_before"])
    row["learnt_first"] = row["first_before"] >= metrics.LEARNT if known else None
    return row


def _last_curve(first_task: str, last: PhaseData, scratch: PhaseData | None) -> Row:
    if not last.has_whole_curve:
        return {"curve_truncated": last.curve_truncated if last.result else None}
    learning = last.planned.spec.learning
    env_steps, _ = last.evaluations(last.planned.spec.task)
    _, of_first = last.evaluations(first_task, after_first_update=True)
    row: Row = {
        "curve_truncated": False,
        "retention_last_5": metrics.retention(of_first),
        "retention_evaluations": min(len(of_first), metrics.RETENTION_EVALUATIONS),
        "auc_second": last.auc,
        "auc_carried_share": metrics.carried_share(env_steps, learning.env_steps),
    }
    if last.is_scored:
        _, raw = last.evaluations(first_task, raw=True, after_first_update=True)
        return row | {"retention_last_5_return": metrics.retention(raw), "auc_second_return": last.raw_auc}
    return row | _success_curve(last, scratch)


def _success_curve(last: PhaseData, scratch: PhaseData | None) -> Row:
    """Columns that a curve of success rates allows, and one of scores does not."""
    auc_scratch = scratch.area_by(last.planned.spec.learning.env_steps) if scratch else np.nan
    return {
        "env_steps_to_threshold": last.env_steps_to_threshold,
        "auc_scratch": auc_scratch,
        "forward_transfer": metrics.forward_transfer(last.auc, auc_scratch),
    }


def scratch_phase(spec: PhaseSpec, data: Mapping[str, PhaseData]) -> PhaseData | None:
    """The first phase of the plan that learns the same task with the same seed and SAC; None if there is none.

    Its budget is at least as large, so that it is known at equal env steps. Of several, one that learns by the very
    same rules is preferred.
    """
    names = ("algorithm_version", "benchmark", "revision", "task", "seed", "sac")
    found = [
        phase
        for phase in data.values()
        if phase.planned.spec.index == 0
        and not phase.planned.spec.ingredients
        and phase.planned.spec.learning.env_steps >= spec.learning.env_steps
        and all(getattr(phase.planned.spec, name) == getattr(spec, name) for name in names)
    ]
    return min(found, key=lambda phase: phase.planned.spec.learning != spec.learning, default=None)


def _method_row(result: Mapping[str, Any], hidden: int) -> Row:
    """The reports of a method's ingredients as flat columns; what a method does not report is missing.

    A network has `hidden` hidden neurons.
    """
    share = result.get("replay_share", {})
    row: Row = {f"replay_share_{part}": share.get(part) for part in ("actor", "critic")}
    row["positive_share"] = result.get("positive_share")
    for network in NETWORKS:
        neurons = result.get("neurons", {}).get(network, {})
        for name in NEURON_REPORT:
            row[f"{network}_{name}"] = neurons.get(name)
        constant = neurons.get("constant_per_layer")
        row[f"{network}_live"] = None if constant is None else hidden - sum(constant)
        row[f"{network}_frozen_share"] = neurons.get("frozen_parameters")
        for name, values in (
            ("selected", neurons.get("selected_per_layer", ())),
            ("constant", neurons.get("constant_per_layer", ())),
            ("drift", result.get("drift", {}).get(network, ())),
        ):
            row |= {f"{network}_{name}_layer_{number}": value for number, value in enumerate(values, start=1)}
    return row


def _comparable(trial: Trial, specs: list[PhaseSpec]) -> str:
    """A digest of all that the trial shares with trials of other methods that it may be compared with."""
    shared = {
        # Without what a method does in the first phase itself.
        "first": specs[0].model_copy(update={"ingredients": ()}).key(),
        "tasks": trial.tasks,
        "later": [
            [spec.sac.model_dump(mode="json"), spec.learning.model_dump(mode="json"), spec.has("reset_log_alpha")]
            for spec in specs[1:]
        ],
        "evaluation": asdict(trial.finals),
    }
    return hashlib.sha256(canonical(shared)).hexdigest()[:20]
