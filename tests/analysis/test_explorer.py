import json
import re
import shlex

import pytest
from pages import Page, data_of
from synthetic_store import (
    FIRST,
    NBSP_REPORT,
    SECOND,
    evaluate,
    evaluations,
    find,
    learn,
    learn_first,
    learn_second,
    plan_of,
)

import analysis
from analysis.explorer import SYMBOLS, rerun_command
from analysis.figures.palette import MARKERS, looks, scale
from analysis.pages import latex
from analysis.tables.paper_shape import paper_table
from analysis.tables.results import show_results
from nbsp_ray.errors import NbspError
from nbsp_ray.plan.build import make_plan
from nbsp_ray.sweepfile import load_sweep

COUNTS = (0.1, 0.2, 0.8)


@pytest.fixture
def results(store):
    plan = plan_of(skill_neurons=COUNTS)
    after = {None: (0, 10), 0.1: (4, 9), 0.2: (8, 7), 0.8: (10, 1)}
    for trial in plan.trials:
        learn_first(store, plan, trial, 9)
        learn_second(store, plan, trial, *after[trial.skill_neurons])
    return analysis.load(store.root, plan)


def test_the_page_knows_means_front_and_knee(results):
    data = data_of(results)
    base, nbsp = data["series"]
    assert [count["label"] for count in base["counts"]] == [""]
    assert [count["label"] for count in nbsp["counts"]] == ["0.1", "0.2", "0.8"]
    low = nbsp["counts"][0]
    assert (low["neurons"], low["planned"], low["success-final"]["n"]) == (2, 2, 2)
    equal = "0.40 (2 of 2 seeds equal)"
    texts = {"text": equal, "mean_text": equal, "t_text": "-"}
    assert low["success-final"]["stability"] == {"mean": 0.4, "se": 0.0, "t": None, **texts}
    assert nbsp["fronts"]["success-final"] == {"front": [0, 1, 2], "knee": 1, "live": None}
    assert [one["label"] for one in data["counts"]] == ["0.1", "0.2", "0.8"]
    assert [one["colour"] for one in data["counts"]] == scale(3)
    assert [one["name"] for one in data["methods"]] == ["base", "nbsp"]


def test_the_page_knows_where_live_neurons_end(store):
    plan = plan_of(skill_neurons=COUNTS, methods=("nbsp",))
    after = {0.1: (4, 9), 0.2: (8, 7), 0.8: (10, 1)}
    for trial in plan.trials:
        learn_first(store, plan, trial, 9)
        learn_second(store, plan, trial, *after[trial.skill_neurons], **NBSP_REPORT)
    data = data_of(analysis.load(store.root, plan))
    (nbsp,) = data["series"]
    # 12 of 16 are live: nine tenths of the way from 3 neurons (0.8, 0.7) to 13 (1.0, 0.1).
    assert nbsp["fronts"]["success-final"]["live"] == [0.98, 0.16]
    assert nbsp["live"] == pytest.approx(1.9), "where the numbers go to the right"
    assert "Live neurons of reach > avoid, nbsp: actor 12, q1 12, q2 12." in data["rules"]


def test_a_number_with_undefined_scores_is_given_without_them_too(store):
    plan = plan_of(skill_neurons=(0.1, 0.2), methods=("nbsp",), seeds=(0, 1, 2))
    for trial in plan.trials:
        learn_first(store, plan, trial, 9)
        undefined = (trial.skill_neurons, trial.seed) == (0.2, 2)
        after = 1 if undefined else 8 + trial.seed
        learn_second(store, plan, trial, after, 5, **{**NBSP_REPORT, "score_undefined": undefined})
    (series,) = data_of(analysis.load(store.root, plan))["series"]
    few, many = (count["success-final"] for count in series["counts"])
    assert few["defined"] is None
    assert (many["n"], many["stability"]["mean_text"]) == (3, "0.60 ± 0.25")
    assert (many["defined"]["n"], many["defined"]["stability"]["mean_text"]) == (2, "0.85 ± 0.05")
    assert series["live"] is None, "12 neurons are live, and 3 the most that are frozen"


def test_a_curve_that_stopped_early_has_what_is_carried_forward(full, plan):
    data = data_of(analysis.load(full.root, plan))
    (stopped,) = [trial["retained"] for trial in data["trials"] if trial["retained"]["stopped"] is not None]
    assert (stopped["stopped"], stopped["y"][-1], stopped["carried"]) == (300, 0.4, 0.3)


def test_each_trial_has_what_a_click_shows(results):
    data = data_of(results)
    trial = data["trials"][data["series"][1]["counts"][2]["trials"][1]]
    assert (trial["seed"], trial["count"], trial["success-final"]) == (1, "0.8", [1.0, 0.1])
    assert trial["retained"]["y"] == [1, 0.8, 0.6, 0.4, 0.2]
    key = results.plan.trials[-1].phases[1]
    assert (trial["folders"]["second"], trial["keys"]["second"]) == (f"../../phases/{key}/", key)
    assert trial["selected"]["actor"] is None
    assert trial["command"] == ("nbsp-ray try x pairs=reach:avoid methods=nbsp seeds=1 skill_neurons=0.8 --root rerun")


def test_neurons_per_layer_are_those_that_the_method_reported(full, plan):
    data = data_of(analysis.load(full.root, plan))
    trial = data["trials"][data["series"][1]["counts"][0]["trials"][0]]
    assert trial["selected"]["q1"] == [neurons(2, 4), neurons(1, 0)]
    of_mean = data["series"][1]["counts"][0]["selected"]["q1"]
    assert of_mean == [neurons(2, 4), neurons(1, 0)]


def neurons(selected, constant):
    return {
        name: {"mean": value, "text": str(value)} for name, value in (("selected", selected), ("constant", constant))
    }


@pytest.mark.parametrize("name", ["toy", "tradeoff", "metaworld_main", "paper_metaworld", "quickstart"])
def test_the_command_runs_that_very_trial(name, tmp_path):
    overrides = ("seeds=1,3", "sac.gamma=0.5")
    loaded = load_sweep(name, overrides)
    plan = make_plan(loaded.name, loaded.sweeps)
    finals = analysis.load(tmp_path, plan).finals.to_dict("records")
    for number in range(0, len(plan.trials), 3):
        words = shlex.split(rerun_command(finals[number], name, overrides))
        assert words[:3] == ["nbsp-ray", "try", name]
        again = load_sweep(words[2], words[3 : words.index("--root")])
        tried = make_plan(again.name, again.sweeps).trials[0]
        assert (tried.phases, tried.method) == (plan.trials[number].phases, plan.trials[number].method)


def test_the_command_has_the_value_that_was_varied(tmp_path):
    overrides = ("seeds=1", "methods=base", "sac.gamma=0.5,0.6", "first.stop=fixed,stable", "sac.hidden=8,8")
    plan = load_sweep("toy", overrides).plan(None)
    finals = analysis.load(tmp_path, plan).finals.to_dict("records")
    assert len(finals) == 4
    for row, trial in zip(finals, plan.trials, strict=True):
        words = shlex.split(rerun_command(row, "toy", overrides))
        (tried,) = load_sweep("toy", words[3 : words.index("--root")]).plan(None).trials
        assert tried.phases == trial.phases


def test_the_page_is_one_well_formed_file(results, tmp_path):
    path = analysis.write_explorer(results, tmp_path / "deep/page.html", name="x", title="A </script> title")
    page = path.read_text()
    without_scripts = re.sub(r"<script>.*?</script>", "<script></script>", page, flags=re.DOTALL)
    assert Page(without_scripts).problems == []
    assert len(re.findall("<script>", without_scripts)) == 3
    data = re.search(r"const DATA = (.*?);</script>", page, flags=re.DOTALL)
    assert data
    assert len(json.loads(data[1])["trials"]) == 8


def test_an_empty_store_is_an_error_that_says_what_to_run(store, plan, tmp_path):
    with pytest.raises(NbspError, match="start it with `nbsp-ray run x`"):
        analysis.write_explorer(analysis.load(store.root, plan), tmp_path / "page.html", name="x", title="x")


def test_a_sweep_hardly_begun_has_a_page(store, plan):
    store.phase(find(plan, "base", 0).phases[0]).write_progress({"env_steps": 3})
    data = data_of(analysis.load(store.root, plan))
    assert {trial["status"] for trial in data["trials"]} == {"begun", "waiting"}
    nothing = {"mean": None, "se": None, "t": None, "text": "-", "mean_text": "-", "t_text": "-"}
    assert data["series"][0]["counts"][0]["success-final"]["stability"] == nothing
    json.dumps(data, allow_nan=False)


def test_every_marker_has_its_symbol():
    assert {one.marker for one in looks().values()} | set(MARKERS) <= set(SYMBOLS)


def test_pairs_are_kept_apart(store):
    plan = plan_of(pairs=((FIRST, SECOND), (SECOND, FIRST)), methods=("nbsp",))
    data = data_of(analysis.load(store.root, plan))
    assert [one["pair"] for one in data["series"]] == data["pairs"] == ["reach > avoid", "avoid > reach"]


def test_the_weighting_slider_has_the_numbers_of_advise(results):
    data = data_of(results)
    assert data["weights"] == [f"{number / 20:.2f}" for number in range(21)]
    for place, weight in ((0, 0.0), (7, 0.35), (20, 1.0)):
        (of_page,), (advice,) = data["advice"]["success-final"][place], analysis.advise(results, weight)
        assert (of_page["of"], of_page["sentence"]) == (advice.label, advice.sentence())
        assert of_page["counts"][of_page["best"]]["label"] == advice.best.label
        assert [one["value"]["mean"] for one in of_page["counts"]] == [
            pytest.approx(one.value.mean, abs=1e-6) for one in advice.counts
        ]
    assert "raw" not in " ".join(data["advice"])


def test_one_number_has_the_same_digits_in_every_place(store, tmp_path):
    """0.8 and 0.75 come to 0.775: 0.77499999999999991 as the mean of the two, 0.775 where digits are cut before."""
    plan = plan_of(methods=("base", "nbsp"), seeds=(0, 1), evaluation={"episodes": 20})
    for trial in plan.trials:
        learn_first(store, plan, trial, 9)
        learn(store, plan, trial.phases[1], evaluations(SECOND, (0, 1, 1, 1, 1)))
        for task in trial.tasks:
            evaluate(store, plan, trial.phases[1], task, 16 - trial.seed)
    results = analysis.load(store.root, plan)
    (text,) = {
        count["success-final"]["plasticity"]["mean_text"] for s in data_of(results)["series"] for count in s["counts"]
    }
    assert text == "0.78 ± 0.03"
    assert set(show_results(results, interval=False).text["second task"]) == {text}
    assert set(show_results(results).text["second task"]) == {text}
    assert [row[1][1].found.mean for row in paper_table(results).rows] == pytest.approx([0.775, 0.775])
    assert latex.paper(paper_table(results)).count(r"0.78 \pm 0.03") == 4
