"""Store and plan in, tidy frames out: what every table, figure and page starts from.

The plan says which rows there are, the store fills them as far as it can. A trial is a sequence of tasks of any length
of at least two; the columns speak of its first and its last task.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import metrics
from analysis.columns import CURVE_ROW, CURVES, FINALS, IDENTITY, PHASES, frame, neuron_columns
from analysis.paper import is_paper_pair
from analysis.phases import PhaseData, together
from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.methods import NETWORKS, get_method
from nbsp_ray.plan import EvaluationMode, EvaluationSpec, PhaseSpec, Plan, Trial, canonical, resolve_counts
from nbsp_ray.store import Store

ORDINALS = ("first", "second")
Row = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """All there is of a plan's trials; the columns are described in `analysis.columns`."""

    plan: Plan
    root: Path
    """The results root it was read from."""
    curves: pd.DataFrame
    """One row per evaluation and training episode; a shared first phase once (`CURVES`)."""
    finals: pd.DataFrame
    """One row per trial (`FINALS`, `neuron_columns`), in the order of the plan."""
    phases: pd.DataFrame
    """One row per phase (`PHASES`)."""

    @property
    def any_begun(self) -> bool:
        """Whether the results root has anything at all of the plan."""
        return bool((self.phases["status"] != "missing").any())

    @property
    def any_done(self) -> bool:
        """Whether a trial is done."""
        return bool((self.finals["status"] == "done").any())


def load(store_root: str | Path, plan: Plan) -> Results:
    """Read what the results root has of `plan`: cells that are not done yet are missing values, never missing rows.

    Raises:
        StoreError: the root is of another format, or a file in it is damaged.
    """
    store = Store(store_root)
    data = {key: PhaseData(planned, store.phase(key)) for key, planned in plan.phases.items()}
    identities = [_identity(trial, plan) for trial in plan.trials]
    for identity, variant in zip(identities, _variants(plan, identities), strict=True):
        identity["variant"] = variant
    rows = [
        identity | _trial_row(trial, [data[key] for key in trial.phases], data)
        for trial, identity in zip(plan.trials, identities, strict=True)
    ]
    layers = max((len(_layers(plan, trial)) for trial in plan.trials), default=0)
    return Results(
        plan=plan,
        root=store.root,
        curves=_curves(plan.trials, identities, data),
        finals=frame(rows, {**FINALS, **neuron_columns(layers)}),
        phases=frame((_phase_row(phase) for phase in data.values()), PHASES),
    )


# Which trial it is


def _layers(plan: Plan, trial: Trial) -> tuple[int, ...]:
    return get_benchmark(trial.benchmark).layers(plan.phases[trial.phases[0]].spec.sac)


def _identity(trial: Trial, plan: Plan) -> Row:
    wanted = trial.skill_neurons
    return {
        "benchmark": trial.benchmark,
        "pair": " > ".join(trial.tasks),
        "first_task": trial.tasks[0],
        "second_task": trial.tasks[-1],
        "method": trial.method,
        "skill_neurons": None if wanted is None else str(wanted),
        "skill_neurons_count": None if wanted is None else resolve_counts(wanted, _layers(plan, trial))["actor"],
        "seed": trial.seed,
    }


def _settings(trial: Trial, plan: Plan) -> dict[str, str]:
    """What changes the trial's numbers, but for what is in its identity: dotted name -> JSON."""
    specs = [plan.phases[key].spec for key in trial.phases]
    nested: Row = {"sac": specs[0].sac.model_dump(), "evaluation": {"episodes": trial.episodes, "goals": trial.goals}}
    for index, spec in enumerate(specs):
        nested[ORDINALS[index] if index < len(ORDINALS) else f"phase_{index + 1}"] = spec.learning.model_dump()
    for ingredient in specs[-1].ingredients:
        nested[ingredient["kind"]] = {k: v for k, v in ingredient.items() if k not in ("kind", "counts")}
    nested["method"] = {"reset_log_alpha": specs[-1].reset_log_alpha}
    return {f"{group}.{name}": json.dumps(value) for group, inner in nested.items() for name, value in inner.items()}


def _variants(plan: Plan, identities: Iterable[Row]) -> list[str]:
    """For each trial the settings in which it differs from others of its pair, method and number of skill neurons."""
    cells: dict[tuple[str, ...], list[dict[str, str]]] = {}
    found: list[tuple[tuple[str, ...], dict[str, str]]] = []
    for trial, identity in zip(plan.trials, identities, strict=True):
        cell = tuple(str(identity[name]) for name in ("benchmark", "pair", "method", "skill_neurons"))
        settings = _settings(trial, plan)
        cells.setdefault(cell, []).append(settings)
        found.append((cell, settings))
    differing = {
        cell: sorted(name for name in set().union(*all_of) if len({one.get(name) for one in all_of}) > 1)
        for cell, all_of in cells.items()
    }
    return [
        ", ".join(f"{name}={settings[name]}" for name in differing[cell] if name in settings)
        for cell, settings in found
    ]


def _comparable(trial: Trial, specs: list[PhaseSpec]) -> str:
    """A digest of all that the trial shares with trials of other methods that it may be compared with."""
    shared = {
        "first": trial.phases[0],
        "tasks": trial.tasks,
        "later": [
            [spec.sac.model_dump(mode="json"), spec.learning.model_dump(mode="json"), spec.reset_log_alpha]
            for spec in specs[1:]
        ],
        "evaluation": [trial.episodes, trial.goals],
    }
    return hashlib.sha256(canonical(shared)).hexdigest()[:20]


# How it went


def _trial_row(trial: Trial, phases: list[PhaseData], data: Mapping[str, PhaseData]) -> Row:
    first, last = phases[0], phases[-1]
    specs = [phase.planned.spec for phase in phases]
    row: Row = {
        "status": together(phase.status(_records(trial, phase)) for phase in phases),
        "paper_pair": is_paper_pair(trial.benchmark, trial.tasks),
        "paper_method": get_method(trial.method).in_paper,
        "key_first": trial.phases[0],
        "key_second": trial.phases[-1],
        "comparable": _comparable(trial, specs),
        "goals": trial.goals,
    }
    row |= _final_rates(trial, first, last)
    row |= _last_curve(trial.tasks[0], last, scratch_phase(last.planned.spec, data))
    for name, phase in (("first", first), ("second", last)):
        row[f"env_steps_{name}"] = phase.result.get("env_steps")
        row[f"seconds_{name}"] = phase.result.get("seconds")
        row[f"stop_reason_{name}"] = phase.result.get("stop_reason")
    auxiliary = [data[key].result.get("env_steps") for spec in specs for key in spec.auxiliary.values()]
    row["env_steps_auxiliary"] = None if None in auxiliary else sum(auxiliary)
    return row | _method_row(last.result)


def _records(trial: Trial, phase: PhaseData) -> list[EvaluationSpec]:
    """The final evaluations of the phase that this trial's columns are filled from."""
    return [record for record in phase.planned.evaluations.values() if record == trial.record(record.task, record.mode)]


def _final_rates(trial: Trial, first: PhaseData, last: PhaseData) -> Row:
    # The stochastic evaluation of a first phase on training goals is the one that keeps its steps.
    of_first: EvaluationMode = "rollouts" if trial.goals == "train" else "stochastic"
    row: Row = {}
    places: tuple[tuple[str, PhaseData, str, EvaluationMode], ...] = (
        ("individual", first, trial.tasks[0], of_first),
        ("sequential", last, trial.tasks[0], "stochastic"),
        ("second", last, trial.tasks[-1], "stochastic"),
    )
    for name, phase, task, stochastic in places:
        modes: tuple[tuple[str, EvaluationMode], ...] = (("", stochastic), ("_deterministic", "deterministic"))
        for suffix, mode in modes:
            rate, episodes = phase.final(trial.record(task, mode))
            row |= {name + suffix: rate, f"{name}{suffix}_n": episodes}
    row["forgetting"] = metrics.forgetting(row["individual"], row["sequential"])
    known = not np.isnan(row["individual"])
    row["learnt_first"] = row["individual"] >= metrics.LEARNT if known else None
    return row


def _last_curve(first_task: str, last: PhaseData, scratch: PhaseData | None) -> Row:
    if not last.has_whole_curve:
        return {"curve_truncated": last.curve_truncated if last.result else None}
    learning = last.planned.spec.learning
    env_steps, success = last.evaluations(last.planned.spec.task)
    reached = metrics.env_steps_to_threshold(env_steps, success, learning.stop_threshold, learning.stop_evaluations)
    _, first_success = last.evaluations(first_task, after_first_update=True)
    auc_scratch = scratch.auc if scratch else np.nan
    return {
        "curve_truncated": False,
        "retention_last_5": metrics.retention(first_success),
        "retention_evaluations": min(len(first_success), metrics.RETENTION_EVALUATIONS),
        "auc_second": last.auc,
        "auc_carried_share": metrics.carried_share(env_steps, learning.env_steps),
        "env_steps_to_threshold": None if np.isnan(reached) else int(reached),
        "auc_scratch": auc_scratch,
        "forward_transfer": metrics.forward_transfer(last.auc, auc_scratch),
    }


def scratch_phase(spec: PhaseSpec, data: Mapping[str, PhaseData]) -> PhaseData | None:
    """The first phase of the plan that learns the same task with the same seed, SAC and budget; None if there is none.

    Of several, one with the same stop rule and evaluations is preferred.
    """
    names = ("algorithm_version", "benchmark", "revision", "task", "seed", "sac")
    found = [
        phase
        for phase in data.values()
        if phase.planned.spec.index == 0
        and phase.planned.spec.learning.env_steps == spec.learning.env_steps
        and all(getattr(phase.planned.spec, name) == getattr(spec, name) for name in names)
    ]
    return min(found, key=lambda phase: phase.planned.spec.learning != spec.learning, default=None)


def _method_row(result: Mapping[str, Any]) -> Row:
    """The reports of a method's ingredients as flat columns; what a method does not report is missing."""
    share = result.get("replay_share", {})
    row: Row = {f"replay_share_{part}": share.get(part) for part in ("actor", "critic")}
    row |= {name: result.get(name) for name in ("good_share", "score_undefined")}
    for network in NETWORKS:
        neurons = result.get("neurons", {}).get(network, {})
        for name in ("selected", "selected_constant", "score_lowest", "score_highest"):
            row[f"{network}_{name}"] = neurons.get(name)
        row[f"{network}_frozen_share"] = neurons.get("frozen_parameters")
        for name, values in (
            ("selected", neurons.get("selected_per_layer", ())),
            ("constant", neurons.get("constant_per_layer", ())),
            ("drift", result.get("drift", {}).get(network, ())),
        ):
            row |= {f"{network}_{name}_layer_{number}": value for number, value in enumerate(values, start=1)}
    return row


# Curves and cost


def _curves(trials: Iterable[Trial], identities: Iterable[Row], data: Mapping[str, PhaseData]) -> pd.DataFrame:
    """All curves below one another; made of whole columns, as there may be millions of rows."""
    heads: list[Row] = []
    pieces = [frame((), CURVE_ROW)]
    seen: set[str] = set()
    for trial, identity in zip(trials, identities, strict=True):
        for index, key in enumerate(trial.phases):
            of_all = index == 0
            if len(data[key].curve) and not (of_all and key in seen):
                heads.append(_curve_head(identity, of_all=of_all) | {"phase": index, "key": key})
                pieces.append(data[key].curve)
            seen.add(key)
    of_phase = frame(heads, {name: CURVES[name] for name in (*IDENTITY, "phase", "key")})
    repeated = np.repeat(np.arange(len(heads)), [len(piece) for piece in pieces[1:]])
    left = of_phase.take(repeated).reset_index(drop=True)
    return pd.concat([left, pd.concat(pieces, ignore_index=True)], axis=1)


def _curve_head(identity: Row, *, of_all: bool) -> Row:
    """What identifies a phase's curve; a first phase is of no single method or pair."""
    own = ("benchmark", "first_task", "seed")
    return {name: value for name, value in identity.items() if name in own or not of_all}


def _phase_row(phase: PhaseData) -> Row:
    spec, manifest = phase.planned.spec, phase.folder.manifest() or {}
    names = ("env_steps", "updates", "stop_reason", "seconds", "env_steps_per_second")
    return {
        "key": phase.planned.key,
        "label": phase.planned.label,
        "benchmark": spec.benchmark,
        "task": spec.task,
        "phase": spec.index,
        "seed": spec.seed,
        "status": phase.status(phase.planned.evaluations.values()),
        "budget": spec.learning.env_steps,
        "versions": ", ".join(_versions(manifest.get("versions", {}))) or None,
        "error": phase.error,
        **{name: phase.result.get(name) for name in names},
        **{name: manifest.get(name) for name in ("host", "device", "git_commit")},
    }


def _versions(versions: Mapping[str, str]) -> Iterator[str]:
    return (f"{package} {version}" for package, version in versions.items())
