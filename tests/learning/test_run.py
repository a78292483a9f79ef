"""A phase from start to commit: what it leaves, what it needs, and what happens when two processes run it."""

import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phase_files import bytes_of, path_of, paths_of
from toy_phases import SMALL, phase_run, phases_of, run_whole, toy_plan

from nbsp_ray.benchmarks import Action, Step
from nbsp_ray.config.schema import Resources
from nbsp_ray.errors import DamagedPhaseError, PhaseError
from nbsp_ray.learning import run as run_module
from nbsp_ray.learning.manifest import digest
from nbsp_ray.learning.run import PhaseRun
from nbsp_ray.specs import PlannedPhase
from nbsp_ray.store import Files, Store

ROLLOUTS = "reach.rollouts.5.train"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[PlannedPhase]]:
    """Both phases of an nbsp trial, run to their ends."""
    store = Store(tmp_path_factory.mktemp("results"), create=True)
    phases = phases_of(toy_plan(methods=("nbsp",)), "nbsp")
    for phase in phases:
        run_whole(store, phase)
    return store, phases


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results", create=True)


def test_what_a_first_phase_leaves(done: tuple[Store, list[PlannedPhase]]) -> None:
    store, (first, _) = done
    folder = store.phase(first.key)
    assert set(paths_of(store, folder.key)) == {
        "spec.json", "result.json", "manifest.json", "curve.jsonl", "agent.safetensors", "replay.npy",
        "evaluations/reach.rollouts.5.train.json", "evaluations/reach.rollouts.5.train.safetensors",
        "evaluations/reach.deterministic.5.train.json",
    }  # fmt: skip
    result = folder.result()
    assert result is not None
    assert result.items() >= {
        "key": first.key, "task": "reach", "env_steps": 200, "updates": 76, "stop_reason": "budget",
        "buffer_transitions": 200, "replay_share": {"actor": 0.0, "critic": 0.0}, "notes": [],
    }.items()  # fmt: skip
    agent, replay = folder.agent(), folder.replay()
    assert agent is not None
    assert replay is not None
    assert result["digest"] == digest(agent)
    assert replay.shape == (200, 14)
    assert replay.dtype == np.float32
    assert folder.sample() is None
    assert folder.prepared() == {}


def test_what_a_second_phase_leaves(done: tuple[Store, list[PlannedPhase]]) -> None:
    store, (_, second) = done
    folder = store.phase(second.key)
    assert {"prepared.safetensors", "sample.npy"} < set(bytes_of(store, folder.key))
    assert folder.replay() is None
    result, sample = folder.result(), folder.sample()
    assert result is not None
    assert sample is not None
    assert (result["task"], result["updates"]) == ("avoid", 38)
    assert result["replay_share"] == {"critic": 8 / 76, "actor": 8 / 38}
    assert {"neurons", "drift", "positive_share", "score_undefined"} <= result.keys()
    assert sample.shape == (125, 14)
    assert len(np.unique(sample, axis=0)) == 125
    assert set(folder.prepared()) == {f"mask.{n}.{what}" for n in ("actor", "q1", "q2") for what in ("frozen", "score")}
    tasks = {(row["kind"], row["task"]) for row in folder.curve()}
    assert tasks == {("evaluation", "reach"), ("evaluation", "avoid"), ("training", "avoid")}


def test_a_sample_has_2560_of_many_transitions(store: Store) -> None:
    small = {"second": {"env_steps": 2_600, "eval_every": 10**6}, "sac": {"learning_starts": 10**6}}
    _, second = phases_of(toy_plan(**small), "base")
    run_whole(store, phases_of(toy_plan(**small), "base")[0])
    run_whole(store, second)
    sample = store.phase(second.key).sample()
    assert sample is not None
    assert sample.shape == (2_560, 14)
    assert len(np.unique(sample, axis=0)) == 2_560


def test_the_spec_on_disk_has_the_key_of_its_folder(done: tuple[Store, list[PlannedPhase]]) -> None:
    store, phases = done
    for phase in phases:
        data = store.phase(phase.key).spec()
        assert data is not None
        spec = type(phase.spec).model_validate(data)
        assert spec == phase.spec
        assert spec.key() == phase.key


def test_the_manifest_says_where_and_with_what(done: tuple[Store, list[PlannedPhase]]) -> None:
    store, (first, _) = done
    manifest = store.phase(first.key).manifest()
    assert manifest is not None
    assert manifest["started"] <= manifest["finished"]
    wanted = {"python", "nbsp-ray", "torch", "numpy", "ray", "gymnasium", "metaworld", "mujoco", "ale-py"}
    assert wanted | {"opencv-python-headless"} <= manifest["versions"].keys()
    assert manifest["threads"] == 1
    assert manifest["device"] == "cpu"
    assert manifest["host"]


def test_evaluation_records(done: tuple[Store, list[PlannedPhase]]) -> None:
    store, (first, second) = done
    folder = store.phase(first.key)
    record, rollouts = folder.evaluation("reach.rollouts.5.train"), folder.rollouts("reach.rollouts.5.train")
    assert record is not None
    assert rollouts is not None
    assert {name: array.shape for name, array in rollouts.items()} == {
        "observations": (125, 5), "actions": (125, 2), "criterion": (125,), "ends": (5,),
    }  # fmt: skip
    success = rollouts["criterion"].reshape(5, 25).any(1)
    assert record["success"] == success.astype(int).tolist()
    assert record["success_rate"] == success.mean()
    assert None not in record["env_return"]
    # Episode i plays goal i: the target is in the observation.
    targets = rollouts["observations"].reshape(5, 25, 5)[:, :, 2:4]
    assert len(np.unique(targets[:, 0], axis=0)) == 5
    assert (targets == targets[:, :1]).all()
    assert set(store.phase(second.key).evaluations()) == {
        f"{task}.{mode}.5.train" for task in ("reach", "avoid") for mode in ("stochastic", "deterministic")
    }


def evaluated(store: Store, phase: PlannedPhase, **record: Any) -> dict[str, Any]:
    """Evaluate a finished phase once more, by the given record."""
    like = next(iter(phase.evaluations.values()))
    wanted = like.model_copy(update=record)
    assert PhaseRun(store, phase.spec, [], [wanted], Resources()).advance(600).done
    found = store.phase(phase.key).evaluation(wanted.id)
    assert found is not None
    return found


def test_rollouts_are_the_stochastic_policy(done: tuple[Store, list[PlannedPhase]]) -> None:
    store, (first, _) = done
    rollouts = evaluated(store, first, mode="rollouts", episodes=30)
    stochastic = evaluated(store, first, mode="stochastic", episodes=30)
    assert rollouts["success"] == stochastic["success"]
    assert 0 < sum(rollouts["success"]) < 30, "too easy or too hard to tell"
    returns = [(a, b) for a, b in zip(rollouts["env_return"], stochastic["env_return"], strict=True) if b is not None]
    assert all(a == b for a, b in returns)
    assert len(returns) <= 30 - sum(stochastic["success"]) + 1
    assert evaluated(store, first, mode="deterministic", episodes=30)["env_return"] != rollouts["env_return"]


def test_more_episodes_retrain_nothing_and_agree_where_they_overlap(done: tuple[Store, list[PlannedPhase]]) -> None:
    store, phases = done
    more = phases_of(toy_plan(methods=("nbsp",), evaluation={"episodes": 9}), "nbsp")
    assert more[0].key == phases[0].key
    folder = store.phase(phases[0].key)
    before = bytes_of(store, folder.key)
    progress = phase_run(store, more[0]).advance(600)
    assert progress.done
    after = bytes_of(store, folder.key)
    assert before.items() <= after.items()
    added = {name for name in after.keys() - before.keys() if ".9." in name}
    assert added == {f"evaluations/reach.{name}" for name in (
        "rollouts.9.train.json", "rollouts.9.train.safetensors", "deterministic.9.train.json")}  # fmt: skip
    for mode in ("rollouts", "deterministic"):
        few, many = (folder.evaluation(f"reach.{mode}.{number}.train") for number in (5, 9))
        assert few is not None
        assert many is not None
        assert many["success"][:5] == few["success"]
        assert many["env_return"][:5] == few["env_return"]
    few_steps, many_steps = (folder.rollouts(f"reach.rollouts.{number}.train") for number in (5, 9))
    assert few_steps is not None
    assert many_steps is not None
    np.testing.assert_array_equal(many_steps["actions"][:125], few_steps["actions"])


def test_a_missing_evaluation_of_a_finished_phase_is_only_evaluated(done: tuple[Store, list[PlannedPhase]]) -> None:
    store, (_, second) = done
    folder = store.phase(second.key)
    before = bytes_of(store, folder.key)
    path_of(store, folder, "evaluations/reach.stochastic.5.train.json").unlink()
    run = phase_run(store, second)
    progress = run.advance(0)
    assert (progress.stage, progress.updates) == ("evaluating", 0)
    assert run.advance(600).done
    assert bytes_of(store, folder.key) == before


def test_a_done_phase_is_done_at_once(done: tuple[Store, list[PlannedPhase]]) -> None:
    store, (_, second) = done
    before = bytes_of(store, second.key)
    assert phase_run(store, second).advance(0).done
    assert bytes_of(store, second.key) == before


def test_the_same_phase_again_gives_the_same_bits(done: tuple[Store, list[PlannedPhase]], store: Store) -> None:
    other, phases = done
    for phase in phases:
        run_whole(store, phase)
        one, two = (bytes_of(place, phase.key) for place in (store, other))
        for name in one.keys() - {"manifest.json", "result.json"}:
            assert one[name] == two[name], name
        results = [place.phase(phase.key).result() or {} for place in (store, other)]
        timing = {"seconds", "env_steps_per_second"}
        assert [{k: v for k, v in r.items() if k not in timing} for r in results[:1]] == [
            {k: v for k, v in r.items() if k not in timing} for r in results[1:]
        ]


def test_phase_2_starts_from_phase_1_with_new_optimizers(store: Store) -> None:
    plan = toy_plan(second={"env_steps": 40})  # ends before learning starts
    first, second = phases_of(plan, "base")
    run_whole(store, first)
    run_whole(store, second)
    before, after = store.phase(first.key).agent(), store.phase(second.key).agent()
    assert before is not None
    assert after is not None
    assert before["log_alpha"][0] != 0
    for name, array in after.items():
        fresh = np.ones_like(array) if "power" in name else np.zeros_like(array)
        expected = fresh if "." in name else before[name]
        np.testing.assert_array_equal(array, expected, err_msg=name)
    assert before["actor.beta1_power"] < 1
    reset = phases_of(toy_plan(second={"env_steps": 40}, method={"reset_log_alpha": True}), "base")
    assert reset[0].key == first.key
    run_whole(store, reset[1])
    agent = store.phase(reset[1].key).agent()
    assert agent is not None
    assert agent["log_alpha"] == 0
    np.testing.assert_array_equal(agent["actor"], before["actor"])


def test_phase_2_begins_with_an_empty_buffer_and_random_actions(store: Store) -> None:
    plan = toy_plan(second={"env_steps": 50}, methods=("replay_only",))
    first, second = phases_of(plan, "replay_only")
    run_whole(store, first)
    result = run_whole(store, second)
    assert result["buffer_transitions"] == 50
    sample = store.phase(second.key).sample()
    assert sample is not None
    assert (sample[:, 4] == -1).all()  # the cue of the second task
    assert np.abs(sample[:, 5:7].mean(0)).max() < 0.25
    assert result["updates"] == 1
    assert result["replay_share"] == {"actor": 1.0, "critic": 1.0}


# What it needs


@pytest.mark.parametrize(
    ("file", "anew"),
    [
        ("agent.safetensors", "trains it anew"),
        ("replay.npy", "trains it anew"),
        (f"evaluations/{ROLLOUTS}.safetensors", f"plays its evaluation {ROLLOUTS} anew"),
    ],
)
@pytest.mark.parametrize("damage", ["removed", "cut", "flipped"])
def test_a_damaged_need_is_named_with_the_way_out(
    done: tuple[Store, list[PlannedPhase]], tmp_path: Path, file: str, anew: str, damage: str
) -> None:
    store, phases = done
    _, second = phases_of(toy_plan(methods=("nbsp",), second={"env_steps": 60}), "nbsp")
    path = path_of(store, store.phase(phases[0].key), file)
    whole = path.read_bytes()
    path.rename(tmp_path / "aside")
    if damage != "removed":
        path.write_bytes(whole[:-1] + (b"" if damage == "cut" else bytes([whole[-1] ^ 1])))
    try:
        with pytest.raises(DamagedPhaseError) as caught:
            phase_run(store, second).advance(600)
    finally:
        (tmp_path / "aside").rename(path)
    text = str(caught.value)
    assert text.startswith(f"{path} of the finished phase {phases[0].key} is damaged (it")
    assert text.endswith(f"`nbsp-ray run` sets it aside and {anew}")
    assert "\n" not in text
    assert not store.phase(second.key).done()


def test_an_empty_store_has_nothing_that_a_second_phase_needs(store: Store) -> None:
    _, second = phases_of(toy_plan(), "base")
    with pytest.raises(PhaseError, match="the agent of phase"):
        phase_run(store, second).advance(600)


def test_progress(store: Store) -> None:
    first, _ = phases_of(toy_plan(), "base")
    run = phase_run(store, first)
    progress = run.advance(0)
    assert (progress.stage, progress.env_steps, progress.budget, progress.done) == ("learning", 25, 200, False)
    assert (store.phase(first.key).progress() or {})["env_steps"] == 25
    stages = {run.advance(0).stage for _ in range(7)}
    assert stages == {"learning"}
    progress = run.advance(0)
    assert (progress.stage, progress.env_steps) == ("evaluating", 200)
    assert run.advance(600).done
    assert store.phase(first.key).progress() is None
    assert run.advance(0).done


def test_where_it_costs_progress_is_told_now_and_then_and_others_are_looked_for_as_seldom(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = phases_of(toy_plan(), "base")
    run, clock = phase_run(store, first), [run_module.time.monotonic()]
    monkeypatch.setattr(run_module.time, "monotonic", lambda: clock[0])
    run.pace = 30.0
    asked: list[float] = []
    whole = run._has_learnt
    monkeypatch.setattr(run, "_has_learnt", lambda: bool(asked.append(clock[0])) or whole())
    told: list[int] = []
    for _ in range(8):
        run.advance(0)
        told.append((store.phase(first.key).progress() or {})["env_steps"])
        clock[0] += 10
    assert told[:4] == [0] * 4
    assert told[4:] == [told[4]] * 4 != [0] * 4
    assert len(set(asked)) == 3, "at the start, and twice in 70 seconds"


def test_a_phase_that_diverges_commits_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = phases_of(toy_plan(), "base")
    run = phase_run(store, first)
    run.advance(0)
    monkeypatch.setattr("nbsp_ray.benchmarks.toy.SPEED", math.nan)
    with pytest.raises(PhaseError, match="diverged at 50 env steps"):
        run.advance(600)
    assert not store.phase(first.key).done()


# Sequences of more than two tasks

SEQUENCE: dict[str, Any] = {
    "pairs": (("reach", "avoid", "reach"),),
    "second": {"env_steps": 125, "eval_every": 125},
}


def test_a_third_phase_builds_on_both_before(store: Store) -> None:
    phases = phases_of(toy_plan(methods=("nbsp",), **SEQUENCE), "nbsp")
    assert [phase.keep_buffer for phase in phases] == [True, True, False]
    for phase in phases:
        run_whole(store, phase)
    folders = [store.phase(phase.key) for phase in phases]
    assert [folder.has_replay() for folder in folders] == [True, True, False]
    frozen = [folder.prepared()["mask.actor.frozen"] for folder in folders[1:]]
    assert (frozen[0] <= frozen[1]).all()
    assert frozen[0].sum() < frozen[1].sum() <= 2 * frozen[0].sum()
    agents = [folder.agent() or {} for folder in folders]
    rows = agents[0]["actor"][0, 0, : 5 * 12].reshape(12, 5)
    for later, fixed in zip(agents[1:], frozen, strict=True):
        assert (later["actor"][0, 0, : 5 * 12].reshape(12, 5)[fixed[:12]] == rows[fixed[:12]]).all()
        rows = later["actor"][0, 0, : 5 * 12].reshape(12, 5)
    curve = folders[2].curve()
    assert [row["task"] for row in curve if row["kind"] == "evaluation"] == ["avoid", "reach"] * 2


def test_a_buffer_wanted_later_is_trained_again_and_nothing_else_changes(store: Store) -> None:
    """A pair first, without its second buffer; then a sequence that goes on from it and replays."""
    alone = phases_of(toy_plan(methods=("replay_only",), second=SEQUENCE["second"]), "replay_only")
    for phase in alone:
        run_whole(store, phase)
    folder = store.phase(alone[1].key)
    before = bytes_of(store, folder.key)
    phases = phases_of(toy_plan(methods=("replay_only",), **SEQUENCE), "replay_only")
    assert phases[1].key == alone[1].key
    with pytest.raises(PhaseError, match=f"the replay buffer of phase {alone[1].key} is missing"):
        phase_run(store, phases[2]).advance(600)
    run_whole(store, phases[1])
    after = bytes_of(store, folder.key)
    assert {name for name, data in after.items() if before.get(name) != data} == {"replay.npy"} | {
        name for name in after if name.startswith("evaluations/") and name not in before
    }
    replay, sample = folder.replay(), folder.sample()
    assert replay is not None
    assert sample is not None
    assert replay.shape == (125, 14)
    assert sorted(map(tuple, replay.tolist())) == sorted(map(tuple, sample.tolist()))
    assert run_whole(store, phases[2])["replay_share"]["critic"] > 0


# Two processes at once, after a scheduler lost sight of the first


def test_two_at_once_end_with_one_result(done: tuple[Store, list[PlannedPhase]], store: Store) -> None:
    first = done[1][0]
    runs = [phase_run(store, first) for _ in range(2)]
    while not all(progress.done for progress in [run.advance(0) for run in runs]):
        for run in runs:
            run.save()
    expected = done[0].phase(first.key).result() or {}
    assert (store.phase(first.key).result() or {})["digest"] == expected["digest"]
    assert not (store.phase(first.key).path / "attempts").exists()


def test_an_orphan_accepts_the_result_of_the_other(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    first, _ = phases_of(toy_plan(), "base")
    orphan = phase_run(store, first)
    orphan.advance(0)
    orphan.save()
    run_whole(store, first)
    before = bytes_of(store, first.key)
    orphan.save()
    with caplog.at_level(logging.WARNING):
        assert orphan.advance(600).done
    assert "committed by another process" in caplog.text
    assert bytes_of(store, first.key) == before


def test_an_orphan_whose_folder_is_cleaned_while_it_saves_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = phases_of(toy_plan(), "base")
    orphan = phase_run(store, first)
    orphan.advance(0)
    write, cleaned = Files.write, list[str]()

    def write_late(self: Files, name: str, *chunks: Any, **options: bool) -> None:
        if "attempts" in name and not cleaned:
            cleaned.append(name)
            run_whole(store, first)  # the other commits and cleans up just now ...
            raise FileNotFoundError(name)  # ... between the making of the folder and the writing of the file
        write(self, name, *chunks, **options)

    monkeypatch.setattr(Files, "write", write_late)
    orphan.save()
    assert cleaned
    assert orphan.advance(600).done


def test_a_full_disk_is_no_orphan(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = phases_of(toy_plan(), "base")
    run = phase_run(store, first)
    run.advance(0)

    def full(self: Files, name: str, *chunks: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Files, "write", full)
    with pytest.raises(OSError, match="No space left"):
        run.save()


def test_a_saved_phase_says_what_it_cost(store: Store) -> None:
    """A checkpoint writes only the rows that were added since the one before."""
    first, _ = phases_of(toy_plan(), "base")
    run = phase_run(store, first)
    for _ in range(4):
        run.advance(0)
        run.save()
    (attempt,) = (store.phase(first.key).path / "attempts").iterdir()
    pieces = sorted(path.name for path in attempt.glob("rows-*"))
    assert pieces == [f"rows-{start:012d}-{start + 25:012d}.npy" for start in (0, 25, 50, 75)]
    assert sorted(path.name for path in attempt.glob("*.json")) == [f"{at:012d}.json" for at in (75, 100)]
    manifest = json.loads((attempt / f"{100:012d}.json").read_text())
    assert [piece["name"].rsplit("/", 1)[1] for piece in manifest["pieces"]] == pieces
    assert SMALL["first"]["env_steps"] == 200


def test_progress_is_told_within_an_episode(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run_module, "PROGRESS_SECONDS", 0.0)
    store, phase = Store(tmp_path, create=True), phases_of(toy_plan(), "base")[0]
    run = phase_run(store, phase)
    run.advance(0)
    opened = run._open.phase
    assert opened is not None
    told: list[int] = []
    step = opened.env.step

    def watched(action: Action) -> Step:
        told.append(store.phase(phase.key).progress()["env_steps"])  # type: ignore[index]
        return step(action)

    monkeypatch.setattr(opened.env, "step", watched)
    begin = opened.env_steps
    run.advance(0)
    assert told == list(range(begin, begin + len(told)))
    assert len(told) > 1
