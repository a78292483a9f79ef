import xml.etree.ElementTree as ElementTree

import pytest
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
    training,
)

import analysis
from analysis.figures import all_figures, style
from analysis.figures.bands import CurveReader
from analysis.figures.methods import counts_figure
from analysis.figures.overview import overview
from analysis.figures.palette import RAMP, look, looks, scale
from analysis.figures.profiles import profiles
from analysis.tradeoff import MEASURES, all_series

LABELS = ("base", "nbsp", f"second task: {SECOND}", f"first task after it: {FIRST}")
NINE = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
PAIRS = ((FIRST, SECOND), (SECOND, FIRST))


def figures(store, plan):
    return {picture.name: picture for picture in all_figures(analysis.load(store.root, plan))}


def counts_of(store, plan):
    results = analysis.load(store.root, plan)
    return counts_figure(results, CurveReader(results))


def words(picture):
    return " ".join(ElementTree.fromstring(picture.svg).itertext())


def fill(store, plan, **how):
    for trial in plan.trials:
        learn_first(store, plan, trial, 9)
        key, (first, last) = trial.phases[1], trial.tasks
        rows = evaluations(first, (1, 0.8, 0.6, 0.4, 0.2)) + evaluations(last, (0, 0.5, 1, 1, 1))
        learn(store, plan, key, rows + training(last, [0] * 6 + [1] * 10), **how)
        evaluate(store, plan, key, first, 5)
        evaluate(store, plan, key, last, 8)


def test_the_figures_of_a_small_sweep(full, plan):
    found = figures(full, plan)
    assert list(found) == ["overview", "two_phases", "methods", "first_tasks"]
    for picture in found.values():
        assert picture.svg.startswith(b"<?xml")
        assert picture.pdf.startswith(b"%PDF")
        assert picture.png.startswith(b"\x89PNG")


def test_methods_and_tasks_are_named_in_the_figure(full, plan):
    text = words(figures(full, plan)["methods"])
    assert all(label in text for label in LABELS)


def test_captions_say_n_and_what_the_band_is(store):
    plan = plan_of()
    fill(store, plan)
    caption = " ".join(figures(store, plan)["methods"].caption)
    assert "n = 2 seeds" in caption
    assert "mean ± standard error" in caption
    assert "not a 95 % interval" in caption
    assert "every seed a dot" in caption


def test_an_early_stop_is_said(store):
    plan = plan_of(seeds=(0,))
    trial = find(plan, "base", 0)
    learn_first(store, plan, trial, 9)
    rows = evaluations(FIRST, (1, 1, 1)) + evaluations(SECOND, (1, 1, 1)) + training(SECOND, [1] * 12)
    learn(store, plan, trial.phases[1], rows, env_steps=200, stop_reason="stable")
    found = figures(store, plan)["methods"]
    assert "stopped early" in " ".join(found.caption)
    assert "from there on its final evaluation is carried forward" in " ".join(found.caption)
    assert "one seed" in " ".join(found.caption)
    assert "nbsp (0 of 1)" in words(found)


def test_several_counts_have_a_figure_and_several_pairs_a_profile(store):
    plan = plan_of(pairs=PAIRS, skill_neurons=(0.1, 0.2, 1.0))
    fill(store, plan)
    found = figures(store, plan)
    assert list(found) == ["overview", "two_phases", "methods", "counts", "first_tasks", "profiles"]
    assert "nearest to 20%" in " ".join(found["methods"].caption)
    assert all(label in words(found["counts"]) for label in ("0.1", "0.2", "1.0"))
    assert all(label in words(found["profiles"]) for label in ("base", "nbsp 0.1", "nbsp 0.2", "nbsp 1.0"))


def test_nine_counts_have_nine_colours_in_profiles_and_overview(store):
    plan = plan_of(pairs=PAIRS, skill_neurons=NINE, methods=("nbsp",), seeds=(0,))
    for trial in plan.trials:
        evaluate(store, plan, trial.phases[1], trial.tasks[0], 5)
        evaluate(store, plan, trial.phases[1], trial.tasks[1], 8)
    results = analysis.load(store.root, plan)
    for make in (profiles, overview):
        svg = make(results, CurveReader(results)).svg.decode().lower()
        assert all(colour in svg for colour in scale(len(NINE)))


def test_where_live_neurons_end_is_marked_among_the_counts(store):
    """12 of 16 are live: between 0.2 and 1.0, which are 3 and 16 neurons, and not among 0.1 and 0.2."""
    plan = plan_of(skill_neurons=(0.1, 0.2, 1.0))
    fill(store, plan, **NBSP_REPORT)
    picture, few = (counts_of(store, one) for one in (plan, plan_of(skill_neurons=(0.1, 0.2))))
    caption = " ".join(picture.caption)
    assert "Dotted line between the bars: where live neurons end" in caption
    assert "Live neurons of reach > avoid, nbsp: actor 12, q1 12, q2 12." in caption
    assert "Dotted line between" not in " ".join(few.caption)
    assert "Live neurons of" in " ".join(few.caption)
    marked, unmarked = (one.svg.count(b"stroke-dasharray: 1,1.65") for one in (picture, few))
    assert marked == unmarked + 1


def test_where_live_neurons_end_is_marked_on_the_trade_offs_line(store):
    """12 of 16 are live: nine tenths of the way from 3 neurons to 13, and beyond 2 and 3."""
    plan = plan_of(skill_neurons=(0.1, 0.2, 0.8))
    after = {None: (0, 10), 0.1: (4, 9), 0.2: (8, 7), 0.8: (10, 1)}
    for trial in plan.trials:
        learn_first(store, plan, trial, 9)
        learn_second(store, plan, trial, *after[trial.skill_neurons], **NBSP_REPORT)
    results = analysis.load(store.root, plan)
    (_, nbsp) = all_series(results.finals)
    assert nbsp.live_point(MEASURES["success"]["final"]) == pytest.approx((0.98, 0.16))
    marked = overview(results, CurveReader(results))
    few = analysis.load(store.root, plan_of(skill_neurons=(0.1, 0.2)))
    unmarked = overview(few, CurveReader(few))
    assert "Hollow diamond on a line: where live neurons end" in " ".join(marked.caption)
    assert "live neurons" not in " ".join(unmarked.caption)
    # From (0.4, 0.9) over (0.8, 0.7) to (1, 0.1): the second lies beyond the line between the ends; two have no knee.
    assert "Ring: a line's knee" in " ".join(marked.caption)
    assert "knee" not in " ".join(unmarked.caption)
    hollow = b"fill-opacity: 0; stroke: #"
    assert marked.svg.count(hollow) > unmarked.svg.count(hollow)


def test_the_same_results_give_the_same_bytes(full, plan):
    one, again = (figures(full, plan)["methods"] for _ in range(2))
    assert (one.svg, one.pdf, one.png) == (again.svg, again.pdf, again.png)


def test_fonts_of_a_pdf_are_truetype(full, plan, style_as_it_is, monkeypatch):
    """Journals refuse Type 3."""
    monkeypatch.setattr(style, "STYLE", style_as_it_is)
    results = analysis.load(full.root, plan)
    pdf = overview(results, CurveReader(results)).pdf
    assert b"/CIDFontType2" in pdf or b"/TrueType" in pdf
    assert b"/Type3" not in pdf


def test_a_store_with_next_to_nothing_can_be_drawn(store, plan):
    store.phase(find(plan, "base", 0).phases[0]).write_progress({"env_steps": 3})
    assert "nothing to draw yet" in words(figures(store, plan)["methods"])


def test_every_method_has_a_look_of_its_own():
    own = looks().values()
    assert len({one.colour for one in own}) == len(own)
    assert look("never heard of it") == look("never heard of it")


def test_the_scale_goes_from_end_to_end():
    assert scale(1) == [RAMP[0]]
    assert scale(3)[::2] == [RAMP[0], RAMP[-1]]
    assert len(set(scale(12))) == 12


@pytest.mark.parametrize("name", ["base", "nbsp", "replay_only", "ewc", "ancl", "importance_nbsp"])
def test_the_papers_methods_are_in_the_table(name):
    assert name in looks()
