"""The verbs that read a store: what they write, what they say, and how they refuse."""

import json
import os
import shutil

import pytest
import yaml
from synthetic_store import SETTINGS, learn_first, learn_second
from typer.testing import CliRunner

from nbsp_ray.errors import NbspError
from nbsp_ray.plan.build import make_plan
from nbsp_ray.store import Store
from nbsp_ray.sweepfile import load_sweep
from nbsp_ray.verbs import main as cli

COUNTS = [0.1, 0.2, 0.8]


@pytest.fixture
def sweep(tmp_path):
    path = tmp_path / "mine.yaml"
    settings = {**SETTINGS, "pairs": ["reach:avoid"], "methods": ["base", "nbsp"], "seeds": [0, 1]}
    path.write_text(yaml.safe_dump({**settings, "sac": {"hidden": [8, 8]}, "skill_neurons": COUNTS, "title": "Mine"}))
    return str(path)


@pytest.fixture
def root(tmp_path, sweep):
    store = Store(tmp_path / "results", create=True)
    loaded = load_sweep(sweep)
    plan = make_plan(loaded.name, loaded.sweeps)
    after = {None: (0, 10), 0.1: (4, 9), 0.2: (8, 7), 0.8: (10, 1)}
    for trial in plan.trials:
        learn_first(store, plan, trial, 9)
        learn_second(store, plan, trial, *after[trial.skill_neurons])
    return str(store.root)


def run(*words):
    return CliRunner().invoke(cli.app, list(words), catch_exceptions=False)


def test_report_writes_pages_and_says_where(sweep, root, tmp_path):
    done = run("report", sweep, "--root", root)
    assert done.exit_code == 0
    assert "reports/mine/report.html" in done.stderr
    assert (tmp_path / "results/reports/mine/report.html").is_file()
    assert (tmp_path / "results/reports/mine/tables/results.tex").is_file()


def test_a_part_never_overwrites_the_report_of_the_whole(sweep, root, tmp_path):
    run("report", sweep, "--root", root)
    page = tmp_path / "results/reports/mine/report.html"
    whole = page.read_bytes()
    for verb in (("report",), ("export", "tables"), ("explore",)):
        run(*verb, sweep, "seeds=1", "methods=base", "--root", root)
    assert page.read_bytes() == whole
    part = tmp_path / "results/reports/mine@methods=base+seeds=1"
    text = (part / "report.md").read_text()
    assert "**This is a part of the sweep `mine`, 1 of its 8 trials: `seeds=1 methods=base`.**" in text
    assert f"- Command: `nbsp-ray run {sweep} seeds=1 methods=base --root {root}`" in text
    assert {path.name for path in part.iterdir()} > {"report.html", "tables", "explore.html"}
    assert "This is a part" in (part / "explore.html").read_text()


def test_explore_writes_one_page(sweep, root, tmp_path):
    done = run("explore", sweep, "--root", root)
    assert "reports/mine/explore.html" in done.stderr
    page = (tmp_path / "results/reports/mine/explore.html").read_text()
    assert f"nbsp-ray try {sweep} pairs=reach:avoid" in page
    assert "several numbers" not in done.stderr
    of_one = run("explore", sweep, "skill_neurons=0.2", "--root", root)
    assert "No method of this sweep has several numbers of skill neurons" in of_one.stderr
    run("explore", sweep, "--root", root, "--to", str(tmp_path / "elsewhere.html"))
    assert (tmp_path / "elsewhere.html").is_file()


def test_advise_names_a_count(sweep, root):
    shown = run("advise", sweep, "--root", root, "--weight-stability", "1").stdout
    assert "0.8 (13 neurons per network) has the highest value, 1.00" in shown
    assert "* 0.8" in shown
    assert "1 x stability + 0 x plasticity" in shown


def test_advise_for_scripts(sweep, root):
    data = json.loads(run("advise", sweep, "--root", root, "--json").stdout)
    (advice,) = data["advice"]
    assert (data["weight_stability"], advice["best"], advice["seeds"]) == (0.5, "0.2", 2)
    assert advice["counts"][0]["behind_best"] == pytest.approx(0.1)
    assert advice["counts"][1]["behind_best"] is None


def test_export_tables(sweep, root, tmp_path):
    done = run("export", "tables", sweep, "--root", root, "--to", str(tmp_path / "out"))
    assert str(tmp_path / "out") in done.stderr
    kinds = {path.suffix for path in (tmp_path / "out").iterdir()}
    assert kinds == {".csv", ".md", ".tex"}


def test_export_agent_refuses_what_is_not_there(root, tmp_path):
    with pytest.raises(NbspError, match="has no phase 'abc'"):
        run("export", "agent", "abc", "--root", root, "--to", str(tmp_path / "agent"))


@pytest.mark.parametrize("verb", ["report", "explore", "advise", "export tables", "export results"])
def test_the_way_out_of_an_empty_root_names_it_and_the_settings(sweep, tmp_path, verb):
    words = *verb.split(), sweep, "seeds=3", "--root", str(tmp_path / "nothing")
    again = f"`nbsp-ray run {sweep} seeds=3 --root {tmp_path}/nothing` starts it"
    with pytest.raises(NbspError, match=rf"There is no folder .*nothing: .*\(--root names another\); {again}"):
        run(*words)
    Store(tmp_path / "nothing", create=True)
    with pytest.raises(NbspError, match=f"nothing has nothing of mine yet: {again}"):
        run(*words)


def test_a_sweep_without_a_finished_trial_has_a_page(sweep, tmp_path):
    loaded = load_sweep(sweep)
    plan, store = make_plan(loaded.name, loaded.sweeps), Store(tmp_path / "begun", create=True)
    learn_first(store, plan, plan.trials[0], 9)
    done = run("report", sweep, "--root", str(store.root))
    assert done.exit_code == 0
    assert "No trial is finished yet" in done.stderr
    assert "reports/mine/report.html" in done.stderr


@pytest.mark.parametrize("verb", [("report",), ("explore",), ("advise",), ("export", "tables")])
def test_an_unknown_sweep_is_one_clear_sentence(verb):
    with pytest.raises(NbspError, match="no sweep 'toyy'"):
        run(*verb, "toyy")


@pytest.mark.parametrize("verb", [("show", "abcd"), ("watch", "abcd"), ("clean", "--yes"), ("probe", "toy")])
def test_a_mistyped_root_is_named_and_not_made(tmp_path, verb):
    with pytest.raises(NbspError, match=r"There is no folder .*resluts: nothing was run there yet"):
        run(*verb, "--root", str(tmp_path / "resluts"))
    assert not (tmp_path / "resluts").exists()


def test_a_results_root_whose_name_is_no_utf_8_has_a_report_too(sweep, root, tmp_path):
    """Of an old disk: its bytes reach the pages as they are, so that commands to be copied are right."""
    odd = tmp_path / os.fsdecode(b"caf\xe9 [x]")
    shutil.copytree(root, odd)
    for verb in ("report", "explore"):
        assert run(verb, sweep, "--root", str(odd)).exit_code == 0
    assert b"--root '" + os.fsencode(odd) + b"'" in (odd / "reports/mine/report.md").read_bytes()
