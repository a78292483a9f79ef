"""Code is compiled once, kept with the results, and never stands between a phase and its end."""

import logging
import threading
import time
from pathlib import Path

import pytest
from toy_phases import phase_run, phases_of, run_whole, toy_plan

from nbsp_ray.config import Resources
from nbsp_ray.errors import ConfigError
from nbsp_ray.learning import compiling
from nbsp_ray.learning.machine import machine_name
from nbsp_ray.plan import PlannedPhase
from nbsp_ray.store import Store

ONE_GRAPH = {"sac": {"policy_frequency": 1, "hidden": (8,)}}
"""The smallest there is: the actor takes part in every update."""


def first_phase(**changes: object) -> PlannedPhase:
    return phases_of(toy_plan(**(ONE_GRAPH | changes)), "base")[0]


@pytest.mark.parametrize(
    ("env_steps", "per_env_step", "compiled"), [(50_049, 1.0, False), (50_050, 1.0, True), (25_050, 2.0, True)]
)
def test_auto_goes_by_the_number_of_updates(env_steps: int, per_env_step: float, compiled: bool) -> None:
    spec = first_phase(
        first={"env_steps": env_steps}, sac={"learning_starts": 50, "updates_per_env_step": per_env_step}
    ).spec
    assert compiling.wanted(Resources(), spec) is compiled
    assert compiling.wanted(Resources(compile=True), spec)
    assert not compiling.wanted(Resources(compile=False), spec)


def test_the_first_compiles_and_the_others_wait(tmp_path: Path) -> None:
    at_work, most, made = 0, 0, []

    def compile() -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        time.sleep(0.05)
        made.append((tmp_path / "graph.made").exists())
        at_work -= 1

    threads = [threading.Thread(target=compiling.compile_once, args=(tmp_path, "graph", 1, compile)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert made[0] is False
    compiling.compile_once(tmp_path, "graph", 1, compile)
    assert made[-1] is True


def test_the_environment_may_name_another_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[str] = []

    def look() -> None:
        import os

        seen.append(os.environ["TORCHINDUCTOR_CACHE_DIR"])

    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    for folder in ("one", "other"):
        compiling.compile_once(tmp_path / folder, "graph", 1, look)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "mine")
    compiling.compile_once(tmp_path / "third", "graph", 1, look)
    assert seen == [str(tmp_path / "one"), str(tmp_path / "other"), "mine"]


def test_a_phase_is_compiled_and_resumed_bit_for_bit(compiled_code: None, tmp_path: Path) -> None:
    phase, compiled = first_phase(), Resources(compile=True)
    whole, broken = Store(tmp_path / "whole", create=True), Store(tmp_path / "broken", create=True)
    assert phase_run(whole, phase, compiled).advance(600).done
    assert (whole.compile_cache(machine_name())).is_dir()
    run = phase_run(broken, phase, compiled)
    while run.progress().env_steps < 150:
        run.advance(0)
    run.save()
    # `auto` alone would not compile so short a phase; the checkpoint says that this one was.
    assert phase_run(broken, phase, Resources()).advance(600).done
    results = [store.phase(phase.key).result() for store in (whole, broken)]
    assert results[0] is not None
    assert results[1] is not None
    assert results[0]["digest"] == results[1]["digest"]
    assert results[1]["notes"] == []
    manifests = [store.phase(phase.key).manifest() for store in (whole, broken)]
    assert [manifest and manifest["compiled"] for manifest in manifests] == [True, True]
    eager = Store(tmp_path / "eager", create=True)
    assert run_whole(eager, phase)["digest"] != results[0]["digest"]


def test_auto_goes_on_without_a_compiler_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(compiling, "AUTO_UPDATES", 100)
    phase, store = first_phase(), Store(tmp_path / "auto", create=True)
    with caplog.at_level(logging.WARNING):
        result = run_whole(store, phase)
    (note,) = result["notes"]
    assert "not compiled, which costs time only: there is no C++ compiler no-such-compiler" in note
    assert sum("not compiled" in record.message for record in caplog.records) == 1
    monkeypatch.delenv("CXX")
    monkeypatch.setattr(compiling, "AUTO_UPDATES", 10**9)
    eager = Store(tmp_path / "eager", create=True)
    assert run_whole(eager, phase)["digest"] == result["digest"]


def test_true_does_not_go_on_without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    store = Store(tmp_path / "results", create=True)
    with pytest.raises(ConfigError, match=r"resources\.compile=true, and .*no-such-compiler"):
        phase_run(store, first_phase(), Resources(compile=True)).advance(600)
