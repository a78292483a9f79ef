"""`nbsp-ray probe` as a user meets it, and what becomes of its numbers."""

import errno
import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console
from toy_phases import SMALL, run_whole

from analysis.probe.figure import probe_figure
from analysis.probe.frames import Probe, effects, overlap
from analysis.probe.report import cautions, show_probe, write_probe
from nbsp_ray.plan.build import make_plan
from nbsp_ray.probe.request import Answer, Cell, NetworkScores, Probed, Request, find_targets
from nbsp_ray.store import PhaseFolder, Store
from nbsp_ray.sweepfile import load_sweep
from nbsp_ray.verbs import probe as verb

Run = Callable[..., tuple[int, str, str]]
QUICK = ("--counts", "0,2,0.5", "--episodes", "4", "--draws", "2")
COMMON = ("benchmark", "sac", "first", "evaluation")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep file: seeds 0 and 1 are trained, seed 2 is not; seed 1 never succeeds while it is scored."""
    settings = {name: SMALL[name] for name in COMMON} | {"methods": ["nbsp"], "pairs": "reach:avoid", "seeds": "0-2"}
    settings["sac"] = settings["sac"] | {"hidden": list(settings["sac"]["hidden"])}
    path = tmp_path_factory.mktemp("sweeps") / "little.yaml"
    path.write_text(yaml.safe_dump(settings | {"title": "A little sweep"}))
    store = Store(path.parent / "results", create=True)
    for phase in make_plan("little", load_sweep(str(path), ["seeds=0-1"]).sweeps).phases.values():
        if phase.spec.index == 0:
            run_whole(store, phase)
    return path


@pytest.fixture
def nbsp_ray(monkeypatch: pytest.MonkeyPatch, command_line: Run, sweep: Path) -> Run:
    """`command_line` in the folder of the sweep, with results there."""
    monkeypatch.setenv("NBSP_RAY_ROOT", str(sweep.parent / "results"))
    monkeypatch.chdir(sweep.parent)
    return command_line


def flat(text: str) -> str:
    return " ".join(text.split())


def test_it_writes_a_page_tables_and_a_figure(nbsp_ray: Run, sweep: Path) -> None:
    code, out, err = nbsp_ray("probe", "./little.yaml", *QUICK)
    assert code == 0
    assert err.splitlines() == [
        "Not trained yet, left out: reach, first phase, seed 2",
        "Report: results/reports/little/probe.md",
    ]
    for words in (
        "Silencing neurons of the actor", "Silencing neurons of the critics", "The scores", "11 of 22",
        "Score undefined, as q is the same at all scoring steps: reach, seed 1.",
        "Not trained yet, and so missing: reach, first phase, seed 2.", "Not learnt",
    ):  # fmt: skip
        assert words in flat(out)
    folder = sweep.parent / "results/reports/little"
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        "probe.md", "tables/probe.csv", "tables/probe_contrasts.csv", "tables/probe_actor.csv",
        "tables/probe_critics.csv", "tables/probe_scores.csv",
        "figures/probe.svg", "figures/probe.pdf", "figures/probe.png",
    }  # fmt: skip
    page = (folder / "probe.md").read_text()
    assert page.startswith("# A little sweep: what the neurons do\n")
    assert "(figures/probe.svg)" in page
    assert "score undefined" in page
    cells = pd.read_csv(folder / "tables/probe.csv")
    assert len(cells) == 3 * (1 + 2 * 4) + 3 * (1 + 2 * 2)
    assert set(cells[cells["seed"] == 1]["choice"]) == {"none", "random"}
    assert set(cells["count"]) == {0, 2, 11}
    assert (cells[cells["choice"] == "none"]["effect"] == 0).all()


def test_the_same_again_measures_nothing_and_gives_the_same_bytes(
    nbsp_ray: Run, sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nbsp_ray("probe", "little.yaml", *QUICK)[0] == 0
    folder = sweep.parent / "results/reports/little"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setattr("nbsp_ray.probe.measure.silence", None)
    monkeypatch.setattr("nbsp_ray.probe.measure.measure_network", None)
    assert nbsp_ray("probe", "little.yaml", *QUICK)[0] == 0
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_in_a_root_of_another_user_it_is_measured_and_written_elsewhere(
    nbsp_ray: Run, sweep: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def not_ours(*given: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    root, words = sweep.parent / "results", ("--counts", "0", "--episodes", "1", "--network", "actor")
    monkeypatch.setattr(verb.os, "access", lambda path, how: Path(path) != root)
    monkeypatch.setattr(PhaseFolder, "write_probe", not_ours)
    before = sorted(root.rglob("*"))
    code, _, err = nbsp_ray("probe", "little.yaml", *words)
    assert (code, err.splitlines()[-1]) == (2, f"{root} cannot be written: name a folder for the report with --to")
    code, _, err = nbsp_ray("probe", "little.yaml", *words, "--to", str(tmp_path / "mine"))
    assert code == 0, err
    assert "What is measured is not kept, as results cannot be written" in err
    assert (tmp_path / "mine/probe.md").is_file()
    assert sorted(root.rglob("*")) == before


def test_json(nbsp_ray: Run) -> None:
    code, out, _ = nbsp_ray("probe", "little.yaml", *QUICK, "--network", "critic", "--json")
    found = json.loads(out)
    assert code == 0
    assert set(found) == {"sweep", "draws", "unfinished", "cells", "contrasts", "scores", "overlap"}
    assert (found["sweep"], found["draws"]) == ("little", 2)
    assert found["unfinished"] == ["reach, first phase, seed 2"]
    assert {cell["network"] for cell in found["cells"]} == {"q1", "q2"}
    first, drawn = found["cells"][0], next(cell for cell in found["cells"] if cell["choice"] == "random")
    assert (first["choice"], first["draw"], first["success"], first["value_change"]) == ("none", None, None, 0)
    assert (drawn["draw"], sum(drawn["per_layer"]), drawn["seed"]) == (0, 2, 0)
    undefined = [row for row in found["scores"] if row["seed"] == 1]
    assert all(row["score_undefined"] and row["selected_per_layer"] is None for row in undefined)
    assert found["overlap"] == []


def test_one_command_asks_for_every_score(nbsp_ray: Run) -> None:
    """A row per first phase, score, share and choice; silenced at random are the same neurons whatever the score."""
    words = ("--network", "actor", "--counts", "0.1,0.2", "--score", "paper,dormant", "--score", "importance")
    code, out, _ = nbsp_ray("probe", "little.yaml", *words, "--episodes", "4", "--draws", "2", "--json")
    assert code == 0
    found = json.loads(out)
    of_scores = pd.DataFrame(found["cells"])
    rows = of_scores.groupby(["seed", "score"])["choice"].agg(list).to_dict()
    drawn, scored = ["random", "random"], ["best", "random", "random", "worst"]
    assert {place: sorted(choices) for place, choices in rows.items()} == {
        (seed, score): sorted(["none"] + 2 * (drawn if (seed, score) == (1, "paper") else scored))
        for seed in (0, 1) for score in ("paper", "dormant", "importance")
    }  # fmt: skip
    assert set(of_scores["count"]) == {0, 2, 4}
    assert of_scores["share"].to_list() == pytest.approx(of_scores["count"] / 22)
    random = of_scores[of_scores["choice"] == "random"].groupby(["seed", "count", "draw"])
    assert (random["success"].nunique() == 1).all()
    contrasts = pd.DataFrame(found["contrasts"])
    assert len(contrasts) == 2 * 3 * 2
    undefined = contrasts[(contrasts["seed"] == 1) & (contrasts["score"] == "paper")]
    assert undefined["best_minus_random"].isna().all()
    assert contrasts.drop(undefined.index)["best_minus_random"].notna().all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--network", "aktor"], "no network 'aktor' (did you mean 'actor'?); there are actor, q1, q2, and critic"),
        (["--network", "actor,q3"], "no network 'q3'"),
        (["--score", "taylor"], "--score: no score 'taylor'; there are paper, balanced, dormant, importance"),
        (["--counts", "0,23"], "--counts: 23 is more than the 22 hidden neurons of each network of reach (12 + 10)"),
        (["--counts", "0.1,1.5"], "--counts: 1.5 is more than all; 1.0 is all neurons"),
        (["--counts=-1"], "--counts: -1 is no number of neurons; the least is 0"),
        (["--counts", "nan"], "--counts: nan is no number of neurons"),
        (["--counts", "5%"], "--counts: '5%' is not a number; write counts (13) or fractions"),
        (["--counts", ""], "--counts: '' is not a number"),
        (["--episodes", "0"], "--episodes"),
        (["seeds=7"], "no first phase of little is trained yet; `nbsp-ray run"),
        (["sac.gama=0.9"], "did you mean 'sac.gamma'?"),
    ],
)
def test_bad_usage_is_one_clear_message(nbsp_ray: Run, sweep: Path, words: list[str], message: str) -> None:
    code, out, err = nbsp_ray("probe", "little.yaml", *words)
    assert code == 2
    assert message in flat(err)
    assert "Traceback" not in err
    assert out == ""


def test_a_root_without_anything_is_not_made(nbsp_ray: Run, tmp_path: Path) -> None:
    code, _, err = nbsp_ray("probe", "little.yaml", "--root", str(tmp_path / "none"))
    assert code == 2
    assert f"--root {tmp_path / 'none'}` starts it" in err
    assert not (tmp_path / "none").exists()


def test_bad_usage_is_answered_without_torch(sweep: Path) -> None:
    code = (
        "import sys; from nbsp_ray.verbs import main as cli\n"
        "sys.argv = ['nbsp-ray', 'probe', 'little.yaml', '--counts', '99']\n"
        "try: cli.main()\n"
        "except SystemExit: print(*sorted({'torch', 'ray', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=sweep.parent)
    assert "99 is more than the 22" in found.stderr
    assert found.stdout.strip() == ""


def test_ctrl_c_says_what_is_kept(nbsp_ray: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: verb.ProbeProgress, done: int, total: int, what: str) -> None:
        self.done, self.total = done, total
        if done == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(verb.ProbeProgress, "__call__", stop)
    code, out, err = nbsp_ray("probe", "little.yaml", *QUICK)
    assert code == 3
    assert "Stopped after 5 of 42 measurements; all are kept, the same command goes on" in err
    assert out == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_a_bar_on_a_terminal_and_now_and_then_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, terminal: bool
) -> None:
    monkeypatch.setattr(verb, "plain_console", lambda **kwargs: Console(**kwargs, force_terminal=terminal, width=100))
    with verb.ProbeProgress(seconds=0) as progress:
        progress(3, 9, "reach, seed 0: 5 neurons of actor silenced")
    assert (progress.done, progress.total) == (3, 9)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert ("3 of 9: reach, seed 0" if not terminal else "3/9") in printed.err


# Numbers by hand

LAYERS = (2, 2)


def test_overlap_by_hand() -> None:
    """A = {0, 1}, both in the first layer; B = {1, 2}, one in each: 2 x 1/2 + 0 x 1/2 = 1 is shared layer by layer."""
    found = overlap([frozenset({0, 1}), frozenset({1, 2})], LAYERS)
    assert found == pytest.approx({
        "shared": 0.5, "shared_chance": 0.5, "shared_chance_in_layers": 0.5, "jaccard": 1 / 3,
        "jaccard_chance": 4 / 6 * 1 / 3 + 1 / 6,
    })  # fmt: skip
    same = overlap([frozenset({0, 3})] * 3, LAYERS)
    assert (same["shared"], same["jaccard"]) == (1, 1)
    apart = overlap([frozenset({0, 1}), frozenset({2, 3})], LAYERS)
    assert (apart["shared"], apart["jaccard"], apart["shared_chance_in_layers"]) == (0, 0, 0)


def test_overlap_of_random_sets_is_at_chance() -> None:
    rng = np.random.default_rng(0)
    sets = [frozenset(rng.permutation(40)[:12].tolist()) for _ in range(200)]
    found = overlap(sets, (25, 15))
    assert found["shared"] == pytest.approx(found["shared_chance"], abs=0.005)
    assert found["shared_chance_in_layers"] == pytest.approx(found["shared_chance"], abs=0.005)
    assert found["jaccard"] == pytest.approx(found["jaccard_chance"], abs=0.005)


REQUEST = Request(("actor", "q1"), (0, 2), episodes=4, draws=2)
Effects = Mapping[str, float]


def made_up(seed: int, success: Effects, change: Effects, *, defined: bool = True) -> Probed:
    """Four neurons, two of them silenced, with given results; `random` has draws 0 and 1."""
    sweep = SMALL | {"seeds": (seed,), "sac": {"hidden": LAYERS}, "skill_neurons": (0.5,)}
    from nbsp_ray.config.schema import Sweep

    (target,) = find_targets("x", [Sweep.model_validate(sweep)], REQUEST)
    scores = NetworkScores(
        steps=8,
        positive_share=0.5,
        ranking=(1, 3, 0, 2) if defined else None,
        score=(0.6, 0.9, 0.5, 0.8),
        constant=(2,),
        dead=(2,),
        split_half=0.25,
        split_half_neurons=3,
    )
    cells = {"best": ("best", None, (1, 3)), "worst": ("worst", None, (0, 3))}
    cells |= {f"random{n}": ("random", n, (0, 1)) for n in range(2)}
    answers: list[tuple[Cell, Answer]] = []
    for network, found in (("actor", success), ("q1", change)):
        for name, value in found.items():
            choice, draw, neurons = cells.get(name, ("none", None, ()))
            wins = tuple([1] * round(4 * value) + [0] * round(4 - 4 * value))
            numbers: dict[str, Any] = {"success": wins}
            if network != "actor":
                numbers = {"value_change": value, "td_error": 0.1 + 2 * value}
            cell = Cell(network, choice, draw, neurons, 4)  # type: ignore[arg-type]
            answers.append((cell, Answer(network=network, neurons=neurons, **numbers)))
    return Probed(target, dict.fromkeys(("actor", "q1", "q2"), scores), tuple(answers))


@pytest.fixture
def two_seeds() -> list[Probed]:
    return [
        made_up(
            0,
            {"none": 1.0, "best": 0.25, "random0": 0.5, "random1": 1.0, "worst": 1.0},
            {"none": 0.0, "best": 2.0, "random0": 1.0, "random1": 2.0, "worst": 0.5},
        ),
        made_up(
            1,
            {"none": 0.75, "best": 0.25, "random0": 0.5, "random1": 0.5, "worst": 0.75},
            {"none": 0.0, "best": 3.0, "random0": 1.0, "random1": 1.0, "worst": 0.5},
        ),
    ]


def test_effects_by_hand(two_seeds: list[Probed]) -> None:
    found = effects(Probe.of(two_seeds, REQUEST).cells).set_index(["network", "choice"])
    actor = found.loc["actor"]
    assert actor["success_mean"].to_dict() == {"none": 0.875, "best": 0.25, "random": 0.625, "worst": 0.875}
    assert actor["drop_mean"].to_dict() == {"none": 0, "best": 0.625, "random": 0.25, "worst": 0}
    # best - random, by seed: 0.75 - 0.25 and 0.5 - 0.25; two seeds have no interval
    assert actor.loc["best", "minus_random_mean"] == 0.375
    assert actor.loc["best", "minus_random_se"] == pytest.approx(0.125)
    assert math.isnan(actor.loc["best", "minus_random_high"])
    q1 = found.loc["q1"]
    assert q1["value_change_mean"].to_dict() == {"none": 0, "best": 2.5, "random": 1.25, "worst": 0.5}
    assert q1.loc["best", "td_change_mean"] == pytest.approx(5.0)
    assert q1.loc["worst", "minus_random_mean"] == -0.75
    assert math.isnan(q1.loc["best", "success_mean"])


def test_contrasts_by_hand(two_seeds: list[Probed]) -> None:
    found = Probe.of(two_seeds, REQUEST).contrasts.set_index(["network", "seed"])
    assert (found["count"] == 2).all()
    assert (found["share"] == 0.5).all()
    # Seed 0 drops by .75 with the best, by (.5 + 0) / 2 with random ones; seed 1 by .5 and .25.
    assert found.loc["actor", "best_minus_random"].tolist() == [0.75 - 0.25, 0.5 - 0.25]
    assert found.loc["actor", "worst_minus_random"].tolist() == [-0.25, -0.25]
    assert found.loc["q1", "best_minus_random"].tolist() == [0.5, 2.0]


def test_tables_of_two_seeds(two_seeds: list[Probed]) -> None:
    probe = Probe.of(two_seeds, REQUEST)
    actor, critics, scores, shared = show_probe(probe)
    assert actor.text.to_dict("records")[1] == {
        "task": "reach", "silenced": "2 of 4", "seeds": "2", "best": "0.25 (2 of 2 seeds equal) (0.63)",
        "random": "0.63 ± 0.13 (0.25)", "worst": "0.88 ± 0.13 (0.00)",
        "best minus random": "0.38", "worst minus random": "-0.25 (2 of 2 seeds equal)",
    }  # fmt: skip
    assert critics.text["best"].tolist() == ["0.00 (2 of 2 seeds equal) (0.00)", "2.50 ± 0.50 (5.00)"]
    assert scores.text.to_dict("records")[0] == {
        "task": "reach", "seed": "0", "network": "actor", "p": "0.50", "constant": "0 + 1 of 2 + 2", "dead": "0 + 1",
        "selected": "2", "per layer": "1 + 1", "of these constant": "0", "split-half": "0.25 (n=3)",
    }  # fmt: skip
    assert shared.text["shared"].tolist() == ["1.00", "1.00"]
    assert cautions(probe) == []


def test_a_seed_without_a_score_is_flagged_and_left_out_of_what_needs_one(
    two_seeds: list[Probed], tmp_path: Path
) -> None:
    lost = made_up(2, {"none": 0.0, "random0": 0.0, "random1": 0.0}, {"none": 0.0, "random0": 1.0}, defined=False)
    probe = Probe.of([*two_seeds, lost], REQUEST, ["reach, first phase, seed 9"])
    actor = show_probe(probe)[0].text.to_dict("records")[1]
    assert (actor["seeds"], actor["best"]) == ("3", "0.25 (2 of 2 seeds equal) (0.63) (n=2)")
    assert actor["random"].startswith("0.42 ± 0.22")
    notes = cautions(probe)
    assert "nothing silenced; there is little to break): reach, seed 2." in notes[0]
    assert "Score undefined" in notes[1]
    assert notes[2].endswith("reach, first phase, seed 9.")
    rows = probe.scores[probe.scores["seed"] == 2]
    assert rows["score_undefined"].all()
    assert probe.overlap["seeds"].tolist() == [2, 2]
    page = write_probe(probe, tmp_path, title="T")[0].read_text()
    assert "score undefined" in page
    only = Probe.of([lost], REQUEST)
    assert show_probe(only)[0].text.to_dict("records")[1]["best"] == "-"
    assert probe_figure(only.cells).svg


def test_the_figure_is_the_same_for_the_same_data_and_says_what_it_draws(two_seeds: list[Probed]) -> None:
    cells = Probe.of(two_seeds, REQUEST).cells
    picture = probe_figure(cells)
    assert (picture.svg, picture.png, picture.pdf) == (lambda p: (p.svg, p.png, p.pdf))(probe_figure(cells))
    text = picture.svg.decode()
    for words in ("best-scored", "worst-scored", "reach: actor (n=2)", "neurons silenced, of 4", "drop of success"):
        assert words in text
    assert "standard error" in " ".join(picture.caption)
    one = probe_figure(cells[(cells["seed"] == 0) & (cells["network"] == "actor")])
    assert "One seed: no error bar." in one.caption
    assert probe_figure(cells[cells["choice"] == "none"]).png
