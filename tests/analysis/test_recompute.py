"""Every number of the published tables, recomputed from the report's own CSV by other code: csv, math, scipy's t."""

import csv
import math
import statistics
from collections import defaultdict

import pytest
import scipy  # Its parts load when they are asked for.
from synthetic_store import FIRST, SECOND, games_of, learn_first, learn_second, plan_of, play_all

import analysis
from nbsp_ray.store import Store

PAIRS = ((FIRST, SECOND), (SECOND, FIRST))
GROUP = ("pair", "method", "skill_neurons_given", "variant")


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def numbers(rows, name):
    return [float(row[name]) for row in rows if row[name] != ""]


NOTHING = float("nan")


def expect(row, name, values, limits=(-math.inf, math.inf)):
    assert int(row[f"{name}_n"]) == len(values)
    if not values:
        assert row[f"{name}_mean"] == ""
        return
    mean = math.fsum(values) / len(values)
    assert float(row[f"{name}_mean"]) == pytest.approx(mean)
    if len(values) > 1:
        error = statistics.stdev(values) / math.sqrt(len(values))
        half = error * scipy.stats.t.ppf(0.975, len(values) - 1)
        low, high = max(mean - half, limits[0]), min(mean + half, limits[1])
        if len(values) < 3 or error < 1e-9:
            low = high = NOTHING
        found = [float(row[f"{name}_{suffix}"] or "nan") for suffix in ("se", "low", "high")]
        assert found == pytest.approx([error, low, high], nan_ok=True, abs=1e-12)


RATE, DIFFERENCE = (0, 1), (-1, 1)
LIMITS = {"forgetting": DIFFERENCE, "forgetting_learnt": DIFFERENCE, "forward_transfer": (-math.inf, 1)}


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
        for name in ("first_before", "first_after", "second", "forgetting", "retention_last_5"):
            expect(row, name, numbers(trials, name), LIMITS.get(name, RATE))
        learnt = [trial for trial in trials if trial["first_before"] and float(trial["first_before"]) >= 0.5]
        expect(row, "forgetting_learnt", numbers(learnt, "forgetting"), DIFFERENCE)
        assert int(row["done"]) == sum(trial["status"] == "done" for trial in trials)


def test_learning(report, finals):
    for row in read(report / "tables/learning.csv"):
        trials = finals[tuple(row[name] for name in GROUP)]
        for name in ("retention_last_5", "auc_second", "forward_transfer"):
            expect(row, name, numbers(trials, name), LIMITS.get(name, RATE))
        assert int(row["reached"]) == len(numbers(trials, "env_steps_to_threshold"))


def test_table_1(report, finals):
    for row in read(report / "tables/first_task.csv"):
        trials = finals[row["pair"], "base", "", ""]
        for name in ("first_before", "first_after", "forgetting"):
            expect(row, name, numbers(trials, name), LIMITS.get(name, RATE))


def test_differences(report, finals):
    rows = read(report / "tables/differences.csv")
    assert len(rows) == len(finals) - len(PAIRS)
    for row in rows:
        base = {trial["seed"]: trial for trial in finals[row["pair"], "base", "", ""]}
        trials = finals[tuple(row[name] for name in GROUP)]
        for name in ("first_after", "second", "retention_last_5", "auc_second"):
            both = [(trial[name], base[trial["seed"]][name]) for trial in trials]
            expect(row, f"{name}_difference", [float(x) - float(y) for x, y in both if x and y], DIFFERENCE)


def test_across_pairs(report, finals):
    for row in read(report / "tables/across_pairs.csv"):
        own = [
            finals[pair, row["method"], row["skill_neurons_given"], ""] for pair in ("reach > avoid", "avoid > reach")
        ]
        for name in ("first_after", "second"):
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


# Games: the same, and their normalised scores from the raw ones by the numbers of the paper's Table 3

RANDOM_AND_HUMAN = {"Bowling": (23.1, 154.8), "Pong": (-20.7, 9.3), "DemonAttack": (152.1, 3401.3)}


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    """Three pairs of games, one of them without reference scores, three seeds."""
    pairs = (("Pong", "Bowling"), ("Bowling", "Pong"), ("DemonAttack", "Carnival"))
    plan = games_of(pairs=pairs, methods=("base", "nbsp"), skill_neurons=(0.1, 0.8), seeds=(0, 1, 2))
    store = Store(tmp_path_factory.mktemp("store"), create=True)
    play_all(store, plan)
    folder = tmp_path_factory.mktemp("report")
    analysis.write_report(analysis.load(store.root, plan), folder, name="x", title="x")
    groups = defaultdict(list)
    for row in read(folder / "data/finals.csv"):
        groups[tuple(row[name] for name in GROUP)].append(row)
    return folder, groups


def normalised(game, score):
    random, human = RANDOM_AND_HUMAN[game]
    return (float(score) - random) / (human - random)


def test_normalised_scores_follow_from_raw_ones(games):
    for trial in (trial for trials in games[1].values() for trial in trials):
        for name, game in (("first_before", "first_task"), ("first_after", "first_task"), ("second", "second_task")):
            if trial[game] == "Carnival":
                assert trial[name] == ""
            else:
                assert float(trial[name]) == pytest.approx(normalised(trial[game], trial[f"{name}_return"]))


def test_tables_of_games(games):
    folder, finals = games
    for table, names in (
        ("results_score", ("first_before", "first_after", "second", "forgetting", "retention_last_5")),
        ("returns_score", ("first_before_return", "first_after_return", "second_return", "auc_second_return")),
        ("learning_score", ("retention_last_5", "auc_second")),
    ):
        rows = read(folder / f"tables/{table}.csv")
        assert [tuple(row[name] for name in GROUP) for row in rows] == list(finals)
        for row in rows:
            for name in names:
                expect(row, name, numbers(finals[tuple(row[name] for name in GROUP)], name))


def test_differences_of_games(games):
    folder, finals = games
    for row in read(folder / "tables/differences_score.csv"):
        base = {trial["seed"]: trial for trial in finals[row["pair"], "base", "", ""]}
        for name in ("first_after", "second", "retention_last_5", "auc_second"):
            trials = finals[tuple(row[name] for name in GROUP)]
            both = [(trial[name], base[trial["seed"]][name]) for trial in trials]
            expect(row, f"{name}_difference", [float(x) - float(y) for x, y in both if x and y])


def test_across_pairs_of_games(games):
    folder, finals = games
    for row in read(folder / "tables/across_pairs_score.csv"):
        own = [trials for key, trials in finals.items() if key[1:3] == (row["method"], row["skill_neurons_given"])]
        for name, pairs in (("first_after", 3), ("second", 2)):
            runs = sorted(value for trials in own for value in numbers(trials, name))
            cut = len(runs) // 4
            assert float(row[f"{name}_iqm"]) == pytest.approx(statistics.fmean(runs[cut : len(runs) - cut]))
            assert float(row[f"{name}_optimality_gap"]) == pytest.approx(1 - statistics.fmean(min(x, 1) for x in runs))
            assert (int(row[f"{name}_runs"]), int(row[f"{name}_pairs"])) == (len(runs), pairs)
