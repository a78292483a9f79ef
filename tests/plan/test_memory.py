"""Too little memory is said before the start, from the numbers, with a way out that is one."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import new_store, small_plan

from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.config.schema import Sweep
from nbsp_ray.errors import ConfigError
from nbsp_ray.limits import Memory
from nbsp_ray.orchestration import preflight
from nbsp_ray.orchestration.launch import KILLED_ALONE, _Launch
from nbsp_ray.plan.build import make_plan
from nbsp_ray.plan.memory import RAY_BYTES, check_fits, fits_side_by_side, largest_need, memory_note, need
from nbsp_ray.plan.sizes import PROCESS_BYTES
from nbsp_ray.specs import Plan
from nbsp_ray.states import State
from nbsp_ray.terminal.live import LiveStatus
from nbsp_ray.verbs import main as cli
from nbsp_ray.verbs._common import USAGE

GB = 1_000_000_000
HUGE = ["sac.buffer_size=100000000", "first.env_steps=100000000", "second.env_steps=100000000"]
Run = Callable[..., tuple[int, str]]


def plan(buffer_size: int = 200_000, **resources: Any) -> Plan:
    """Pong, then Bowling, with replay; buffers of 1.41 GB unless told otherwise."""
    data: dict[str, Any] = {"benchmark": "atari", "pairs": (("Pong", "Bowling"),), "methods": ("nbsp",), "seeds": (0,)}
    defaults = dict(get_benchmark("atari").defaults)
    defaults["sac"] = defaults["sac"] | {"buffer_size": buffer_size}
    return make_plan("x", [Sweep.model_validate(data | defaults | {"resources": resources})])


def test_what_a_phase_can_come_to_hold() -> None:
    found = plan()
    first, second = (need(found, key) for key in found.trials[0].phases)
    assert (first.own, first.replayed) == (1_412_000_000, 0)
    assert (second.own, second.replayed, second.process) == (1_412_000_000, 1_412_000_000, PROCESS_BYTES["pixels"])
    assert largest_need(found, found.phases) == second
    assert second.total == 2 * 1_412_000_000 + PROCESS_BYTES["pixels"]


def test_on_a_gpu_the_buffers_are_the_gpus() -> None:
    for resources in ({"gpus": 0.5}, {"gpus": 1, "device": "cuda"}):
        found = plan(**resources)
        assert largest_need(found, found.phases).total == PROCESS_BYTES["pixels"]
    assert largest_need(plan(gpus=1, device="cpu"), plan().phases).total > 3 * GB


def test_how_many_fit() -> None:
    """Beside Ray, but for the one that a machine almost holds."""
    found = plan()
    total = largest_need(found, found.phases).total
    for bytes_, fits in ((total, 1), (total + RAY_BYTES, 1), (3 * total, 2), (3 * total + RAY_BYTES, 3)):
        assert fits_side_by_side(largest_need(found, found.phases), Memory(bytes_)) == fits
    first = found.trials[0].phases[0]
    assert fits_side_by_side(largest_need(found, [first]), Memory(total)) == 1


@settings(deadline=None, max_examples=50)
@given(st.integers(1_000, 2_000_000), st.integers(0, 10 * GB))
def test_either_it_fits_or_the_buffer_size_that_is_named_does(buffer_size: int, available: int) -> None:
    found, message = plan(buffer_size), ""
    try:
        check_fits(largest_need(found, found.phases), Memory(available))
    except ConfigError as error:
        message = str(error)
    most, named = largest_need(found, found.phases), re.search(r"sac\.buffer_size=(\d+) would fit", message)
    assert (not message) == (most.total <= available)
    if named:
        assert int(named[1]) < buffer_size
        smaller = plan(int(named[1]))
        check_fits(largest_need(smaller, smaller.phases), Memory(available))
    elif message:
        assert "use a machine with more" in message
        assert available < most.process + 0.01 * (most.own + most.replayed)


def test_the_refusal_is_one_sentence_with_numbers_and_a_way_out() -> None:
    found = plan()
    with pytest.raises(ConfigError) as caught:
        fits_side_by_side(largest_need(found, found.phases), Memory(2 * GB))
    assert str(caught.value) == (
        "Pong > Bowling, nbsp, seed 0 can come to hold 3.5 GB of memory (1.4 GB of its replay buffer, 1.4 GB of the "
        "buffers it replays, 0.7 GB of the process), and 2.0 GB are free here; sac.buffer_size=94000 would fit, or "
        "free memory"
    )
    with pytest.raises(ConfigError, match="free memory, or use a machine with more"):
        fits_side_by_side(largest_need(found, found.phases), Memory(GB // 2))


def test_the_note_of_a_plan() -> None:
    most = largest_need(plan(), plan().phases)
    held = "memory 3.5 GB a phase at most, and"
    assert memory_note(most, Memory(100 * GB), 2) == (f"{held} 100.0 GB are free here", 28)
    assert memory_note(most, Memory(8 * GB, 9 * GB), 4) == (
        f"{held} 8.0 GB are free here of the 9.0 GB that this job may use: `run` works on 2 side by side",
        2,
    )
    note, fits = memory_note(most, Memory(2 * GB), 2)
    assert note.startswith("It cannot run here: Pong > Bowling, nbsp")
    assert fits is None


def test_a_run_works_on_fewer_where_memory_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    found = plan()
    monkeypatch.setattr(preflight, "memory", lambda: Memory(5 * GB))
    assert preflight.check_memory(found, found.phases, 8, said.append) == 1
    (text,) = said
    assert text == "1 side by side: more, with all their buffers, do not fit in memory: 5.0 GB are free here"
    assert preflight.check_memory(found, found.phases, 1, said.append) is None
    monkeypatch.setattr(preflight, "memory", lambda: Memory(8 * GB))
    assert preflight.check_memory(found, found.phases, 8, said.append) is None, "there are no more than two phases"
    assert len(said) == 1
    most = largest_need(found, found.phases).total
    monkeypatch.setattr(preflight, "memory", lambda: Memory(most + RAY_BYTES - 1))
    assert preflight.check_memory(found, found.phases, 8, said.append) == 1
    assert said[-1].startswith(
        "memory is scarce: a phase can come to hold 3.5 GB and Ray takes 0.4 GB, and 3.9 GB are free"
    )


def test_after_a_kill_no_more_at_a_time_than_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a phase that is killed again and again while it works alone is given up."""
    found, store = small_plan(seeds=(0, 1, 2), methods=("base",)), new_store(tmp_path)
    said, live = list[str](), LiveStatus(plan(), store, on_status=lambda status: None)
    monkeypatch.setattr(live, "say", said.append)
    launch = _Launch(found, store, list(found.phases), live, max_concurrent=None, failure_retries=10)
    monkeypatch.setattr(_Launch, "fit_to_cluster", lambda self, autoscaling: setattr(
        launch.gate, "max_concurrent", launch.max_concurrent
    ))  # fmt: skip
    one, two, three = (launch.gate.next() or "" for _ in range(3))
    launch.gate.put_back(one)
    launch.give_room([one])
    assert launch.gate.next() is None  # two are at work, and two may be
    assert said[-1].endswith("seed 0: its worker was killed for want of memory; from here on 2 at a time")
    launch.gate.put_back(two)
    launch.give_room([two])
    launch.gate.put_back(three)
    for _ in range(KILLED_ALONE):
        assert launch.gate.next() == one
        assert launch.gate.next() is None
        launch.gate.put_back(one)
        launch.give_room([one])
    assert said[-1].endswith("none worked beside it: free memory, or ask for more")
    assert [key for key, state in launch.gate.states.items() if state is State.FAILED] == [one]
    assert launch.gate.next() == two


# The verbs


@pytest.fixture
def nbsp_ray(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs a command line in this process: exit code, and all that it printed."""
    monkeypatch.setenv("NBSP_RAY_ROOT", str(tmp_path / "results"))

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["nbsp-ray", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out + printed.err

    return run


@pytest.mark.parametrize("verb", ["try", "run"])
def test_too_little_memory_is_refused_before_anything_starts(nbsp_ray: Run, verb: str) -> None:
    """A buffer of 700 GB; `run` may refuse it for want of disk first."""
    code, said = nbsp_ray(verb, "atari_smoke", *HUGE)
    assert code == USAGE
    assert "Traceback" not in said
    assert re.search(r"can come to hold 70\d\.\d GB of memory .*, and .* GB are free here|may write .* GB", said)


def test_plan_says_so_and_prices_it_all_the_same(nbsp_ray: Run) -> None:
    code, said = nbsp_ray("plan", "atari_smoke", *HUGE)
    assert code == USAGE
    assert "disk " in said
    assert re.search(r"`run` would refuse:\n(Pong > Bowling, nbsp, seed 0 can come to hold|.* may write .* GB)", said)
    code, said = nbsp_ray("plan", "atari_smoke")
    assert code == 0
    assert "memory 0.7 GB a phase at most" in said
