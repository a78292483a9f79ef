"""Every number of the published tables, recomputed from the report's own CSV by other code: csv, math, scipy's t."""

import csv
import math
import statistics
from collections import defaultdict

import pytest
from scipy import stats
from synthetic_store import FIRST, SECOND, learn_first, learn_second, plan_of

import analysis
from nbsp_ray.store import Store

PAIRS = ((FIRST, SECOND), (SECOND, FIRST))
GROUP = ("pair", "method", "skill_neurons", "variant")


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def numbers(rows, name):
    return [float(row[name]) for row in rows if row[name] != ""]


def expect(row, name, values):
    assert int(row[f"{name}_n"]) == len(values)
    if not values:
        assert row[f"{name}_mean"] == ""
        return
    mean = math.fsum(values) / len(values)
    assert float(row[f"{name}_mean"]) == pytest.approx(mean)
    if len(values) > 1:
        error = statistics.stdev(values) / math.sqrt(len(values))
        low, high = mean - (half := error * stats.t.ppf(0.975, len(values) - 1)), mean + half
        found = [float(row[f"{name}_{suffix}"]) for suffix in ("se", "low", "high")]
        assert found == pytest.approx([error, low, high])


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Two pairs, three methods of two counts, three seeds; half of the last seed's trials have not run."""
    plan = plan_of(pairs=PAIRS, methods=("base", "nbsp", "mask_only"), skill_neurons=(0.1, 0.8), seeds=(0, 1, 2))
    store = Store(tmp_path_factory.mktemp("store"), create=True)
    for number, trial in enumerate(plan.trials):
        learn_first(store, plan, trial, 4 + (trial.seed * 3) % 7)
        if trial.seed < 2 or number % 2:
            curve = (0, 0.2, number % 10 / 10, 0.9)
            learn_second(store, plan, trial, number * 7 % 11, number * 3 % 11, curve, (1, 0.7, 0.1, number % 7 / 10))
    folder = tmp_path_factory.mktemp("report")
    analysis.write_report(analysis.load(store.root, plan), folder, name="x", title="x")
    return folder


@pytest.fixture(scope="module")
def finals(report):
    groups = defaultdict(list)
    for row in read(report / "data/finals.csv"):
        groups[tuple(row[name] for name in GROUP)].append(row)
    return groups


def test_results(report, finals):
    table = read(report / "tables/results.csv")
    assert [tuple(row[name] for name in GROUP) for row in table] == list(finals)
    for row in table:
        trials = finals[tuple(row[name] for name in GROUP)]
        for name in ("individual", "sequential", "second", "forgetting", "retention_last_5"):
            expect(row, name, numbers(trials, name))
        learnt = [trial for trial in trials if trial["individual"] and float(trial["individual"]) >= 0.5]
        expect(row, "forgetting_learnt", numbers(learnt, "forgetting"))
        assert int(row["done"]) == sum(trial["status"] == "done" for trial in trials)


def test_learning(report, finals):
    for row in read(report / "tables/learning.csv"):
        trials = finals[tuple(row[name] for name in GROUP)]
        for name in ("retention_last_5", "auc_second", "forward_transfer"):
            expect(row, name, numbers(trials, name))
        assert int(row["reached"]) == len(numbers(trials, "env_steps_to_threshold"))


def test_table_1(report, finals):
    for row in read(report / "tables/individual_sequential.csv"):
        trials = finals[row["pair"], "base", "", ""]
        for name in ("individual", "sequential", "forgetting"):
            expect(row, name, numbers(trials, name))


def test_differences(report, finals):
    rows = read(report / "tables/differences.csv")
    assert len(rows) == len(finals) - len(PAIRS)
    for row in rows:
        base = {trial["seed"]: trial for trial in finals[row["pair"], "base", "", ""]}
        trials = finals[tuple(row[name] for name in GROUP)]
        for name in ("sequential", "second", "retention_last_5", "auc_second"):
            both = [(trial[name], base[trial["seed"]][name]) for trial in trials]
            expect(row, f"{name}_difference", [float(x) - float(y) for x, y in both if x and y])


def test_across_pairs(report, finals):
    for row in read(report / "tables/across_pairs.csv"):
        own = [finals[pair, row["method"], row["skill_neurons"], ""] for pair in ("reach > avoid", "avoid > reach")]
        for name in ("sequential", "second"):
            runs = sorted(value for trials in own for value in numbers(trials, name))
            cut = len(runs) // 4
            assert float(row[f"{name}_iqm"]) == pytest.approx(statistics.fmean(runs[cut : len(runs) - cut]))
            assert int(row[f"{name}_runs"]) == len(runs)


def test_finals_follow_from_the_curves(report):
    curves = defaultdict(list)
    for row in read(report / "data/curves.csv"):
        curves[row["key"], row["task"]].append(row)
    for trial in read(report / "data/finals.csv"):
        rows = curves.get((trial["key_second"], trial["first_task"]), [])
        after = [float(row["success"]) for row in rows if row["kind"] == "evaluation" and float(row["updates"]) > 0]
        if trial["retention_last_5"]:
            assert float(trial["retention_last_5"]) == pytest.approx(statistics.fmean(after[-5:]))
