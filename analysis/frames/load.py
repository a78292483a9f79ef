"""Store and plan in, tidy frames out: what every table, figure and page starts from.

The plan says which rows there are, the store fills them as far as it can. A trial is a sequence of tasks of any length
of at least two; the columns speak of its first and its last task.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.frames.columns import (
    CURVE_ROW,
    CURVES,
    EPISODES,
    FINALS,
    IDENTITY,
    PHASES,
    Columns,
    frame,
    neuron_columns,
    table,
)
from analysis.frames.phases import Curve, PhaseData
from analysis.frames.trials import Row, trial_row
from analysis.words import Words, words_of
from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.layout import NETWORKS
from nbsp_ray.plan.counts import resolve_counts
from nbsp_ray.plan.replicates import rests_on
from nbsp_ray.specs import Plan, Trial
from nbsp_ray.states import State
from nbsp_ray.store import REPORTED, Store
from nbsp_ray.sweepfile import load_sweep

ORDINALS = ("first", "second")
Known = dict[tuple[str, frozenset[str]], PhaseData]
"""Phases that were read, by key and wanted evaluations."""


@dataclass(frozen=True, repr=False)
class Results:
    """The results of a plan's trials, as far as there are any; columns are described in `analysis.frames.columns`."""

    plan: Plan
    store: Store
    """What it was read from, opened once."""
    phase_data: Mapping[str, PhaseData] = field(repr=False)
    """Every phase of the plan by its key, as it was read."""
    curves: pd.DataFrame
    """One row per evaluation, training episode and task finally evaluated; a shared first phase once (`CURVES`)."""
    finals: pd.DataFrame
    """One row per trial (`FINALS`, `neuron_columns`), in the order of the plan."""
    phases: pd.DataFrame
    """One row per phase (`PHASES`)."""

    def __repr__(self) -> str:
        done = int((self.finals["status"] == State.DONE).sum())
        size = f"{len(self.curves):,} rows of curves, {len(self.phases)} phases"
        return (
            f"<Results of {self.plan.name} in {self.store.address}: {done} of {len(self.finals)} trials done, {size}>"
        )

    @cached_property
    def episodes(self) -> pd.DataFrame:
        """One row per episode of every final evaluation (`EPISODES`), read when it is first asked for."""
        return frame((row for phase in self.phase_data.values() for row in phase.episodes()), EPISODES)

    def columns(self) -> Mapping[str, Columns]:
        """What each column of each frame is, by the frame's name."""
        layers = sum(name.startswith(f"{NETWORKS[0]}_drift_layer_") for name in self.finals.columns)
        finals = {**FINALS, **neuron_columns(layers)}
        return {"finals": finals, "curves": CURVES, "phases": PHASES, "episodes": EPISODES}

    def describe(self) -> pd.DataFrame:
        """The data dictionary, a row for each column of each frame: `frame`, `column`, `type`, `unit`, `meaning`."""
        return pd.DataFrame(
            [
                {"frame": name, "column": column, "type": of_it.kind, "unit": of_it.unit, "meaning": of_it.meaning}
                for name, columns in self.columns().items()
                for column, of_it in columns.items()
            ]
        )

    @property
    def root(self) -> Path:
        """The results root it was read from; of an object store, its folder on this machine."""
        return self.store.root

    @property
    def measure(self) -> str:
        """The measure that all its trials are judged by: `success` or `score`."""
        (measure,) = self.parts()
        return measure

    @property
    def words(self) -> Words:
        """How to speak of its trials, all of which are judged alike."""
        return words_of(self.finals["benchmark"])

    def parts(self) -> "Mapping[str, Results]":
        """The trials judged by `success` and those judged by `score`, each as results of their own."""
        measures = list(dict.fromkeys(self.finals["measure"]))
        if len(measures) < 2:
            return dict.fromkeys(measures, self)
        return {measure: self._part(measure) for measure in measures}

    def _part(self, measure: str) -> "Results":
        def of_it(data: pd.DataFrame) -> pd.DataFrame:
            wanted = {name: get_benchmark(name).judged_by.kind == measure for name in data["benchmark"].unique()}
            return data[data["benchmark"].map(wanted).astype(bool)].reset_index(drop=True)

        trials = tuple(trial for trial in self.plan.trials if get_benchmark(trial.benchmark).judged_by.kind == measure)
        plan = replace(self.plan, trials=trials)
        return replace(self, plan=plan, curves=of_it(self.curves), finals=of_it(self.finals), phases=of_it(self.phases))

    @property
    def any_begun(self) -> bool:
        """True if the results root has anything at all of the plan."""
        return bool((self.phases["status"] != State.WAITING).any())

    @property
    def any_done(self) -> bool:
        """True if any trial is done."""
        return bool((self.finals["status"] == State.DONE).any())


def load(store_root: str | Path, plan: Plan, known: Known | None = None) -> Results:
    """Read what the results root has of `plan`: cells that are not done yet are missing values, never missing rows.

    Args:
        store_root: The results root.
        plan: What is looked for.
        known: Phases that were read from this root for other plans, not read again; those of this plan are added.

    Raises:
        StoreError: the root is of another format.
    """
    store = Store(store_root).snapshot(plan.phases, evaluations=None, parts=REPORTED)
    known = {} if known is None else known
    data = {
        key: known.setdefault((key, frozenset(planned.evaluations)), PhaseData(planned, store.phase(key)))
        for key, planned in plan.phases.items()
    }
    identities = [identity_of(trial, plan) for trial in plan.trials]
    for trial, identity, variant in zip(plan.trials, identities, _variants(plan, identities), strict=True):
        replicate = rests_on(plan, trial.phases)
        # Never one row with trials that do not rest on it: their first phases are others.
        rests = [] if replicate is None else [f"replicate={replicate}"]
        identity |= {"variant": ", ".join([*filter(None, [variant]), *rests]), "replicate": replicate}
    rows = [
        identity | trial_row(trial, [data[key] for key in trial.phases], data)
        for trial, identity in zip(plan.trials, identities, strict=True)
    ]
    layers = max((len(_layers(plan, trial)) for trial in plan.trials), default=0)
    return Results(
        plan=plan,
        store=store,
        phase_data=data,
        curves=_curves(plan.trials, identities, data),
        finals=frame(rows, {**FINALS, **neuron_columns(layers)}),
        phases=frame((_phase_row(phase) for phase in data.values()), PHASES),
    )


def load_results(root: str | Path, sweep: str, *overrides: str) -> Results:
    """What the results root has of a sweep: `load_results("results", "preliminary", "seeds=0-1").finals`.

    Args:
        root: The results root.
        sweep: A file of `tune_configs` by its name, or a path to one.
        overrides: `KEY=VALUE`s, as on the command line.

    Raises:
        ConfigError: a line for each problem of the file and the overrides.
        StoreError: the root is of another format.
    """
    return load(root, load_sweep(sweep, overrides).plan(Store(root)))


# Which trial it is


def _layers(plan: Plan, trial: Trial) -> tuple[int, ...]:
    return get_benchmark(trial.benchmark).layers(plan.phases[trial.phases[0]].spec.sac)


def identity_of(trial: Trial, plan: Plan) -> Row:
    """What tells a trial from others of its plan, whether it is done or not."""
    wanted = trial.skill_neurons
    return {
        "benchmark": trial.benchmark,
        "pair": " > ".join(trial.tasks),
        "first_task": trial.tasks[0],
        "second_task": trial.tasks[-1],
        "method": trial.method,
        "skill_neurons": wanted,
        "skill_neurons_given": None if wanted is None else str(wanted),
        "skill_neurons_count": None if wanted is None else resolve_counts(wanted, _layers(plan, trial))["actor"],
        "seed": trial.seed,
    }


def _settings(trial: Trial, plan: Plan) -> dict[str, str]:
    """Settings that change the trial's numbers and are not in its identity: dotted name -> JSON."""
    specs = [plan.phases[key].spec for key in trial.phases]
    nested: Row = {"sac": specs[0].sac.model_dump(), "evaluation": asdict(trial.finals)}
    for index, spec in enumerate(specs):
        nested[ORDINALS[index] if index < len(ORDINALS) else f"phase_{index + 1}"] = spec.learning.model_dump()
    for ingredient in specs[-1].ingredients:
        nested[ingredient["kind"]] = {k: v for k, v in ingredient.items() if k not in ("kind", "counts")}
    nested["method"] = {"reset_log_alpha": specs[-1].has("reset_log_alpha")}
    return {f"{group}.{name}": json.dumps(value) for group, inner in nested.items() for name, value in inner.items()}


def _variants(plan: Plan, identities: Iterable[Row]) -> list[str]:
    """For each trial the settings in which it differs from others of its pair, method and number of skill neurons."""
    cells: dict[tuple[str, ...], list[dict[str, str]]] = {}
    found: list[tuple[tuple[str, ...], dict[str, str]]] = []
    for trial, identity in zip(plan.trials, identities, strict=True):
        cell = tuple(str(identity[name]) for name in ("benchmark", "pair", "method", "skill_neurons_given"))
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


# Curves and cost


def _curves(trials: Iterable[Trial], identities: Iterable[Row], data: Mapping[str, PhaseData]) -> pd.DataFrame:
    """All curves below one another; made of whole columns, as there may be millions of rows."""
    heads: list[Row] = []
    pieces: list[Curve] = []
    seen: set[str] = set()
    for trial, identity in zip(trials, identities, strict=True):
        for index, key in enumerate(trial.phases):
            # A first phase is every method's, but for those that act in it.
            of_all = index == 0 and not data[key].planned.spec.ingredients
            if len(data[key].curve["kind"]) and not (of_all and key in seen):
                heads.append(_curve_head(identity, of_all=of_all) | {"phase": index, "key": key})
                pieces.append(data[key].curve)
            seen.add(key)
    of_phase = frame(heads, {name: CURVES[name] for name in (*IDENTITY, "phase", "key")})
    repeated = np.repeat(np.arange(len(heads)), [len(piece["kind"]) for piece in pieces])
    left = of_phase.take(repeated).reset_index(drop=True)
    right = table(lambda name: np.concatenate([piece[name] for piece in pieces]) if pieces else (), CURVE_ROW)
    return pd.concat([left, right], axis=1)


def _curve_head(identity: Row, *, of_all: bool) -> Row:
    """What identifies a phase's curve; a first phase is of no single method or pair."""
    own = ("benchmark", "first_task", "seed")
    return {name: value for name, value in identity.items() if name in own or not of_all}


def _phase_row(phase: PhaseData) -> Row:
    spec, manifest = phase.planned.spec, phase.manifest
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
        "replicate": spec.replicate,
        "imported": phase.imported,
        "versions": ", ".join(_versions(manifest.get("versions", {}))) or None,
        "error": phase.error,
        "notes": "; ".join(phase.result.get("notes") or ()) or None,
        **{name: phase.result.get(name) for name in names},
        "env_steps_to_threshold": phase.env_steps_to_threshold,
        "curve_truncated": phase.curve_truncated if phase.result else None,
        **{name: manifest.get(name) for name in ("host", "device", "git_commit")},
    }


def _versions(versions: Mapping[str, str]) -> Iterator[str]:
    return (f"{package} {version}" for package, version in versions.items())
