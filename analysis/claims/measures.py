"""From a results root to what the claims speak of: a number for each pair and seed, by method and configuration.

Each number knows at which scale it was made (`analysis.claims.scale`), and `missing` says where one is asked
for and not there yet.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis import metrics
from analysis.claims.loader import MEASURES, Claim, ClaimTest
from analysis.claims.scale import is_reduced, scale_of, scale_of_first, stop_of
from analysis.frames.load import Known, Results, identity_of, load
from analysis.frames.phases import PhaseData
from analysis.inference import BySeed, spearman
from analysis.statistics import FEWEST
from analysis.tables.sequences import sequences
from nbsp_ray.methods import get_method
from nbsp_ray.plan.build import make_plan
from nbsp_ray.plan.replicates import on_replicates
from nbsp_ray.probe.request import Answer, NetworkScores, Request, Target, cells, find_targets, is_ready, scores_record
from nbsp_ray.specs import PhaseSpec, Plan, Trial, canonical
from nbsp_ray.store import Store

ROW = (
    *("comparison", "pair", "seed", "value", "measured", "measured_other"),
    *("learnt_first", "score_undefined", "scale", "keys"),
)  # fmt: skip
"""Of a claim's rows: what was compared, where, what it came to (of a difference also both its sides), and the phases it
rests on."""
OF = (("measure", "score_undefined"), ("measure_other", "score_undefined_other"))
MORE = ("scale", "setting", "setting_words", "configuration", "stop", "keys")
OVER_COUNTS = ("rises", "falls")
"""Rules that compare numbers of skill neurons; all others are of the claim's one."""
REACHED_ENV_STEPS = 1_000_000
CHOICES: tuple[str, ...] = ("best", "random", "worst")
"""Which neurons a probe silences, in the order in which their drops are kept."""


@dataclass(frozen=True)
class Value:
    """One number that a claim rests on."""

    comparison: str
    pair: str
    seed: int
    value: float
    learnt_first: bool
    """Whether the first phase behind it learnt its task."""
    scale: tuple[str, ...]
    """In what it is less than the paper, or other; empty: the paper's own."""
    keys: tuple[str, ...]
    """The phases it rests on."""
    tasks: str
    """The pair without the setting that may stand behind it, or the one task."""
    of: tuple[tuple[str, float, bool], ...] = ()
    """The measure of each method behind it, by method; and whether its score was undefined. Of a probe, the drops with
    the best neurons silenced, with random ones and, where these were measured, with the worst."""
    undefined: bool = False
    """Whether the score of a method behind it was undefined, so that its neurons were drawn at random."""


class Cell(NamedTuple):
    """A place for a number of a test."""

    pair: str
    """The pair, or the one task."""
    seed: int
    reduced: bool
    """Whether it is less than the paper, or other."""


@dataclass(frozen=True)
class Data:
    """All that a claim may rest on."""

    claim: Claim
    plan: Plan
    """What its sweeps ask for, done or not."""
    results: Results
    finals: pd.DataFrame
    """`Results.finals` with what is needed besides (`MORE`)."""

    @cached_property
    def planned(self) -> pd.DataFrame:
        """All trials that its sweeps ask for, with what says where each belongs."""
        plan = self.plan
        return pd.DataFrame(identity_of(trial, plan) | _scale_and_stop(trial, plan) for trial in plan.trials)


def read(claim: Claim, root: Store, known: Known) -> Data:
    """What a results root has for a claim; `known` phases were read for claims before it."""
    whole = make_plan(claim.id, claim.loaded)
    plan = _finished(on_replicates(whole, root), root)
    results = load(root.address, plan, known)
    more = pd.DataFrame([_more(trial, plan) for trial in plan.trials], columns=list(MORE))
    of_sequences = {one.trial.phases: one.row() for one in sequences(results)}
    for name in ("average_performance", "forgetting_measure"):
        found = [of_sequences.get(trial.phases, {}).get(name, np.nan) for trial in plan.trials]
        more[name] = np.array(found, dtype=np.float64)
    return Data(claim, whole, results, pd.concat([results.finals, more], axis=1))


def _finished(plan: Plan, store: Store) -> Plan:
    """The trials whose phases are done, and all phases that are: what is missing is no row here."""
    done = {key for key in set(store.phases()).intersection(plan.phases) if store.phase(key).done()}
    phases = {key: phase for key, phase in plan.phases.items() if key in done}
    return replace(plan, phases=phases, trials=tuple(trial for trial in plan.trials if done.issuperset(trial.phases)))


def _scale_and_stop(trial: Trial, plan: Plan) -> dict[str, object]:
    specs = [plan.phases[key].spec for key in trial.phases]
    return {"scale": tuple(scale_of(trial.benchmark, trial.tasks, specs, trial)), "stop": specs[-1].learning.stop}


def _more(trial: Trial, plan: Plan) -> dict[str, object]:
    specs = [plan.phases[key].spec for key in trial.phases]
    first, last = specs[0], specs[-1]
    auxiliary = [key for spec in specs for key in spec.auxiliary.values()]
    budgets = [f"{spec.learning.env_steps:,} env steps ({spec.learning.stop})" for spec in specs[:2]]
    ingredients = [{k: v for k, v in one.items() if k != "counts"} for one in last.ingredients]
    return {
        **_scale_and_stop(trial, plan),
        "setting": canonical(
            {
                "sac": first.sac.model_dump(mode="json"),
                "learning": [spec.learning.model_dump(mode="json") for spec in specs],
                "evaluation": [trial.finals.goals, trial.finals.episodes, trial.finals.env_steps],
            }
        ).decode(),
        "setting_words": ", then ".join(budgets),
        "configuration": json.dumps(ingredients, sort_keys=True),
        "keys": (*trial.phases, *auxiliary),
    }


def values(data: Data, test: ClaimTest) -> list[Value]:
    """All numbers that a test rests on, of any scale."""
    match test.rule:
        case "probe":
            return list(_probed(data, test))
        case "reached":
            return list(_reached(data))
        case rule if rule in OVER_COUNTS:
            return list(_ranks(data, test))
    first, *others = test.methods
    found = _rows(data, test, first)
    if not others:
        name = f"{test.measure} of {first}"
        return _values(
            found.assign(comparison=_named(found, name, "configuration"), value=found["measure"]), data, test.methods
        )
    both = found.merge(_rows(data, test, others[0]), on="comparable", suffixes=("", "_other"))
    names = _named(both, f"{test.measure}, {first} - {others[0]}", "configuration", "configuration_other")
    keys = [tuple(dict.fromkeys((*one, *other))) for one, other in zip(both["keys"], both["keys_other"], strict=True)]
    difference = both["measure"] - both["measure_other"]
    both["keys"] = keys
    return _values(both.assign(comparison=names, value=difference), data, test.methods)


def _rows(data: Data, test: ClaimTest, method: str) -> pd.DataFrame:
    """Trials of a method that have the measure, as the claim wants them."""
    column = MEASURES[test.measure][0]
    found = _of_method(data.finals[data.finals[column].notna()], data.claim, test, method)
    return found.assign(measure=found[column].astype("float64"))


def _of_method(trials: pd.DataFrame, claim: Claim, test: ClaimTest, method: str) -> pd.DataFrame:
    """Those of some trials that a test wants of a method."""
    wanted = trials["method"] == method
    if test.pairs:
        wanted &= trials["pair"].isin([pair.replace(":", " > ") for pair in test.pairs])
    if claim.stop is not None:
        wanted &= trials["stop"] == claim.stop
    if get_method(method).selects_neurons and test.rule not in OVER_COUNTS:
        wanted &= trials["skill_neurons_given"] == claim.skill_neurons
    return trials[wanted]


def missing(data: Data, test: ClaimTest, found: Iterable[Value]) -> set[Cell]:
    """Where the claim's sweeps ask for a number of a test that is not there yet, of which `found` are there.

    A trial that is done and whose measure has no number, as the score of a game without a human one, is not missing.
    """
    if test.rule in ("probe", "reached"):
        firsts = (phase.spec for phase in data.plan.phases.values() if phase.spec.index == 0)
        asked = {Cell(spec.task, spec.seed, bool(scale_of_first(spec))) for spec in firsts}
        return asked - {Cell(one.tasks, one.seed, bool(one.scale)) for one in found}
    column = MEASURES[test.measure][0]
    scored = data.finals["measure"] == "score"
    done = data.finals[scored | data.finals[column].notna()]
    short: set[Cell] = set()
    asked_of_all: list[set[Cell]] = []
    for method in test.methods:
        asked_of_it, there = (
            Counter(_cells(data.claim, _of_method(trials, data.claim, test, method))) for trials in (data.planned, done)
        )
        asked_of_all.append(set(asked_of_it))
        short |= {cell for cell, trials in asked_of_it.items() if there[cell] < trials}
    return short.intersection(*asked_of_all)


def _cells(claim: Claim, trials: pd.DataFrame) -> Iterator[Cell]:
    for _, row in trials.iterrows():
        yield Cell(row["pair"], int(row["seed"]), is_reduced(claim, row))


def _named(rows: pd.DataFrame, name: str, *configurations: str) -> list[str]:
    """The comparison's name, with what differs between its configurations if there are several."""
    several = [column for column in configurations if rows[column].nunique() > 1]
    return [
        ", ".join([name, *(_words(row[column], rows[column].unique()) for column in several)])
        for _, row in rows.iterrows()
    ]


def _words(configuration: str, of: Iterable[str]) -> str:
    """Those options of a configuration in which the others differ."""
    flat = [{f"{one['kind']}.{k}": v for one in json.loads(text) for k, v in one.items()} for text in of]
    own = {f"{one['kind']}.{k}": v for one in json.loads(configuration) for k, v in one.items()}
    names = sorted(set().union(*flat))
    differing = [name for name in names if len({json.dumps(one.get(name)) for one in flat}) > 1]
    return " ".join(f"{name}={own[name]}" for name in differing if name in own and not name.endswith(".kind"))


def _values(rows: pd.DataFrame, data: Data, methods: Sequence[str] = ()) -> list[Value]:
    """A pair that stands there at several settings is as many strata."""
    several = rows.groupby("pair")["setting"].nunique() if len(rows) else pd.Series(dtype="int64")
    found: list[Value] = []
    for _, row in rows.iterrows():
        pair = str(row["pair"])
        if several[pair] > 1:
            pair = f"{pair}, {row['setting_words']}"
        learnt = bool(row["learnt_first"]) if not pd.isna(row["learnt_first"]) else True
        scale = (*row["scale"], *stop_of(data.claim, row))
        number = float(row["value"])
        flags = [_is_true(row[flag]) for _, flag in OF if flag in row]
        of = [(name, float(row[column]), flag) for name, (column, _), flag in zip(methods, OF, flags, strict=False)]
        keys, seed = tuple(row["keys"]), int(row["seed"])
        found.append(
            Value(row["comparison"], pair, seed, number, learnt, scale, keys, str(row["pair"]), tuple(of), any(flags))
        )
    return found


def _is_true(flag: Any) -> bool:
    return not pd.isna(flag) and bool(flag)


def _ranks(data: Data, test: ClaimTest) -> Iterator[Value]:
    """Spearman's rho of the measure over the numbers of skill neurons, within each pair, seed and setting.

    It is 0 where the measure is the same for all of them: no order, which speaks against a claim that there is one.
    """
    (method,) = test.methods
    rows = _rows(data, test, method)
    found: list[dict[Any, Any]] = []
    for _, group in rows.groupby("comparable", sort=False):
        rho = spearman(list(group["skill_neurons_count"].astype("float64")), list(group["measure"]))
        if len(group) >= FEWEST:  # two numbers are always in perfect order
            keys = tuple(dict.fromkeys(key for keys in group["keys"] for key in keys))
            undefined = any(map(_is_true, group["score_undefined"]))
            found.append(
                {
                    **group.iloc[0].to_dict(),
                    "value": 0.0 if np.isnan(rho) else rho,
                    "keys": keys,
                    "score_undefined": undefined,
                }
            )
    frame = pd.DataFrame(found, columns=[*rows.columns, "value"])
    name = f"rho of {test.measure} over numbers of skill neurons, {method}"
    yield from _values(frame.assign(comparison=name), data)


def _firsts(data: Data) -> Iterator[PhaseData]:
    """First phases that are done, each once; replicates and what they replicate are both there."""
    for phase in data.results.phase_data.values():
        if phase.planned.spec.index == 0 and phase.result:
            yield phase


def _first_before(data: Data) -> dict[str, float]:
    found = data.finals.dropna(subset=["first_before"])
    return dict(zip(found["key_first"], found["first_before"].astype("float64"), strict=True))


def _first_value(
    data: Data, spec: PhaseSpec, key: str, name: str, value: float, of: Mapping[str, float] = MappingProxyType({})
) -> Value:
    learnt = _first_before(data).get(key, 1.0) >= metrics.LEARNT
    behind = tuple((what, number, False) for what, number in of.items())
    return Value(name, spec.task, spec.seed, value, learnt, scale_of_first(spec), (key,), spec.task, behind)


def _reached(data: Data) -> Iterator[Value]:
    """1 for each first phase that reaches the stop threshold in time, confirmed if need be, else 0; games have none."""
    for phase in _firsts(data):
        if phase.is_scored or not phase.has_whole_curve:
            continue
        steps = phase.env_steps_to_threshold
        reached = steps is not None and steps <= REACHED_ENV_STEPS
        yield _first_value(data, phase.planned.spec, phase.planned.key, "first phases that reach 0.9", float(reached))


def _probed(data: Data, test: ClaimTest) -> Iterator[Value]:
    """Drop of success with the best-scored neurons of the actor silenced, minus the mean drop of random ones."""
    assert test.count is not None
    request = Request(("actor",), (test.count,), episodes=50, draws=5, scores=(test.score,))
    by = "" if test.score == "paper" else f" by the {test.score} score"
    name = f"drop of the best {test.count:.0%} of the actor's neurons{by} - drop of random ones"
    for target in find_targets(data.claim.id, data.claim.loaded, request):
        if is_ready(target, data.results.store):
            success = _success(data.results.store, target, request)
            if success is not None:
                drops = {name: success["none"] - success[name] for name in CHOICES if name in success}
                value = success["random"] - success["best"]
                yield _first_value(data, target.phase.spec, target.phase.key, name, value, drops)


def _success(store: Store, target: Target, request: Request) -> dict[str, float] | None:
    """Mean success by which neurons are silenced; None while the probe has not measured all of it."""
    folder = store.phase(target.phase.key)
    scores = folder.probe(scores_record(target, "actor"))
    if scores is None:
        return None
    success: dict[str, list[float]] = {}
    for cell in cells(target, {"actor": NetworkScores.model_validate(scores)}, request):
        found = folder.probe(cell.record)
        if found is None:
            return None
        success.setdefault(cell.choice, []).append(float(np.mean(Answer.model_validate(found).success)))
    return {choice: float(np.mean(found)) for choice, found in success.items()} if "best" in success else None


def by_pair(found: Iterable[Value]) -> dict[str, BySeed]:
    """Numbers by pair and seed."""
    pairs: dict[str, dict[int, float]] = {}
    for one in found:
        if not np.isnan(one.value):
            pairs.setdefault(one.pair, {})[one.seed] = one.value
    return dict(pairs)


def frame(found: Iterable[Value]) -> pd.DataFrame:
    """Numbers as rows for a file."""
    rows = [
        (
            *(v.comparison, v.pair, v.seed, v.value, *_both(v)),
            *(v.learnt_first, v.undefined, "; ".join(v.scale) or "paper", " ".join(v.keys)),
        )
        for v in found
    ]
    return pd.DataFrame(rows, columns=list(ROW))


def _both(value: Value) -> tuple[float, float]:
    """The measures of the two methods behind it, or of the one; NaN where there are none."""
    first, second, *_ = (*(number for _, number, _ in value.of), np.nan, np.nan)
    return first, second
