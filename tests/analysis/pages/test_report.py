import csv
import re

import pandas as pd
import pytest
from synthetic_store import FIRST, MANIFEST, evaluate, find, learn_first, learn_second, plan_of

import analysis
from analysis.frames.columns import CURVES, EPISODES, PHASES
from analysis.pages.report import write_tables
from nbsp_ray.errors import NbspError

TABLES = {"results", "first_task", "seeds", "learning", "differences", "difficulty", "neurons", "trials"}
TABLES |= {"settings"}
FRAMES = ("curves", "finals", "phases", "episodes")
FIGURES = {"overview", "two_phases", "methods", "first_tasks"}


def test_a_report_is_one_page_its_tables_and_its_data(report):
    names = {path.relative_to(report.folder).as_posix() for path in report.paths}
    data = {f"data/{name}.{kind}" for name in FRAMES for kind in ("csv", "parquet")}
    tables = {f"tables/{name}.{kind}" for name in TABLES for kind in ("csv", "tex")} | {
        "tables/tables.tex",
        "tables/paper.tex",
        "tables/README.md",
    }
    figures = {f"figures/{name}.{kind}" for name in FIGURES for kind in ("svg", "pdf", "png")} | {"figures/captions.md"}
    assert names == {"report.md", "report.html", "data/README.md"} | data | tables | figures
    assert all(path.stat().st_size for path in report.paths)
    page = report.paths[0].read_text()
    assert page.startswith("# Toy, both <tasks>\n")
    assert "4 trials: 4 done." in page
    assert "10 episodes per task, on the goals of training" in page
    assert "2,300 env steps in 4 min" in page
    assert "python 3.11.8, torch 2.11" in page


def test_every_table_of_the_page_is_rectangular(report):
    for block in re.findall(r"(?:^\|.*\n)+", report.paths[0].read_text(), flags=re.MULTILINE):
        assert len({line.count(" | ") for line in block.splitlines()}) == 1


def test_csv_is_not_rounded(report):
    with (report.folder / "tables/results.csv").open(newline="") as file:
        base, _ = csv.DictReader(file)
    # 0.9 - 0.1 and 0.3 - 0.0: their standard deviation over the root of 2, of which two seeds have no interval.
    assert float(base["forgetting_se"]) == pytest.approx(0.25, abs=1e-15)
    assert base["forgetting_high"] == ""
    assert base["seeds"] == "2"


def test_parquet_gives_the_frames_back(report):
    for name in FRAMES:
        found = pd.read_parquet(report.folder / f"data/{name}.parquet")
        pd.testing.assert_frame_equal(found, getattr(report.results, name))


def test_the_dictionary_explains_every_column(report):
    explained = set(re.findall(r"^\| `(\w+)` \|", (report.folder / "data/README.md").read_text(), flags=re.MULTILINE))
    assert explained == {*CURVES, *PHASES, *EPISODES, *report.results.finals.columns}


def test_an_empty_store_is_an_error_that_says_what_to_run(store, plan, tmp_path):
    with pytest.raises(NbspError, match="start it with `nbsp-ray run x`"):
        analysis.write_report(analysis.load(store.root, plan), tmp_path / "r", name="x", title="x")
    assert not (tmp_path / "r").exists()


def test_a_half_done_sweep_gives_a_half_filled_report(store, plan, tmp_path):
    trial = find(plan, "base", 0)
    learn_first(store, plan, trial, 9)
    learn_second(store, plan, trial, 1, 10)
    store.phase(find(plan, "nbsp", 1).phases[0]).write_failure({"error": "out of memory"})
    page = analysis.write_report(analysis.load(store.root, plan), tmp_path, name="x", title="x")[0].read_text()
    assert "4 trials: 1 done, 2 failed, 1 begun." in page
    assert "| reach > avoid | base | 1 | 1 | 0 |" in page
    assert "(n=1 of 2)" in page
    assert f"`nbsp-ray run x --root {store.root}` does the rest" in page
    assert "So far: No trial has both" not in page


@pytest.mark.parametrize("what", ["evaluation", "progress", "failure"])
def test_whatever_little_is_there_can_be_reported(store, plan, tmp_path, what):
    folder = store.phase(find(plan, "base", 0).phases[0])
    if what == "evaluation":
        learn_first(store, plan, find(plan, "base", 0), 0)
    elif what == "progress":
        folder.write_progress({"env_steps": 3})
    else:
        folder.write_failure({"error": "?"})
    assert analysis.write_report(analysis.load(store.root, plan), tmp_path, name="x", title="x")


def test_phases_without_versions_are_reported(store, plan, tmp_path, monkeypatch):
    monkeypatch.setattr("synthetic_store.MANIFEST", {})
    learn_first(store, plan, find(plan, "base", 0), 9)
    page = analysis.write_report(analysis.load(store.root, plan), tmp_path, name="x", title="x")[0].read_text()
    assert "Versions: not recorded." in page


def test_different_versions_are_said(store, plan, tmp_path, monkeypatch):
    learn_first(store, plan, find(plan, "base", 0), 9)
    monkeypatch.setattr("synthetic_store.MANIFEST", MANIFEST | {"versions": {"python": "3.11.8", "torch": "2.12"}})
    learn_first(store, plan, find(plan, "base", 1), 9)
    page = analysis.write_report(analysis.load(store.root, plan), tmp_path, name="x", title="x")[0].read_text()
    assert "made with different versions" in page


def test_tables_alone(full, plan, tmp_path):
    paths = write_tables(analysis.load(full.root, plan), tmp_path, name="x")
    expected = {f"{name}.{kind}" for name in TABLES for kind in ("csv", "md", "tex")}
    assert {path.relative_to(tmp_path).as_posix() for path in paths} == expected | {
        "tables.tex",
        "paper.tex",
        "README.md",
    }


def test_a_report_can_be_written_again(store, tmp_path):
    plan = plan_of(seeds=(0,), methods=("base",))
    learn_first(store, plan, find(plan, "base", 0), 9)
    first = analysis.write_report(analysis.load(store.root, plan), tmp_path, name="x", title="x")[0].read_text()
    learn_second(store, plan, find(plan, "base", 0), 2, 2)
    evaluate(store, plan, find(plan, "base", 0).phases[1], FIRST, 2, deterministic=1)
    again = analysis.write_report(analysis.load(store.root, plan), tmp_path, name="x", title="x")[0].read_text()
    assert "1 begun" in first
    assert "1 trial: 1 done" in again
