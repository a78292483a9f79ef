"""Games, judged by their scores: raw, normalised by hand, and never averaged with success rates."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from pages import data_of
from synthetic_store import (
    FIRST,
    both_of,
    find,
    games_of,
    learn_first,
    learn_second,
    play_all,
    play_first,
    play_second,
    scores,
)

import analysis
from analysis.figures import all_figures
from analysis.tables import all_tables
from analysis.tables.differences import differences_table
from analysis.tables.results import results_table
from analysis.tables.returns import returns_table
from analysis.tables.trials import trials_table
from nbsp_ray.errors import NbspError

PONG, DEMON = ("Pong", "Bowling"), ("DemonAttack", "Carnival")


@pytest.fixture
def games():
    return games_of()


def row_of(results, pair, method="base", seed=0):
    finals = results.finals
    wanted = (finals["pair"] == " > ".join(pair)) & (finals["method"] == method) & (finals["seed"] == seed)
    (row,) = finals[wanted].to_dict("records")
    return row


def test_a_trial_on_games_by_hand(store, games):
    trial = find(games, "base", 0, PONG)
    play_first(store, games, trial, [9.3, -5.7])
    play_second(store, games, trial, [-20.7, -5.7], [89.0, 88.9])
    row = row_of(analysis.load(store.root, games), PONG)
    assert (row["measure"], row["status"]) == ("score", "done")
    # Pong: random -20.7, human 9.3, so 30 points are 1. Mean 1.8 before: 22.5 / 30; mean -13.2 after: 7.5 / 30.
    assert (row["first_before_return"], row["first_after_return"]) == pytest.approx((1.8, -13.2))
    assert (row["first_before"], row["first_after"], row["forgetting"]) == pytest.approx((0.75, 0.25, 0.5))
    # Bowling: random 23.1, human 154.8: (88.95 - 23.1) / 131.7.
    assert (row["second_return"], row["second"]) == pytest.approx((88.95, 0.5))
    assert row["second_deterministic"] == pytest.approx(0.5)
    assert (row["first_before_n"], row["second_n"]) == (2, 2)
    # Evaluations after the first update: 8, 7, 6, 5 of Pong; Bowling rises from 0 to 40, 20 on average.
    assert row["retention_last_5_return"] == pytest.approx(6.5)
    assert row["retention_last_5"] == pytest.approx((6.5 + 20.7) / 30)
    assert row["auc_second_return"] == pytest.approx(20)
    assert row["auc_second"] == pytest.approx((20 - 23.1) / 131.7)
    assert row["auc_carried_share"] == 0


def test_nothing_of_success_is_claimed_for_scores(store, games):
    play_all(store, games)
    finals = analysis.load(store.root, games).finals
    for name in ("learnt_first", "env_steps_to_threshold", "forward_transfer", "auc_scratch"):
        assert finals[name].isna().all(), name
    page = " ".join(" ".join(table.caption) for table in all_tables(analysis.load(store.root, games)))
    assert "did not learn" not in page
    assert "forward transfer" not in page.lower()
    assert "success" not in page


def test_a_game_without_reference_scores_has_raw_ones_only(store, games):
    trial = find(games, "base", 0, DEMON)
    play_first(store, games, trial, [152.1, 3401.3])
    play_second(store, games, trial, [152.1], [500.0])
    results = analysis.load(store.root, games)
    row = row_of(results, DEMON)
    assert (row["first_before"], row["first_after"], row["second_return"]) == pytest.approx((0.5, 0, 500))
    assert np.isnan(row["second"])
    assert np.isnan(row["auc_second"])
    assert row["auc_second_return"] == pytest.approx(20)
    captions = {table.name: " ".join(table.caption) for table in all_tables(results)}
    for name in ("results_score", "learning_score", "across_pairs_score"):
        assert "Carnival has no reference scores: raw scores only." in captions[name]


def test_curves_have_the_raw_and_the_normalised_score_and_the_mean_of_ten_games(store, games):
    play_all(store, games)
    curves = analysis.load(store.root, games).curves
    pong = curves[(curves["task"] == "Pong") & (curves["phase"] == 1)]
    assert pong["env_return"].tolist()[:5] == [9, 8, 7, 6, 5]
    assert pong["normalised"].tolist()[:5] == pytest.approx([(one + 20.7) / 30 for one in (9, 8, 7, 6, 5)])
    assert pong["success"].isna().all()
    training = curves[(curves["kind"] == "training") & (curves["task"] == "Bowling")]
    assert training["return_last_10"].notna().sum() == 7 * training["key"].nunique()
    assert curves[curves["task"] == "Carnival"]["normalised"].isna().all()


def test_tables_of_games_by_hand(store, games):
    play_all(store, games)
    results = analysis.load(store.root, games)
    (row,) = [row for row in results_table(results).to_dict("records") if row["pair"] == "Pong > Bowling"][:1]
    # Trials 0 and 1: means of (-20.7, -5.7) and (-19.7, -5.7) are 7.5 and 8 points above random, of 30.
    assert row["first_after_mean"] == pytest.approx((7.5 + 8) / 2 / 30)
    (raw, *_) = returns_table(results).to_dict("records")
    assert (raw["second_return_mean"], raw["second_return_n"]) == (pytest.approx(28.1), 2)
    (difference, *_) = differences_table(results).to_dict("records")
    # nbsp's trials are 2 and 3, two trials later each: one point of Pong more, 20 of Bowling.
    assert difference["first_after_difference_mean"] == pytest.approx(1 / 30)
    assert difference["second_difference_mean"] == pytest.approx(20 / 131.7)
    trials = trials_table(results)
    assert "first_after_wilson_low" not in trials
    assert trials["second_return"].tolist() == [23.1 + 10 * number for number in range(8)]


def test_a_t_interval_of_scores_is_not_cut(store):
    plan = games_of(seeds=(0, 1, 2))
    play_all(store, plan)
    shown = {table.name: table for table in all_tables(analysis.load(store.root, plan))}["results_score"]
    cell = shown.text["second game"][0]
    # 0, 10 and 20 / 131.7: mean 0.08, +- 0.04, t(2) 4.3.
    assert cell == "0.08 ± 0.04 [-0.11, 0.26]"
    assert shown.text["second game"][2] == "-"


def test_tasks_and_games_in_one_report_are_never_averaged(store, tmp_path):
    plan = both_of()
    play_all(store, plan)
    for trial in plan.trials:
        if trial.benchmark == "toy":
            learn_first(store, plan, trial, 9)
            learn_second(store, plan, trial, 5, 8)
    results = analysis.load(store.root, plan)
    assert {measure: len(part.finals) for measure, part in results.parts().items()} == {"success": 4, "score": 8}
    paths = analysis.write_report(results, tmp_path, name="x", title="Both")
    names = {path.relative_to(tmp_path).as_posix() for path in paths}
    assert {"tables/results.csv", "tables/results_score.csv", "tables/returns_score.csv"} <= names
    assert {"figures/methods.svg", "figures/methods_score.svg", "figures/two_phases_score.png"} <= names
    assert "tables/returns.csv" not in names
    for name, benchmark in (("results", "toy"), ("results_score", "atari"), ("across_pairs_score", "atari")):
        with (tmp_path / f"tables/{name}.csv").open(newline="") as file:
            assert {row["benchmark"] for row in csv.DictReader(file)} == {benchmark}
    page = (tmp_path / "report.md").read_text()
    assert "Success rates (toy):" in page
    assert "Normalised scores (atari):" in page
    assert "whole episodes until 1,000 env steps per game" in page
    assert "12 trials: 12 done." in page


def test_figures_of_games_have_raw_curves_and_normalised_bars(store, games):
    play_all(store, games)
    pictures = {picture.name: picture for picture in all_figures(analysis.load(store.root, games))}
    assert list(pictures) == [
        "overview_score",
        "two_phases_score",
        "methods_score",
        "first_tasks_score",
        "profiles_score",
    ]
    text = pictures["methods_score"].svg.decode()
    assert all(word in text for word in ("raw score", "normalised score", "second game: Carnival"))
    caption = " ".join(pictures["methods_score"].caption)
    assert "mean raw score of the last ten episodes" in caption
    assert "success" not in caption


def test_a_first_game_without_reference_scores_has_raw_bars(store):
    plan = games_of(pairs=(("Carnival", "DemonAttack"),))
    play_all(store, plan)
    pictures = {picture.name: picture for picture in all_figures(analysis.load(store.root, plan))}
    assert "normalised" not in pictures["methods_score"].svg.decode()


def test_counts_of_games_are_advised_by_normalised_scores_and_what_cannot_be_weighed_is_left_out(store):
    plan = games_of(methods=("nbsp",), skill_neurons=(0.1, 0.8), pairs=(PONG, ("Bowling", "Pong"), DEMON))
    play_all(store, plan)
    results = analysis.load(store.root, plan)
    advice = analysis.advise(results, 0.0)
    assert [one.label for one in advice] == ["Pong > Bowling, nbsp", "Bowling > Pong, nbsp", "all 2 pairs, nbsp"]
    # Later trials are better: those of 0.8, numbers 2 and 3, get 43.1 and 53.1 points.
    assert advice[0].best.label == "0.8"
    assert advice[0].best.value.mean == pytest.approx(25 / 131.7)
    from analysis.advise import advice_notes

    assert any("pairs with Carnival" in note for note in advice_notes(results, 0.0))
    alone = games_of(methods=("nbsp",), skill_neurons=(0.1, 0.8), pairs=(DEMON,))
    with pytest.raises(NbspError, match="Carnival has no reference scores"):
        analysis.advise(analysis.load(store.root, alone), 0.5)


def test_the_explorer_keeps_tasks_and_games_apart_and_shows_raw_scores_too(store):
    plan = both_of(skill_neurons=(0.1, 0.8))
    play_all(store, plan)
    learn_first(store, plan, find(plan, "base", 0), 9)
    learn_second(store, plan, find(plan, "base", 0), 5, 8)
    data = data_of(analysis.load(store.root, plan))
    assert [one["id"] for one in data["measures"]] == [
        "success-final",
        "success-learning",
        "score-final",
        "score-learning",
        "score-raw",
    ]
    kinds = {one["pair"]: one["kind"] for one in data["series"]}
    assert kinds == {"reach > avoid": "success", "Pong > Bowling": "score", "DemonAttack > Carnival": "score"}
    games = [one for one in data["trials"] if one["measure"] == "score"]
    carnival = next(one for one in games if one["second_task"] == "Carnival")
    assert "score-final" not in carnival  # Carnival has no reference scores.
    assert None not in carnival["score-raw"]
    assert carnival["command"].startswith("nbsp-ray try x pairs=DemonAttack:Carnival methods=")
    json.dumps(data, allow_nan=False)


def test_a_curve_of_games_that_is_cut_off_has_no_metrics(store, games):
    from synthetic_store import learn, score

    trial = find(games, "base", 0, PONG)
    play_first(store, games, trial, [9.3])
    learn(store, games, trial.phases[1], scores("Bowling", (0, 10)))
    for game in PONG:
        score(store, games, trial.phases[1], game, [9.3])
    row = row_of(analysis.load(store.root, games), PONG)
    assert row["curve_truncated"]
    assert pd.isna(row["auc_second_return"])


def test_reference_scores_are_those_of_table_3(store, games):
    play_first(store, games, find(games, "base", 0, PONG), [9.3])
    shown = {table.name: table for table in all_tables(analysis.load(store.root, games))}
    rows = shown["references_score"].data.set_index("task")
    assert list(rows.columns) == ["normalised 0", "normalised 1"]
    table_3 = {"Pong": [-20.7, 9.3], "Bowling": [23.1, 154.8], "DemonAttack": [152.1, 3401.3]}
    assert {game: rows.loc[game].tolist() for game in table_3} == table_3
    assert "random play is 0 and a human is 1" in shown["references_score"].caption[0]
    assert rows.loc["Carnival"].isna().all()
    settings = shown["settings_score"].data.set_index("setting")
    assert settings.loc["sac.gamma", ["here", "paper"]].tolist() == ["0.99", "0.99"]
    assert settings.loc["evaluation.env_steps", "here"] == "1,000"
    assert "evaluation.episodes" not in settings.index


def test_a_task_has_no_returns(full, plan):
    results = analysis.load(full.root, plan)
    assert results.finals["first_before_return"].isna().all()
    assert results.curves["normalised"].isna().all()
    assert FIRST in set(results.curves["task"])
    assert not [table.name for table in all_tables(results) if table.name in ("returns", "references")]
