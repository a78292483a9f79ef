"""Tables, figures and pages of benchmarks speak of what is judged, and call a task what the benchmark calls it."""

from pathlib import Path

import pytest
from axes_toys import axes_plan
from pages import data_of
from toy_phases import run_whole

import analysis
from analysis.figures import all_figures
from analysis.frames.load import Results
from analysis.tables import all_tables
from analysis.words import words_of
from nbsp_ray.store import Store

pytestmark = pytest.mark.usefixtures("axes_toys")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, axes_toys: None) -> dict[str, Results]:
    """Real trials of base and nbsp on each."""
    store, found = Store(tmp_path_factory.mktemp("words"), create=True), {}
    for name in ("scored_toy", "seen_toy"):
        plan = axes_plan(name, methods=("base", "nbsp"))
        for phase in plan.phases.values():
            run_whole(store, phase)
        found[name] = analysis.load(store.root, plan)
    return found


def test_vectors_judged_by_a_score_have_scores_and_no_games(results: dict[str, Results], tmp_path: Path) -> None:
    found = results["scored_toy"]
    (trial, _) = found.finals.to_dict("records")
    zero, one = -25.0, 0.0
    assert trial["first_before"] == pytest.approx((trial["first_before_return"] - zero) / (one - zero))
    shown = {table.name: table for table in all_tables(found)}
    assert {"results_score", "returns_score", "references_score", "learning_score"} <= shown.keys()
    assert shown["results_score"].title == "Both tasks (tasks, by score)"
    assert "-" not in shown["results_score"].text["first task after"].tolist()
    assert shown["references_score"].data["task"].tolist() == ["reach", "avoid"]
    analysis.write_report(found, tmp_path, name="x", title="Axes")
    text = (tmp_path / "report.md").read_text()
    assert "standing still is 0 and flying there is 1" in text
    assert "game" not in text.lower()
    assert "success" not in " ".join(" ".join(table.caption) for table in shown.values())
    titles = [picture.title for picture in all_figures(found)]
    assert "First tasks (tasks, by score)" in titles


def test_frames_judged_by_success_have_rates_and_their_own_noun(results: dict[str, Results]) -> None:
    found = results["seen_toy"]
    shown = {table.name: table for table in all_tables(found)}
    assert shown["results"].title == "Both scenes"
    assert {"first scene before", "second scene"} <= set(shown["results"].text.columns)
    assert not [name for name in shown if name.endswith("_score")]
    captions = " ".join(" ".join(table.caption) for table in shown.values())
    assert "Success rates of the stochastic policy in the final evaluations; first scene before" in captions
    assert "normalised" not in captions
    assert "game" not in captions


def test_the_explorer_speaks_so_too(results: dict[str, Results]) -> None:
    measures = {one["id"]: one for one in data_of(results["scored_toy"])["measures"]}
    assert measures["score-final"]["words"] == "normalised scores of both tasks' final evaluations"
    assert measures["score-raw"]["task"] == "task"
    (first, *_) = data_of(results["seen_toy"])["measures"]
    assert (first["words"], first["rate"]) == ("final evaluations of both scenes", True)


def test_nouns_of_several_benchmarks() -> None:
    assert words_of(["atari"]).task == "game"
    together = words_of(["atari", "scored_toy"])
    assert (together.task, together.title) == ("task", " (tasks, by score)")
    assert "random play is 0 and a human is 1, or standing still is 0 and flying there is 1" in together.normalised
    assert words_of([]).task == "task"
