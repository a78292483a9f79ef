"""From a key to all that there is of a phase, and back: the command that it gives trains that very phase."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from phase_files import path_of

from nbsp_ray.local import run_trial
from nbsp_ray.plan.halves import needed
from nbsp_ray.specs import Plan
from nbsp_ray.store import Store
from nbsp_ray.store.places import sizes
from nbsp_ray.sweepfile import load_sweep
from nbsp_ray.verbs._common import DONE, USAGE
from nbsp_ray.verbs.show import _print as print_phase

Run = Callable[..., tuple[int, str, str]]
SETTINGS = [
    *("methods=nbsp", "seeds=0-1", "skill_neurons=0.1,12", "method.replay_interval=5,20", "sac.gamma=0.9"),
    *("first.env_steps=500", "second.env_steps=400", "evaluation.episodes=4", "resources.checkpoint_minutes=3"),
]


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Plan]:
    """A results root with one trial of a sweep that varies a setting of its method: the last one of all."""
    store = Store(tmp_path_factory.mktemp("show") / "results", create=True)
    plan = load_sweep("toy", SETTINGS).plan(store)
    store.write_sweep("toy", {"title": "", "overrides": SETTINGS, "given": "toy"})
    assert run_trial(plan, plan.trials[-1], store)
    return store, plan


@pytest.fixture
def show(learnt: tuple[Store, Plan], command_line: Run) -> Run:
    return lambda *words: command_line("show", *words, "--root", str(learnt[0].root))


def test_all_there_is_of_a_phase(learnt: tuple[Store, Plan], show: Run) -> None:
    store, plan = learnt
    first, last = plan.trials[-1].phases
    code, out, _ = show(last[:7], "--json")
    assert code == DONE
    found = json.loads(out)
    assert (found["key"], found["state"], found["sweep"]) == (last, "done", "toy")
    assert found["label"] == plan.phases[last].label
    assert found["starts_from"] == first
    assert found["result"]["env_steps"] == 400
    assert found["settings"]["sac"]["gamma"] == 0.9
    assert found["neurons"]["actor"]["selected"] == 12
    assert found["folder"] == str(store.root / "phases" / last)
    assert len([file for file in found["files"] if "result" in file]) == 1
    assert [row["env_steps"] for row in found["curve"]][-1] == 400
    for one in found["evaluations"]:
        episodes = json.loads((store.root / one["file"]).read_text())
        assert one["succeeded"] == sum(episodes["success"])
        assert one["episodes"] == len(episodes["success"]) == 4
        assert one["success_rate"] == pytest.approx(one["succeeded"] / 4)
    assert [one["number"] for one in found["evaluations"]] == [
        "second task, most likely actions",
        "second task",
        "first task after, most likely actions",
        "first task after",
    ]
    assert json.loads(show(first, "--json")[1])["started_by"] == [last]


def test_people_read_the_same(learnt: tuple[Store, Plan], show: Run) -> None:
    store, plan = learnt
    first, last = plan.trials[-1].phases
    code, out, _ = show(last)
    assert code == DONE
    found = json.loads(show(last, "--json")[1])
    for one in found["evaluations"]:
        assert f"{one['succeeded']} of 4 succeeded" in out
        assert one["file"] in out
    assert "interval 20" in out
    assert "replay_interval=20" in out
    assert f"nbsp-ray watch {last[:8]} --root {store.root}\n" in out
    assert "first task before" in show(first)[1]


def test_of_neurons_drawn_at_random_it_is_said(
    learnt: tuple[Store, Plan], show: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(show(learnt[1].trials[-1].phases[-1], "--json")[1])
    for undefined, below in ((False, 7), (True, None)):
        found["result"]["score_undefined"] = undefined
        found["neurons"] = {"actor": {"selected": 12, "selected_near_constant": 3, "selected_below_constant": below}}
        capsys.readouterr()
        print_phase(found)
        out = capsys.readouterr().out
        assert ("the neurons were drawn at random" in out) == undefined
        (row,) = [line.split() for line in out.splitlines() if line.startswith("actor ")]
        assert row == ["actor", "12", "-", "-", "3", str(below or "-"), "-", "-"]


def test_a_film_is_named_once_it_is_there(learnt: tuple[Store, Plan], show: Run) -> None:
    store, plan = learnt
    last = plan.trials[-1].phases[-1]
    for folder in ("films/" + last, "toy/films/" + plan.trials[-1].name):
        store.files.write(f"reports/{folder}/1-reach-after-reach.mp4", b"")
    films = json.loads(show(last, "--json")[1])["films"]
    assert [Path(film).is_file() for film in films] == [True, True]


def test_the_command_trains_the_very_phase_again(learnt: tuple[Store, Plan], show: Run, tmp_path: Path) -> None:
    _, plan = learnt
    for key in plan.trials[-1].phases:
        program, verb, sweep, *settings, option, root = shlex.split(json.loads(show(key, "--json")[1])["rerun"])
        assert (program, verb, option, root) == ("nbsp-ray", "try", "--root", "rerun")
        again = load_sweep(sweep, settings).plan(None)
        assert len(again.trials) == 1
        assert key in needed(again, again.trials)
        assert "resources.checkpoint_minutes=3" in settings


def test_a_prefix_of_several_keys_names_them(show: Run, learnt: tuple[Store, Plan]) -> None:
    first, last = learnt[1].trials[-1].phases
    store = Store(learnt[0].root)
    twin = last[:6] + "f" * 14
    store.files.write(f"phases/{twin}/spec.json", b"{}")
    try:
        code, out, err = show(last[:6])
        assert (code, out) == (USAGE, "")
        assert all(key in err for key in (last, twin))
        assert first not in err
    finally:
        store.files.remove(f"phases/{twin}")
    assert "has no phase 'ffff'" in show("ffff")[2]


def test_a_phase_of_no_known_sweep_is_shown_all_the_same(learnt: tuple[Store, Plan], show: Run) -> None:
    store, plan = learnt
    data = store.read_sweep("toy")
    assert data is not None
    store.files.remove("sweeps/toy.json")
    try:
        code, out, _ = show(plan.trials[-1].phases[-1])
    finally:
        store.write_sweep("toy", data)
    assert code == DONE
    assert "reach > avoid, replay and mask, seed 1: done" in out
    assert "No sweep that was run here" in out


def test_explain_of_a_key_says_who_knows_it(command_line: Run) -> None:
    code, out, _ = command_line("explain", "b3e3cb29")
    assert code == DONE
    assert "`nbsp-ray show b3e3cb29` shows the phase" in out


# What is in a results root


def test_status_without_a_sweep_lists_the_root(learnt: tuple[Store, Plan], command_line: Run) -> None:
    store, plan = learnt
    store.files.write(f"phases/{'0' * 20}/spec.json", b"{}")
    any_key = plan.trials[-1].phases[0]
    code, out, _ = command_line("status", "--root", str(store.root), "--json")
    store.files.remove(f"phases/{'0' * 20}")
    assert code == DONE
    found: dict[str, Any] = json.loads(out)
    (sweep,) = found["sweeps"]
    assert (sweep["name"], sweep["overrides"]) == ("toy", SETTINGS)
    assert (sweep["trials"], sweep["trials_done"]) == (8, 1)
    assert (sweep["phases"], sweep["done"], sweep["failed"], sweep["at_work"]) == (10, 2, 0, 0)
    assert sweep["hosts"] == [(store.phase(any_key).manifest() or {})["host"]]
    seconds = sum((store.phase(key).result() or {})["seconds"] for key in plan.trials[-1].phases)
    assert sweep["hours"] == pytest.approx(seconds / 3600)
    assert sweep["bytes"] == sum(sizes(store.files)[key] for key in plan.trials[-1].phases)
    assert (found["phases"], found["other_phases"]) == (3, ["0" * 20])
    code, out, _ = command_line("status", "--root", str(store.root))
    assert code == DONE
    assert out.startswith(f"{store.root}\n  1 sweep, 2 phases, ")
    assert "1 of 8" in out


@pytest.mark.parametrize("name", ["manifest.json", "result.json"])
def test_a_damaged_phase_is_no_end_of_the_list(learnt: tuple[Store, Plan], command_line: Run, name: str) -> None:
    store, plan = learnt
    path = path_of(store, store.phase(plan.trials[-1].phases[0]), name)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    code, out, _ = command_line("status", "--root", str(store.root), "--json")
    path.write_bytes(whole)
    assert code == DONE
    (sweep,) = json.loads(out)["sweeps"]
    assert sweep["done"] == 2 - (name == "result.json")
    assert len(sweep["hosts"]) == 1, "of the phase that is whole"


def test_a_sweep_that_cannot_be_planned_any_more_is_said(tmp_path: Path, command_line: Run) -> None:
    store = Store(tmp_path, create=True)
    store.write_sweep("gone", {"title": "", "overrides": []})
    code, out, _ = command_line("status", "--root", str(tmp_path))
    assert code == DONE
    assert "gone was run here, and cannot be planned any more: no sweep 'gone'" in out


def test_a_sweep_elsewhere_is_found_again(tmp_path: Path, command_line: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was given by its path, from another folder."""
    from nbsp_ray.verbs._common import remember

    (tmp_path / "mine.yaml").write_text("title: mine\nbenchmark: toy\nmethods: [base]\nseeds: 0\n")
    store = Store(tmp_path / "results", create=True)
    monkeypatch.chdir(tmp_path)
    remember(store, load_sweep("./mine.yaml"))
    monkeypatch.chdir("/")
    _, out, _ = command_line("status", "--root", str(store.root), "--json")
    (sweep,) = json.loads(out)["sweeps"]
    assert (sweep["problem"], sweep["trials"]) == (None, 1)


def test_an_imported_phase_is_not_to_be_filmed(tmp_path: Path, command_line: Run) -> None:
    archive = next((Path(__file__).parents[2] / "reproduction").glob("reproduction_1-*.results.tar.xz"))
    root = ["--root", str(tmp_path / "results")]
    assert command_line("import", str(archive), *root)[0] == DONE
    key = Store(tmp_path / "results").phases()[0]
    code, out, _ = command_line("show", key[:8], *root)
    assert code == DONE
    assert "(sweep reproduction_1): done" in out
    assert "It came from an archive: its agent, buffer and env steps are elsewhere." in out
    assert "nbsp-ray watch" not in out
    assert "run it again nbsp-ray try reproduction_1 " in out
