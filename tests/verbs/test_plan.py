"""What a plan says of money, machines and time, and that it refuses what `run` refuses, in the same words."""

import json
import math
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nbsp_ray.orchestration import preflight
from nbsp_ray.verbs import _costs
from nbsp_ray.verbs._common import DONE, USAGE

Run = Callable[..., tuple[int, str, str]]
SMALL = ["first.env_steps=500", "second.env_steps=500", "evaluation.episodes=2", "seeds=0", "methods=base"]


@pytest.fixture
def nbsp_ray(monkeypatch: pytest.MonkeyPatch, command_line: Run, tmp_path: Path) -> Run:
    """`command_line`, with results in the test's own folder."""
    monkeypatch.setenv("NBSP_RAY_ROOT", str(tmp_path / "results"))
    return command_line


@pytest.fixture
def planned(nbsp_ray: Run) -> Callable[..., dict[str, Any]]:
    """The JSON of a plan."""
    return lambda *words: json.loads(nbsp_ray("plan", *words, "--json")[1])


def test_gpus_are_counted_and_not_cpus(planned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 CPUs and two GPUs hold two trials that ask for one each, or eight that ask for a quarter."""
    monkeypatch.setattr(preflight, "usable_cpus", lambda: 64)
    monkeypatch.setattr(preflight, "usable_gpus", lambda: 2)
    whole, quarter = (planned("tradeoff", f"resources.gpus={gpus}") for gpus in (1, 0.25))
    assert (whole["cost"]["side_by_side"], quarter["cost"]["side_by_side"]) == (2, 8)
    assert whole["cost"]["gpu_hours"] == pytest.approx(4 * quarter["cost"]["gpu_hours"], rel=1e-6)
    assert whole["cost"]["hours"] == pytest.approx(whole["cost"]["gpu_hours"] / 2, rel=0.02)


def test_eight_machines_that_are_not_here(planned: Any, nbsp_ray: Run) -> None:
    machines = ["--nodes", "8", "--cpus-per-node", "32", "--gpus-per-node", "1"]
    words = ["tradeoff", "resources.gpus=1", *machines, "--per-gpu-hour", "2.10", "--per-cpu-hour", "0.05"]
    plan = planned(*words)
    cost = plan["cost"]
    assert plan["machines"] == [{"cpus": 32, "gpus": 1}] * 8
    assert cost["side_by_side"] == 8
    assert plan["refused"] is None
    # 20 first phases and 180 second ones of 10^6 env steps, at the reference's speed, and their evaluations: a first
    # phase's 200 + 50 episodes of 500 env steps, twice that of a second one.
    hours = (200 * 1_000_000 / 90 + (20 + 2 * 180) * 250 * 500 / 2_500) / 3600
    assert cost["gpu_hours"] == cost["cpu_hours"] == pytest.approx(hours, rel=0.01)
    assert cost["evaluation_hours"] == pytest.approx((20 + 2 * 180) * 250 * 500 / 2_500 / 3600, abs=0.001)
    assert cost["price"] == pytest.approx(cost["gpu_hours"] * 2.10 + cost["cpu_hours"] * 0.05, abs=0.01)
    assert cost["price_of_whole_machines"] == pytest.approx(cost["hours"] * 8 * (2.10 + 32 * 0.05), abs=0.1)
    code, out, _ = nbsp_ray("plan", *words)
    assert code == DONE
    assert f"price perhaps {cost['price']:,.2f}: " in out
    assert "no GPU was timed: this takes each trial, or each lane, on one to be as fast as a CPU core" in out
    assert "perhaps " in out
    assert "at most 6" not in out
    assert "Run it:  nbsp-ray run tradeoff resources.gpus=1 " in out
    assert out.endswith(" --address auto\n")


def test_a_search_on_many_machines_takes_as_long_as_its_rounds(planned: Any) -> None:
    """First phases, the four numbers it begins with, and four more, each when all before are done."""
    machines = ["--nodes", "8", "--cpus-per-node", "32", "--gpus-per-node", "0"]
    first, second = ((1_000_000 / 90 + tasks * 250 * 500 / 2_500) / 3600 for tasks in (1, 2))
    assert planned("tradeoff", *machines)["cost"]["hours"] == pytest.approx(first + second, rel=0.01)
    for at_once, rounds in ((1, 5), (2, 3), (4, 2)):
        found = planned("tradeoff_search", f"search.at_once={at_once}", *machines)["cost"]["hours"]
        assert found == pytest.approx(first + rounds * second, rel=0.01)


def test_the_disk_must_hold_what_all_machines_write_at_once(
    planned: Any, nbsp_ray: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = ["--nodes", "8", "--cpus-per-node", "32", "--gpus-per-node", "0"]
    needed = planned("tradeoff", *machines)["cost"]["peak_disk_gb"]
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: SimpleNamespace(free=0.9e9 * needed))
    asked = f"tradeoff may write {needed:.1f} GB"
    assert asked in nbsp_ray("plan", "tradeoff", *machines)[1]
    assert "may write" not in nbsp_ray("plan", "tradeoff", "--nodes", "1", "--cpus-per-node", "32")[1]


def test_machines_that_cannot_hold_a_trial_are_refused_as_a_cluster_would(nbsp_ray: Run) -> None:
    code, out, err = nbsp_ray("plan", "tradeoff", "resources.gpus=2", "--nodes", "8", "--gpus-per-node", "1")
    assert code == USAGE
    assert err.startswith("a trial asks for resources.gpus=2, and the largest of its machines offers 1 GPUs")
    assert "GPU hours" in out
    assert "Run it:" not in out


@pytest.mark.parametrize(
    "words",
    [["resources.cpus=5000"], ["resources.gpus=1.5"], ["resources.device=cuda"], ["--root", "FILE/results"]],
)
def test_plan_refuses_what_run_refuses_in_the_same_words(nbsp_ray: Run, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "file").write_text("")
    words = [word.replace("FILE", str(tmp_path / "file")) for word in words]
    code, out, err = nbsp_ray("plan", "toy", *words)
    assert (code, nbsp_ray("run", "toy", *words)) == (USAGE, (USAGE, "", err))
    assert "Run it:" not in out
    assert json.loads(nbsp_ray("plan", "toy", *words, "--json")[1])["refused"] == err.strip()


def test_more_gpus_than_there_are_is_what_ray_would_say(nbsp_ray: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with one GPU, which is not here: what torch is asked is passed over."""
    monkeypatch.setattr(preflight, "usable_gpus", lambda: 1)
    monkeypatch.setattr(preflight, "check_here", lambda *given: None)
    code, _, err = nbsp_ray("plan", "toy", "resources.gpus=2")
    assert code == USAGE
    assert err.startswith("a trial asks for resources.gpus=2, and this machine offers 1 GPUs: set resources.gpus to")


def test_what_fits_until_a_time_is_named(nbsp_ray: Run, planned: Any) -> None:
    """One after another on one CPU: the first phases of the pair, and as many second ones as there is time for."""
    words = ["tradeoff", "seeds=0", "pairs=drawer-open:drawer-close", "--nodes", "1", "--cpus-per-node", "1"]
    whole = planned(*words)["cost"]["hours"]
    assert len(planned(*words)["to_halve"]) == 1
    half = time.strftime("%Y-%m-%dT%H:%M", time.localtime(time.time() + whole * 3600 * 0.55))
    until = planned(*words, "--until", half)["until"]
    # A phase takes a tenth, so that there is time for five and a half: the first phase and four numbers.
    assert until["fits"] is False
    assert [trial["skill_neurons"] for trial in until["trials"]] == [0.0, 0.05, 0.1, 0.2]
    _, out, _ = nbsp_ray("plan", *words, "--until", half)
    assert ": 4 of 9 trials, these first:\n" in out
    assert "  drawer-open > drawer-close, nbsp: 0.0, 0.05, 0.1, 0.2 with seed 0\n" in out
    late = time.strftime("%Y-%m-%dT%H:%M", time.localtime(time.time() + whole * 3600 + 120))
    assert planned(*words, "--until", late)["until"]["fits"] is True
    assert "all of 9 trials done by " in nbsp_ray("plan", *words, "--until", late)[1]


@pytest.mark.parametrize("words", [["--until", "yesterday"], ["--nodes", "0"], ["--address", "auto", "--nodes", "2"]])
def test_what_makes_no_sense_is_bad_usage(nbsp_ray: Run, words: list[str]) -> None:
    code, out, err = nbsp_ray("plan", "toy", *words)
    assert (code, out) == (USAGE, "")
    assert "Traceback" not in err
    assert words[-2] in err


def test_a_way_to_halve_costs_what_it_says(planned: Any) -> None:
    whole = planned("tradeoff")
    for half in whole["to_halve"]:
        fewer = planned("tradeoff", half["override"])
        assert fewer["trials"] == half["trials"]
        assert fewer["cost"]["cpu_hours"] / whole["cost"]["cpu_hours"] == pytest.approx(half["share"], abs=1e-3)
        assert half["share"] <= 0.51
        assert half["command"] == f"nbsp-ray plan tradeoff {half['override']}"


def test_a_measurement_tells_what_it_does_and_keeps_what_else_was_busy(
    nbsp_ray: Run, planned: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_costs.os, "getloadavg", lambda: (7.3, 0.0, 0.0))
    code, out, err = nbsp_ray("plan", "toy", *SMALL, "--measure")
    assert code == DONE
    assert "7.3 other processes are busy on" in err
    assert "timing 1 of 1, toy/32-32/" in err
    assert "timing 500 env steps" in err
    assert "while 7.3 other processes were busy on" in out
    (kept,) = json.loads((tmp_path / "results" / "speeds.json").read_text()).values()
    assert kept["load"] == 7.3
    assert kept["host"] == socket.gethostname()
    (speed,) = planned("toy", *SMALL)["cost"]["speeds"].values()
    assert (speed["source"], speed["load"]) == ("measured", 7.3)
    assert math.isfinite(speed["env_steps_per_second"])
