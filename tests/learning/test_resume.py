"""A phase killed anywhere and gone on with ends bit-identical to one that never was."""

import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interrupted import run_interrupted, what_it_left
from storage import fail_at_random
from toy_phases import ONE_THREAD, phase_run, phases_of, run_whole, toy_plan

from nbsp_ray.learning.run import PhaseRun
from nbsp_ray.specs import PlannedPhase
from nbsp_ray.store import Store

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "an update each env step": {"sac": {"updates_per_env_step": 1.0}, "second": {"env_steps": 60}},
    "wrap-around": {"sac": {"buffer_size": 60}},
    "rare updates": {"sac": {"updates_per_env_step": 0.015}},
    "several updates": {
        "sac": {"updates_per_env_step": 2.0, "policy_frequency": 1, "target_period": 3},
        "first": {"env_steps": 150},
        "second": {"env_steps": 100},
    },
    "normalised": {"sac": {"network": "normalised"}, "first": {"env_steps": 120}, "second": {"env_steps": 100}},
    "new temperature": {"method": {"reset_log_alpha": True}, "first": {"env_steps": 100}, "second": {"env_steps": 100}},
    "stable": {
        "first": {"stop": "stable", "stop_threshold": 0.0, "eval_every": 50, "stop_confirm_episodes": 3},
        "second": {"stop": "stable_training", "stop_threshold": 0.0, "stop_confirm_episodes": 3},
    },
    "not confirmed at first": {
        "first": {
            "env_steps": 200,
            "stop": "stable",
            "stop_threshold": 0.12,
            "stop_evaluations": 1,
            "eval_every": 25,
            "eval_episodes": 8,
            "stop_confirm_episodes": 20,
        },
        "second": {"env_steps": 60},
    },
    "three tasks": {"pairs": (("reach", "avoid", "reach"),), "first": {"env_steps": 100}, "second": {"env_steps": 100}},
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Store, list[PlannedPhase]]]:
    """Both phases of an nbsp trial of a variant, run in one go; each variant once."""
    kept: dict[str, tuple[Store, list[PlannedPhase]]] = {}

    def run(variant: str) -> tuple[Store, list[PlannedPhase]]:
        if variant not in kept:
            store = Store(tmp_path_factory.mktemp("whole"), create=True)
            phases = phases_of(toy_plan(methods=("nbsp",), **VARIANTS[variant]), "nbsp")
            for phase in phases:
                run_whole(store, phase)
            kept[variant] = store, phases
        return kept[variant]

    return run


@pytest.mark.parametrize("variant", VARIANTS)
def test_interrupted_at_random_ends_bit_identical(
    variant: str, undisturbed: Callable[[str], tuple[Store, list[PlannedPhase]]], tmp_path: Path
) -> None:
    whole, phases = undisturbed(variant)
    store = Store(tmp_path / "results", create=True)
    for number, phase in enumerate(phases):
        assert run_interrupted(store, phase, seed=number) >= 1
        assert what_it_left(store, phase) == what_it_left(whole, phase)
        assert (store.phase(phase.key).result() or {})["notes"] == []


def test_base_interrupted_ends_bit_identical(tmp_path: Path) -> None:
    short = {"first": {"env_steps": 120}, "second": {"env_steps": 120}, "sac": {"buffer_size": 50}}
    phases = phases_of(toy_plan(**short), "base")
    stores = [Store(tmp_path / name, create=True) for name in ("whole", "interrupted")]
    for phase in phases:
        run_whole(stores[0], phase)
        run_interrupted(stores[1], phase, seed=7)
        assert what_it_left(stores[0], phase) == what_it_left(stores[1], phase)


def test_the_variants_are_what_they_say(undisturbed: Callable[[str], tuple[Store, list[PlannedPhase]]]) -> None:
    store, (first, second) = undisturbed("wrap-around")
    replay = store.phase(first.key).replay()
    assert replay is not None
    assert replay.shape == (60, 14)
    assert (store.phase(second.key).result() or {})["buffer_transitions"] == 60
    # In the order in which they were added: each s' is the next s, except where an episode ends.
    assert (replay[1:, :5] == replay[:-1, 7:12]).all(1).sum() == 57
    reasons, updates = {}, {}
    for variant in VARIANTS:
        store, (first, *_) = undisturbed(variant)
        result = store.phase(first.key).result()
        assert result is not None
        reasons[variant], updates[variant] = result["stop_reason"], result["updates"]
    stop = ("stable", "not confirmed at first")
    assert reasons == {variant: "stable" if variant in stop else "budget" for variant in VARIANTS}
    store, (first, _) = undisturbed("not confirmed at first")
    *luck, confirmed = [row["success"] for row in store.phase(first.key).curve() if row["kind"] == "confirmation"]
    assert luck
    assert max(luck) < 0.12 <= confirmed
    assert [updates[variant] for variant in VARIANTS][:5] == [76, 151, 76, 3, 202]


def test_on_a_storage_that_fails_every_fifth_call_it_ends_bit_identical(
    undisturbed: Callable[[str], tuple[Store, list[PlannedPhase]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, phases = undisturbed("plain")
    store = Store(tmp_path / "results", create=True)
    with monkeypatch.context() as patch:
        failed = fail_at_random(patch, 0.2, seed=1)
        for number, phase in enumerate(phases):
            run_interrupted(store, phase, seed=number)
    assert len(failed) > 20
    for phase in phases:
        assert what_it_left(store, phase) == what_it_left(whole, phase)


# A real kill -9

CHILD = """
import sys
from nbsp_ray.config.schema import Resources
from nbsp_ray.learning.run import PhaseRun
from nbsp_ray.methods import read_ingredients
from nbsp_ray.specs import EvaluationSpec, PhaseSpec
from nbsp_ray.store import Store
root, spec, records = sys.argv[1:]
import json
spec = PhaseSpec.model_validate_json(spec)
run = PhaseRun(
    Store(root, create=True),
    spec,
    read_ingredients(spec),
    [EvaluationSpec.model_validate(record) for record in json.loads(records)],
    Resources(checkpoint_minutes=1e-6),
)
print("ready", flush=True)
while not run.advance(0).done:
    pass
print("done", flush=True)
"""


def spawn(store: Store, phase: PlannedPhase) -> "subprocess.Popen[bytes]":
    records = json.dumps([record.model_dump() for record in phase.evaluations.values()])
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(store.root), phase.spec.model_dump_json(), records],
        stdout=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def test_kill_9_at_random_moments_loses_nothing(tmp_path: Path) -> None:
    """So long a phase that the child does not end before it is killed."""
    first, _ = phases_of(toy_plan(first={"env_steps": 500}, sac={"buffer_size": 60}), "base")
    whole = Store(tmp_path / "whole", create=True)
    run_whole(whole, first)
    store, rng = Store(tmp_path / "results", create=True), random.Random(1)
    checkpoints = store.phase(first.key).checkpoints
    kills, seen = 0, set[str]()
    for _ in range(3):
        child = spawn(store, first)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        wait = time.monotonic() + 120
        before = {stored.name for stored in checkpoints()}
        while child.poll() is None and time.monotonic() < wait and {s.name for s in checkpoints()} <= before:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        child.send_signal(signal.SIGKILL)
        kills += child.wait() == -signal.SIGKILL
        child.stdout.close()
        seen |= {stored.name for stored in checkpoints()}
    assert kills >= 2
    assert len(seen) >= 2
    run_whole(store, first)
    assert what_it_left(store, first) == what_it_left(whole, first)


# Damaged checkpoints


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def alter_digit(path: Path) -> None:
    """JSON as good as before, with another number in it."""
    text = path.read_text()
    assert '"episode": 4' in text
    path.write_text(text.replace('"episode": 4', '"episode": 5'))


def rename_key(path: Path) -> None:
    path.write_text(path.read_text().replace('"counters"', '"countess"'))


def make_list(path: Path) -> None:
    path.write_text("[]")


def remove(path: Path) -> None:
    path.unlink()


def saved_at(store: Store, phase: PlannedPhase, *episodes: int) -> Path:
    """Run a phase and save it after each of the given numbers of episodes; its attempt's folder."""
    run = phase_run(store, phase)
    for number in range(1, max(episodes) + 1):
        run.advance(0)
        if number in episodes:
            run.save()
    (attempt,) = (store.phase(phase.key).path / "attempts").iterdir()
    return attempt


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("000000000100.json", truncate),
        ("000000000100.json", empty),
        ("000000000100.json", flip),
        ("000000000100.json", alter_digit),
        ("000000000100.json", rename_key),
        ("000000000100.json", make_list),
        ("000000000100.safetensors", truncate),
        ("000000000100.safetensors", flip),
        ("000000000100.safetensors", remove),
        ("000000000100.curve", flip),
        ("000000000100.curve", remove),
        ("rows-000000000050-000000000100.npy", truncate),
        ("rows-000000000050-000000000100.npy", flip),
        ("rows-000000000050-000000000100.npy", remove),
    ],
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    file: str,
    damage: Callable[[Path], None],
    undisturbed: Callable[[str], tuple[Store, list[PlannedPhase]]],
    tmp_path: Path,
) -> None:
    whole, (first, _) = undisturbed("plain")
    store = Store(tmp_path / "results", create=True)
    attempt = saved_at(store, first, 2, 4)
    damage(attempt / file)
    run = phase_run(store, first)
    assert run.advance(0).env_steps == 75
    assert run.advance(600).done
    assert what_it_left(store, first) == what_it_left(whole, first)
    (note,) = (store.phase(first.key).result() or {})["notes"]
    assert str(attempt / file) in note
    assert "going on from the checkpoint before it" in note


@pytest.mark.parametrize("file", ["000000000050.json", "rows-000000000000-000000000050.npy"])
def test_with_all_checkpoints_damaged_it_starts_anew(
    file: str, undisturbed: Callable[[str], tuple[Store, list[PlannedPhase]]], tmp_path: Path
) -> None:
    """An old piece of the buffer is part of every later checkpoint."""
    whole, phases = undisturbed("plain")
    store = Store(tmp_path / "results", create=True)
    attempt = saved_at(store, phases[0], 2, 4)
    truncate(attempt / file)
    truncate(attempt / "000000000100.json")
    run = phase_run(store, phases[0])
    assert run.advance(0).env_steps == 25
    assert run.advance(600).done
    assert what_it_left(store, phases[0]) == what_it_left(whole, phases[0])
    notes = (store.phase(phases[0].key).result() or {})["notes"]
    assert len(notes) == 2


def test_a_second_phase_with_a_damaged_checkpoint(
    undisturbed: Callable[[str], tuple[Store, list[PlannedPhase]]], tmp_path: Path
) -> None:
    whole, (first, second) = undisturbed("plain")
    store = Store(tmp_path / "results", create=True)
    run_whole(store, first)
    attempt = saved_at(store, second, 3, 5)
    truncate(attempt / f"{125:012d}.safetensors")
    assert phase_run(store, second).advance(600).done
    assert what_it_left(store, second) == what_it_left(whole, second)
    flipped = Store(tmp_path / "other", create=True)
    run_whole(flipped, first)
    for path in saved_at(flipped, second, 3).glob("*.json"):
        truncate(path)
    assert phase_run(flipped, second).advance(600).done
    assert what_it_left(flipped, second) == what_it_left(whole, second)


def test_notes_are_kept_through_another_interruption(
    undisturbed: Callable[[str], tuple[Store, list[PlannedPhase]]], tmp_path: Path
) -> None:
    whole, (first, _) = undisturbed("plain")
    store = Store(tmp_path / "results", create=True)
    truncate(saved_at(store, first, 2, 4) / "000000000100.json")
    run = phase_run(store, first)
    for _ in range(3):
        run.advance(0)
    run.save()
    assert phase_run(store, first).advance(600).done
    assert what_it_left(store, first) == what_it_left(whole, first)
    (note,) = (store.phase(first.key).result() or {})["notes"]
    assert "truncated" in note


def test_the_furthest_checkpoint_of_all_attempts_is_gone_on_from(
    undisturbed: Callable[[str], tuple[Store, list[PlannedPhase]]], tmp_path: Path
) -> None:
    whole, (first, _) = undisturbed("plain")
    store = Store(tmp_path / "results", create=True)
    runs = [phase_run(store, first) for _ in range(2)]
    for run, episodes in zip([*runs, *runs], (1, 1, 5, 2), strict=True):
        for _ in range(episodes):
            run.advance(0)
    for run in runs:
        run.save()
    run = phase_run(store, first)
    assert run.advance(0).env_steps == 175
    assert run.advance(600).done
    assert what_it_left(store, first) == what_it_left(whole, first)


def test_a_checkpoint_before_the_first_episode_and_one_after_the_last(
    undisturbed: Callable[[str], tuple[Store, list[PlannedPhase]]], tmp_path: Path
) -> None:
    whole, (first, _) = undisturbed("plain")
    store = Store(tmp_path / "results", create=True)
    saved_at(store, first, 8)
    run = phase_run(store, first)
    assert run.advance(0).stage == "evaluating"
    assert (store.phase(first.key).result() or {})["env_steps"] == 200
    assert run.advance(600).done
    assert what_it_left(store, first) == what_it_left(whole, first)


def test_another_number_of_threads_is_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(tmp_path / "results", create=True)
    first, _ = phases_of(toy_plan(first={"env_steps": 60}), "base")
    saved_at(store, first, 2)
    try:
        with caplog.at_level(logging.WARNING):
            run = PhaseRun(store, first.spec, [], [], ONE_THREAD.model_copy(update={"cpus": 2}))
            assert run.advance(600).done
    finally:
        import torch

        torch.set_num_threads(1)
    (note,) = (store.phase(first.key).result() or {})["notes"]
    assert note.startswith("threads changed from 1 to 2")
    assert note in caplog.text


def test_checkpoints_hold_no_pickle(tmp_path: Path) -> None:
    store = Store(tmp_path / "results", create=True)
    first, _ = phases_of(toy_plan(), "base")
    for path in saved_at(store, first, 2).iterdir():
        if path.suffix == ".npy":
            np.load(path, allow_pickle=False)
        assert path.suffix in {".npy", ".json", ".curve", ".safetensors"}
