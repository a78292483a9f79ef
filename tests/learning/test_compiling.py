"""Code is compiled once, kept on the machine, and never stands between a phase and its end."""

import logging
import os
import threading
import time
from pathlib import Path

import pytest
import torch
from toy_phases import phase_run, phases_of, run_whole, toy_plan

from nbsp_ray import folders
from nbsp_ray.benchmarks import Continuous, Spaces, Vector
from nbsp_ray.config.schema import Resources, Sac
from nbsp_ray.errors import ConfigError
from nbsp_ray.learning import compiling, execution
from nbsp_ray.learning.agent import Agent
from nbsp_ray.learning.machine import machine_name
from nbsp_ray.learning.sac import QuadraticPenalty, UpdateRule
from nbsp_ray.specs import PlannedPhase
from nbsp_ray.status import sweep_status
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
        made.append(any(tmp_path.glob("*-graph.made")))
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
    from torch._inductor.runtime.cache_dir_utils import cache_dir  # Slow to load, for workers of other files too.

    seen: list[str] = []

    def look() -> None:
        seen.append(cache_dir())

    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    assert os.environ.get("TORCHINDUCTOR_CACHE_DIR", "") == ""
    assert Path(cache_dir()) == Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])  # Torch has named its own.
    for folder in ("one", "other"):
        compiling.compile_once(tmp_path / folder, "graph", 1, look)
    mine = str(tmp_path / "mine")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", mine)
    compiling.compile_once(tmp_path / "third", "graph", 1, look)
    assert seen == [str(tmp_path / "one"), str(tmp_path / "other"), mine]


class Instructions:
    """A kind of vector instructions, which notes when it is tried."""

    def __init__(self, name: str, known: bool, tried: list[str]) -> None:
        self.name, self.known, self.tried = name, known, tried

    def __str__(self) -> str:
        return self.name

    def __bool__(self) -> bool:
        self.tried.append(self.name)
        return self.known


@pytest.mark.parametrize(("flags", "trusted"), [(["avx2", "avx512"], True), (["avx512", "vnni"], None), ([], None)])
def test_the_widest_vector_instructions_are_tried_once_for_a_folder(
    flags: list[str], trusted: bool | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from torch._inductor import config as inductor
    from torch._inductor import cpu_vec_isa

    tried: list[str] = []
    kinds = [Instructions(*one, tried) for one in (("avx512 vnni", False), ("avx512", True), ("avx2", True))]
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(cpu_vec_isa, "x86_isa_checker", lambda: flags)
    monkeypatch.setattr(cpu_vec_isa, "supported_vec_isa_list", kinds)
    for graph in ("one", "one", "other"):
        with inductor.patch({"cpp.vec_isa_ok": None}):  # As in a process of its own.
            compiling.compile_once(tmp_path / "machine", graph, 1, lambda: None)
            assert inductor.cpp.vec_isa_ok is trusted
    with inductor.patch({"cpp.vec_isa_ok": None}):
        compiling.compile_once(tmp_path / "another-machine", "one", 1, lambda: None)
    assert tried == (["avx512"] * 2 if trusted else ["avx512 vnni"] * 3 if flags else [])


def test_a_graph_is_named_by_all_that_is_compiled_in_and_by_no_numbers() -> None:
    ones = torch.ones(1, 2, 6)
    scales = [ones, 0 * ones, ones.double(), ones[..., :3], ones.transpose(1, 2).contiguous().transpose(1, 2), None]
    settings = Sac(hidden=(8,)), Spaces(Vector(5), Continuous(2))
    names = [compiling.graph_name(*settings, {"critic": UpdateRule(update_scale=scale)}) for scale in scales]
    assert names[0] == names[1]
    assert len(set(names)) == len(names) - 1
    held = [
        compiling.graph_name(*settings, {"critic": UpdateRule(quadratic=(QuadraticPenalty(*terms),))})
        for terms in ((torch.ones(1), ones), (torch.zeros(1), 2 * ones), (torch.ones(1), ones, ones))
    ]
    assert held[0] == held[1] != held[2]
    assert compiling.graph_name(settings[0].model_copy(update={"gamma": 0.5}), settings[1], {}) not in names


def test_a_phase_is_compiled_and_resumed_bit_for_bit(compiled_code: None, code_folder: Path, tmp_path: Path) -> None:
    phase, compiled = first_phase(), Resources(compile=True)
    # The results root may have a name that no compiler takes.
    whole, broken = Store(tmp_path / "it's whole", create=True), Store(tmp_path / "broken", create=True)
    assert phase_run(whole, phase, compiled).advance(600).done
    assert any(code_folder.glob(f"*/{machine_name()}-*.made"))
    run = phase_run(broken, phase, compiled)
    while run.progress().env_steps < 150:
        run.advance(0)
    run.save()
    execution._shared.cache_clear()  # In another process it is read from the disk.
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
    monkeypatch.setattr(compiling, "AUTO_UPDATES", 50)
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


def test_a_failure_is_remembered_for_an_hour_or_until_somebody_starts_anew(tmp_path: Path, code_folder: Path) -> None:
    tried: list[int] = []

    def compile() -> None:
        tried.append(1)
        raise RuntimeError("C++ compile error\n\nCommand:\ng++ x\nOutput:\nx.cpp:1: error: no such thing\nmore errors")

    def fails(what: type[Exception]) -> str:
        with pytest.raises(what) as caught:
            compiling.compile_once(tmp_path, "graph", 1, compile)
        return str(caught.value)

    fails(RuntimeError)
    assert fails(ConfigError) == fails(ConfigError) == "C++ compile error: x.cpp:1: error: no such thing"
    assert len(tried) == 1
    (mark,) = code_folder.glob("*.failed")
    os.utime(mark, (time.time() - 3_601,) * 2)
    fails(RuntimeError)
    folders.forget_failures()
    assert folders.remembered_failures() == {}
    fails(RuntimeError)
    assert len(tried) == 3
    folders.forget_failures()
    compiling.compile_once(tmp_path, "graph", 1, lambda: tried.append(1))
    assert len(tried) == 4


def test_what_one_phase_could_not_compile_the_next_does_not_try(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compiled_code: None
) -> None:
    tried: list[int] = []

    def fail(agent: Agent) -> None:
        tried.append(1)
        raise RuntimeError("no")

    monkeypatch.setattr(Agent, "warm_up", fail)
    monkeypatch.setattr(compiling, "AUTO_UPDATES", 25)
    store = Store(tmp_path / "results", create=True)
    notes = [run_whole(store, phase)["notes"] for phase in phases_of(toy_plan(**ONE_GRAPH), "base")]
    folders.forget_failures()
    assert notes == [["the update is not compiled, which costs time only: no"]] * 2
    assert len(tried) == 1
    assert sweep_status(toy_plan(**ONE_GRAPH), store).notes == {notes[0][0]: 2}


@pytest.mark.parametrize(
    ("cache", "home", "kept"),
    [
        ("cache", "home", "cache/nbsp_ray"),
        ("my cache", "home", "home/.cache/nbsp_ray"),
        ("", "home", "home/.cache/nbsp_ray"),
        ("a'b", 'x"y', "tmp/nbsp_ray-{user}"),
        ("file", "", "tmp/nbsp_ray-{user}"),
        ("open", "file", "tmp/nbsp_ray-{user}"),
    ],
)
def test_code_is_kept_where_a_compiler_can_read_it_and_nobody_else_write(
    cache: str, home: str, kept: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "open" / "nbsp_ray").mkdir(parents=True)
    (tmp_path / "open" / "nbsp_ray").chmod(0o777)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / cache) if cache else "")
    monkeypatch.setattr(folders, "home", lambda: tmp_path / home if home else None)
    found = folders.code_folder()
    assert found == tmp_path / kept.format(user=os.geteuid())
    assert found.stat().st_mode & 0o777 == 0o700


def test_true_does_not_go_on_without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    store = Store(tmp_path / "results", create=True)
    with pytest.raises(ConfigError, match=r"resources\.compile=true, and .*no-such-compiler"):
        phase_run(store, first_phase(), Resources(compile=True)).advance(600)
