"""Finished trials in a tracker, and the command at the end; with real toy phases and a real TensorBoard file."""

import dataclasses
import struct
from pathlib import Path

import pytest
from stored import new_store, small_plan, write_done
from tensorboardX.proto import event_pb2
from toy_phases import run_whole, toy_plan

from nbsp_ray.errors import ConfigError
from nbsp_ray.orchestration.trackers import TRACKERS, TrackedTrial, check_tracker, notices, tell_end, tracked
from nbsp_ray.specs import Plan
from nbsp_ray.store import Store


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    """One trial, learnt."""
    plan, store = toy_plan(), new_store(tmp_path_factory.mktemp("learnt"))
    for phase in plan.phases.values():
        run_whole(store, phase)
    return plan, store


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard would draw: records of a length, its checksum, an event, its checksum."""
    (file,) = folder.glob("events.*")
    data, found = file.read_bytes(), dict[str, list[tuple[int, float]]]()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = event_pb2.Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_a_finished_trial_is_one_run_with_its_curves_stability_and_plasticity(learnt: tuple[Plan, Store]) -> None:
    plan, store = learnt
    said: list[str] = []
    for _ in range(2):  # and running again tells it no second time
        with notices(plan, store, tracker="tensorboard", on_end=None, say=said.append):
            pass
    found = scalars(store.root / "trackers" / "tensorboard" / plan.trials[0].name)
    (first, second) = (plan.phases[key] for key in plan.trials[0].phases)
    own = store.phase(second.key).evaluation(second.own_evaluation.id)  # type: ignore[union-attr]
    assert own is not None
    assert found["plasticity"] == [(0, pytest.approx(own["success_rate"]))]
    assert set(found) >= {"stability", "first_before", "forgetting", "reach/success", "avoid/success"}
    budget = first.spec.learning.env_steps
    assert all(step >= budget for step, _ in found["avoid/success"])
    curve = [row for row in store.phase(first.key).curve() if row["kind"] == "evaluation"]
    assert [point for point in found["reach/success"] if point[0] < budget] == [
        (row["env_steps"], pytest.approx(row["success"])) for row in curve if row["env_steps"] < budget
    ]
    assert said == []


def test_a_tracker_that_breaks_is_said_once_and_harms_nothing(
    learnt: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = learnt
    said: list[str] = []

    def broken(trial: TrackedTrial, folder: str) -> None:
        raise OSError("no network")

    monkeypatch.setitem(TRACKERS, "wandb", ("wandb", broken))
    with notices(plan, store, tracker="wandb", on_end=None, say=said.append):
        pass
    assert said == ["notices end, the sweep goes on: OSError: no network"]


def test_the_command_hears_of_the_first_failure_and_of_the_end(tmp_path: Path) -> None:
    plan, store, said = small_plan(), new_store(tmp_path), list[str]()
    keys = list(plan.phases)
    write_done(store, plan.phases[keys[0]])
    store.phase(keys[1]).write_failure({"error": "OSError: disk", "traceback": "", "final": True})
    heard = tmp_path / "heard"
    command = f'echo "$NBSP_RAY_EVENT $NBSP_RAY_SWEEP $NBSP_RAY_FAILED $NBSP_RAY_ERROR" >> {heard}; exit 7'
    with notices(plan, store, tracker=None, on_end=command, say=said.append):
        pass
    tell_end(plan, store, command, said.append)
    assert heard.read_text().splitlines() == ["failure small 1 OSError: disk", "end small 1 OSError: disk"]
    assert said == [f"--on-end: `{command}` ended with code 7"] * 2


def test_a_tracker_that_is_not_there_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    check_tracker(None)
    check_tracker("tensorboard")
    with pytest.raises(ConfigError, match="no tracker 'neptune'; there are tensorboard, wandb, mlflow, trackio"):
        check_tracker("neptune")
    monkeypatch.setitem(TRACKERS, "mlflow", ("no_such_module", TRACKERS["mlflow"][1]))
    with pytest.raises(
        ConfigError, match=r"--tracker mlflow needs .* no_such_module: pip install 'nbsp-ray\[mlflow\]'"
    ):
        check_tracker("mlflow")


def test_only_whole_trials_are_tracked(learnt: tuple[Plan, Store]) -> None:
    plan, store = learnt
    found = tracked(plan, plan.trials[0], store)
    assert (found.config["method"], found.config["seed"]) == ("base", 0)
    assert dataclasses.asdict(found)["metrics"].keys() == {"stability", "plasticity", "first_before", "forgetting"}
