"""The committed page is what the committed archives and claims give, and a page of results holds what it should."""

import re
import runpy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from synthetic_store import evaluate as write_evaluations
from synthetic_store import evaluations, learn
from typer.testing import CliRunner

import nbsp_ray
from analysis.claims import load_claims, write_reproduction
from nbsp_ray.archives.importing import import_all
from nbsp_ray.archives.packing import pack
from nbsp_ray.errors import ArchiveError
from nbsp_ray.methods import options_model
from nbsp_ray.plan.build import make_plan
from nbsp_ray.specs import Plan
from nbsp_ray.store import Store
from nbsp_ray.sweepfile import load_sweep
from nbsp_ray.verbs.main import app

ROOT = Path(__file__).parents[3]
CLAIMS = """\
claims:
  - id: C4
    claim: masking adds to replay
    where: section 4.3, Figures 5 and 12
    decided_by: stability of nbsp - replay_only above 0
    sweeps: [{sweep}]
    tests:
      - {{rule: above, methods: [nbsp, replay_only]}}
      - {{rule: not_lower, methods: [nbsp, replay_only], measure: plasticity}}
  - id: C14
    claim: it holds otherwise too
    where: beyond the paper
    decided_by: the same
    beyond: true
    lacks: no sweep ships yet
    tests:
      - {{rule: above, methods: [nbsp, replay_only]}}
"""


def committed(folder: Path) -> dict[str, bytes]:
    """The page's files that are under version control; figures by name alone, as fonts and matplotlib change them."""
    pages = [folder / "reproduction.md", *folder.glob("data/claim-*.csv"), *folder.glob("figures/claim-*.svg")]
    return {
        str(path.relative_to(folder)): b"" if path.suffix == ".svg" else path.read_bytes() for path in sorted(pages)
    }


def write_specs(store: Store, plan: Plan) -> None:
    for key, phase in plan.phases.items():
        store.phase(key).write_spec(phase.spec.model_dump(mode="json"))


def test_the_committed_page_is_what_the_archives_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    store = import_all(Path("reproduction"), tmp_path / "results")
    write_reproduction(load_claims(Path("reproduction/claims.yaml")), store, tmp_path / "docs")
    assert committed(tmp_path / "docs") == committed(ROOT / "docs"), "`make reproduction-page` writes it anew"


def test_the_committed_page_on_tuning_is_what_the_archives_give(tmp_path: Path) -> None:
    script = runpy.run_path(str(ROOT / "reproduction/tuning.py"))
    script["write"](ROOT / "reproduction", tmp_path / "tuning.md")
    written = (tmp_path / "tuning.md").read_text()
    assert written == (ROOT / "docs/tuning.md").read_text(), "`make reproduction-page` writes it anew"
    chosen = re.findall(r"Chosen: \*\*coefficient ([\d,]+) on (.*)\*\*", written)
    default: Any = options_model()()
    names = {"actor": "actor", "actor_critic": "actor and critic"}
    assert chosen == [
        (f"{default.ewc_coef:,g}", names[default.ewc_parts]),
        (f"{default.ancl_coef:,g}", names[default.ancl_parts]),
    ]


def test_a_coefficient_at_an_end_of_the_grid_is_called_so() -> None:
    said = runpy.run_path(str(ROOT / "reproduction/tuning.py"))["_at_an_end"]
    tried = pd.Series([0.0, 1.0, 10.0, 100.0])
    assert said(1.0, tried) == " No smaller one was tried, but none at all."
    assert (said(10.0, tried), said(100.0, tried)) == ("", " No greater one was tried.")


def test_the_coefficient_with_the_highest_mean_is_chosen() -> None:
    """Of equals the smallest; one that a pair lacks is none."""
    script = runpy.run_path(str(ROOT / "reproduction/tuning.py"))
    rows = [
        # coefficient, parts, pair, seed, stability, plasticity
        (0.0, "-", "a > b", 100, 0.2, 1.0), (0.0, "-", "b > a", 100, 0.4, 1.0),
        (10.0, "actor", "a > b", 100, 0.9, 0.7), (10.0, "actor", "b > a", 100, 0.8, 0.8),
        (1.0, "actor", "a > b", 100, 0.8, 0.6), (1.0, "actor", "a > b", 101, 1.0, 0.8),
        (1.0, "actor", "b > a", 100, 0.7, 0.9), (1.0, "actor", "b > a", 101, 0.9, 0.7),
        (100.0, "actor", "a > b", 100, 1.0, 1.0),
    ]  # fmt: skip
    found = script["table"](
        pd.DataFrame(rows, columns=["coefficient", "parts", "pair", "seed", "stability", "plasticity"])
    )
    # 10: (0.9 + 0.7 + 0.8 + 0.8) / 4; 1: (0.9 + 0.7 + 0.8 + 0.8) / 4, by its seeds' means; 0: (0.2 + 1 + 0.4 + 1) / 4.
    assert list(found["coefficient"]) == [1.0, 10.0, 0.0]
    assert list(found["mean"]) == [0.8, 0.8, 0.65]
    assert list(found["seeds"]) == [2, 1, 1]


@pytest.mark.parametrize("sweep", ["tuning_ewc", "tuning_ancl"])
def test_every_configuration_of_a_tuning_sweep_is_told_from_the_others(sweep: str) -> None:
    script = runpy.run_path(str(ROOT / "reproduction/tuning.py"))
    plan = make_plan(sweep, load_sweep(sweep).sweeps)
    found = {script["configuration"](plan.phases[trial.phases[-1]].spec) for trial in plan.trials}
    grid = {(10.0**power, parts) for power in range(6) for parts in ("actor", "actor and critic")}
    assert found == grid | {(0.0, "-")}
    assert len(found) == script["CONFIGURATIONS"]


def test_a_page_of_results_from_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = tmp_path / "small.yaml"
    sweep.write_text(
        "benchmark: metaworld\npairs: [drawer-close:door-close]\nmethods: [replay_only, nbsp]\nseeds: 0-4\n"
        "first: {env_steps: 20_000}\nsecond: {env_steps: 20_000, stop: fixed}\nevaluation: {deterministic: false}\n"
    )
    (tmp_path / "claims.yaml").write_text(CLAIMS.format(sweep=sweep))
    store, plan = Store(tmp_path / "results", create=True), make_plan("small", load_sweep(str(sweep)).sweeps)
    write_specs(store, plan)
    for trial in plan.trials:
        (first, second), (one, other) = trial.phases, trial.tasks
        kept = 180 - trial.seed if trial.method == "nbsp" else 100 + 2 * trial.seed
        if not store.phase(first).done():
            learn(store, plan, first, evaluations(one, (0, 0.5, 1, 1, 1), every=5_000), env_steps=20_000)
            write_evaluations(store, plan, first, one, 200 if trial.seed else 60)
        learn(store, plan, second, evaluations(other, (0, 0.5, 1, 1, 1), every=5_000), env_steps=20_000)
        write_evaluations(store, plan, second, one, kept)
        write_evaluations(store, plan, second, other, 150 + trial.seed * (1 if trial.method == "nbsp" else -1))
    pack(plan, store, tmp_path / "archives/small.results.tar.xz")

    for name, given in (("one", ["--archives", "archives"]), ("two", ["--root", "results"])):
        run = CliRunner().invoke(app, ["claims", "claims.yaml", *given, "--to", name])
        assert run.exit_code == 0, run.output
        assert f"2 claims: {name}/reproduction.md" in run.output
    assert committed(tmp_path / "one") == committed(tmp_path / "two")
    run = CliRunner().invoke(app, ["claims", "claims.yaml"])
    assert (run.exit_code, (tmp_path / "docs").exists()) == (0, False)
    assert committed(tmp_path / "results/reports/claims") == committed(tmp_path / "two")
    run = CliRunner().invoke(app, ["claims", "claims.yaml", "--root", "elsewhere"])
    assert run.exit_code != 0
    assert "There is no folder elsewhere" in str(run.exception)

    text = (tmp_path / "one/reproduction.md").read_text()
    glance = {row.split(" | ")[2]: row for row in text.splitlines() if row.startswith("| [C4]")}
    assert list(glance) == ["at reduced scale"]
    assert "At the paper's scale: nothing has run yet." in text
    # (180 - s - 100 - 2 s) / 200 for seeds 0 to 4: mean 74 / 200, s = 3 x 1.5811 / 200, half = 2.7764 s / sqrt(5)
    assert "| confirmed | stability, nbsp - replay_only: 0.37 [0.34, 0.40]; plasticity" in glance["at reduced scale"]
    assert "| 5 x 1 | 0.2 CPU |" in glance["at reduced scale"]  # 15 phases of 36 s: 0.15 h
    assert "0.34, 0.37, 0.40" in text
    assert "2 of 10 numbers rest on a first phase that did not learn its task (success below 0.5). Without" in text
    assert "not the paper's pair" in text
    # nbsp 180 - s, replay_only 100 + 2 s, of 200
    assert "| stability | nbsp | drawer-close > door-close | 0.89 | 0.88, 0.89, 0.90 | 1 of 5 [0.01, 0.72] |" in text
    assert (
        "| stability | replay_only | drawer-close > door-close | 0.52 | 0.50, 0.52, 0.54 | 0 of 5 [0.00, 0.52] |"
        in text
    )
    assert "Not run. No sweep ships yet." in text
    assert "![C4: masking adds to replay](figures/claim-C4-reduced.svg)" in text
    assert (tmp_path / "one/figures/claim-C4-reduced.svg").read_text().count("<use") >= 10  # a dot for each seed
    rows = pd.read_csv(tmp_path / "one/data/claim-C4.csv")
    assert len(rows) == 10
    assert set(" ".join(rows["keys"]).split()) == set(plan.phases)
    assert rows["scale"].str.contains("not the paper's pair").all()
    page = (tmp_path / "one/reproduction.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!#|data:|data/claim-C4.csv")', page)
    assert "C4, at reduced scale: confirmed" in page


def test_archives_that_differ_are_no_page(tmp_path: Path) -> None:
    for number in (0, 1):
        store = Store(tmp_path / f"root{number}", create=True)
        plan = make_plan("toy", load_sweep("toy", ["methods=base"]).sweeps)
        trial = plan.trials[0]
        write_specs(store, plan)
        learn(store, plan, trial.phases[0], [], digest=str(number))
        write_evaluations(store, plan, trial.phases[0], trial.tasks[0], 5, deterministic=5)
        pack(plan, store, tmp_path / f"archives/{number}.results.tar.xz")
    with pytest.raises(ArchiveError, match=r"1\.results\.tar\.xz differs from the archives before it in [0-9a-f]{20}"):
        import_all(tmp_path / "archives", tmp_path / "results")


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (nbsp_ray.__version__, "MIT")
