"""Phases on games, end to end: what they leave, what methods do there, and that being killed changes nothing."""

import json
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from interrupted import run_interrupted, what_it_left
from phase_files import paths_of
from pixel_toy import BENCHMARK, CONVOLUTIONS, SIZE, pixel_plan
from toy_phases import phase_run, phases_of, run_whole

from nbsp_ray.benchmarks import Continuous, Spaces, Vector, get_benchmark
from nbsp_ray.config.schema import Sac
from nbsp_ray.layout import Image, Layout
from nbsp_ray.learning import execution, final
from nbsp_ray.learning.agent import NETWORKS, Agent, target_interval
from nbsp_ray.learning.frames import NO_TRANSITION, FrameReplay
from nbsp_ray.learning.phase import updates_due
from nbsp_ray.learning.sac import SacState
from nbsp_ray.learning.wishes import Watch
from nbsp_ray.methods import methods
from nbsp_ray.specs import PlannedPhase
from nbsp_ray.store import Store

pytestmark = pytest.mark.usefixtures("pixel_toy")
SPACES: Spaces = BENCHMARK.spaces()["catch"]
LAYOUT = Layout(SPACES.observation.stack, (8,), 3, Image(SPACES.observation.frame, CONVOLUTIONS))
ROLLOUTS = "catch.rollouts.60steps.train"
WIDTH = SIZE * SIZE + 4
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "wrap-around": {"sac": {"buffer_size": 50}},
    "odd periods": {"sac": {"updates_per_env_step": 1.5, "target_period": 7}, "first": {"env_steps": 90}},
    "three tasks": {"pairs": (("catch", "dodge", "catch"),), "second": {"env_steps": 70}},
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results", create=True)


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, pixel_toy: None
) -> Callable[[str], tuple[Store, list[PlannedPhase]]]:
    """All phases of an nbsp trial of a variant, run in one go; each variant once."""
    kept: dict[str, tuple[Store, list[PlannedPhase]]] = {}

    def run(variant: str) -> tuple[Store, list[PlannedPhase]]:
        if variant not in kept:
            store = Store(tmp_path_factory.mktemp("whole"), create=True)
            phases = phases_of(pixel_plan(methods=("nbsp",), **VARIANTS[variant]), "nbsp")
            for phase in phases:
                run_whole(store, phase)
            kept[variant] = store, phases
        return kept[variant]

    return run


Undisturbed = Callable[[str], tuple[Store, list[PlannedPhase]]]


# What is left


def test_what_a_first_phase_leaves(undisturbed: Undisturbed) -> None:
    store, (first, _) = undisturbed("plain")
    folder = store.phase(first.key)
    data, result, replay = folder.evaluation(ROLLOUTS), folder.result(), folder.replay()
    assert data is not None
    assert result is not None
    assert replay is not None
    games = [f"evaluations/{ROLLOUTS}/{number:05d}.npy" for number in range(data["episodes"])]
    assert set(paths_of(store, first.key)) == {
        "spec.json", "result.json", "manifest.json", "curve.jsonl", "agent.safetensors", "replay.npy", *games,
        f"evaluations/{ROLLOUTS}.safetensors", f"evaluations/{ROLLOUTS}.json",
        "evaluations/catch.deterministic.5.train.json",
    }  # fmt: skip
    # One update every other env step from the 40th on.
    assert (result["env_steps"], result["updates"], result["stop_reason"]) == (160, 61, "budget")
    assert replay.dtype == np.uint8
    assert replay.shape == (160, WIDTH)
    tails = (replay[:, -1] & NO_TRANSITION > 0).sum()
    assert result["buffer_transitions"] == len(FrameReplay.of(SPACES, replay)) == 160 - tails


def test_the_final_evaluation_plays_whole_games_for_so_many_env_steps(undisturbed: Undisturbed) -> None:
    store, (first, second) = undisturbed("plain")
    for phase, tasks in ((first, {"catch"}), (second, {"catch", "dodge"})):
        folder = store.phase(phase.key)
        assert {record.split(".")[0] for record in folder.evaluations()} == tasks
        for record in folder.evaluations():
            data = folder.evaluation(record)
            assert data is not None
            assert data["success_rate"] is None
            assert len(data["env_return"]) == data["episodes"]
            assert data["mean_return"] == pytest.approx(np.mean(data["env_return"]))
            if data["mode"] == "deterministic":
                assert data["episodes"] == BENCHMARK.variations, "each start once"
            else:
                assert 60 <= data["env_steps"] < 60 + BENCHMARK.horizon
    games = [store.phase(first.key).episode(ROLLOUTS, number) for number in range(2)]
    lengths = [len(rows) - 1 for rows in games if rows is not None]
    assert all(8 <= length <= BENCHMARK.horizon for length in lengths), "a game has at least two rounds of four steps"


def test_the_evaluation_stops_with_the_first_game_that_reaches_the_steps(undisturbed: Undisturbed) -> None:
    store, (first, _) = undisturbed("plain")
    data = store.phase(first.key).evaluation(ROLLOUTS)
    assert data is not None
    games = [store.phase(first.key).episode(ROLLOUTS, number) for number in range(data["episodes"])]
    lengths = [len(rows) - 1 for rows in games if rows is not None]
    assert sum(lengths) == data["env_steps"]
    assert sum(lengths[:-1]) < 60


def test_the_curve_is_of_raw_scores(undisturbed: Undisturbed) -> None:
    store, (_, second) = undisturbed("plain")
    curve = store.phase(second.key).curve()
    training = [row for row in curve if row["kind"] == "training"]
    evaluations = [row for row in curve if row["kind"] == "evaluation"]
    assert {row["success"] for row in curve} == {None}
    assert all(row["env_return"] in range(0, 30, 2) for row in training)
    assert {row["task"] for row in evaluations} == {"catch", "dodge"}
    assert all(row["env_return"] is not None for row in evaluations)
    assert training[-1]["env_steps"] == 120


def test_a_second_phases_sample_is_of_whole_transitions(undisturbed: Undisturbed) -> None:
    store, (_, second) = undisturbed("plain")
    sample, result = store.phase(second.key).sample(), store.phase(second.key).result()
    assert sample is not None
    assert result is not None
    transitions = result["buffer_transitions"]
    assert sample.shape == (transitions * (SPACES.observation.stack + 1), WIDTH)
    batch = FrameReplay.of(SPACES, sample).all()
    assert batch.rows.shape[1] == transitions
    assert batch.observations[..., 1, -1].eq(60).all(), "frames of the second game"


# What methods do


@pytest.fixture(scope="module")
def all_methods(short_trials: Store, pixel_toy: None) -> tuple[Store, dict[str, list[PlannedPhase]]]:
    """A trial of every method of the table, on one store."""
    plan = pixel_plan(methods=tuple(methods()))
    for phase in plan.phases.values():
        if not short_trials.phase(phase.key).done():
            run_whole(short_trials, phase)
    return short_trials, {name: phases_of(plan, name) for name in methods()}


def test_every_method_learns_a_second_game(all_methods: tuple[Store, dict[str, list[PlannedPhase]]]) -> None:
    store, trials = all_methods
    firsts = {name: phases[0].key for name, phases in trials.items()}
    assert {name for name, key in firsts.items() if key != firsts["base"]} == {"l2_init"}
    digests = {}
    for name, (_, second) in trials.items():
        folder = store.phase(second.key)
        result = folder.result()
        assert result is not None
        json.dumps(result, allow_nan=False)
        digests[name] = result["digest"]
        # Updates 0 to 40: five of them, 0, 10, ..., 40, on batches of the first game.
        replays = second.spec.has("replay")
        assert replays == (name in ("replay_only", "ewc_replay", "ancl_replay") or "nbsp" in name)
        share = 5 / 41 if replays else 0.0
        assert (result["updates"], result["replay_share"]) == (41, {"actor": share, "critic": share})
        agent = folder.agent()
        assert agent is not None
        assert all(np.isfinite(array).all() for array in agent.values())
    assert len(set(digests.values())) == len(digests), "no two methods do the same"


@pytest.mark.parametrize(
    ("name", "networks"),
    [
        ("nbsp", {"actor", "q1", "q2"}), ("nbsp_actor", {"actor"}), ("nbsp_critic", {"q1", "q2"}),
        ("mask_only", {"actor", "q1", "q2"}), ("random_nbsp", {"actor", "q1", "q2"}),
        ("nbsp_balanced", {"actor", "q1", "q2"}),
        ("importance_nbsp", {"actor", "q1", "q2"}),
    ],
)  # fmt: skip
def test_frozen_filters_are_bit_identical_after_the_phase(
    name: str, networks: set[str], all_methods: tuple[Store, dict[str, list[PlannedPhase]]]
) -> None:
    store, trials = all_methods
    before, after, prepared, result = (
        store.phase(trials[name][0].key).agent(), store.phase(trials[name][1].key).agent(),
        store.phase(trials[name][1].key).prepared(), store.phase(trials[name][1].key).result(),
    )  # fmt: skip
    assert before is not None
    assert after is not None
    assert result is not None
    assert set(result["neurons"]) == set(result["drift"]) == networks
    in_filters = 0
    for network, (part, member) in NETWORKS.items():
        bits, old = (agent[part][0, member].view(np.int32) for agent in (after, before))
        frozen = prepared.get(f"mask.{network}.frozen", np.zeros(LAYOUT.neurons, np.bool_))
        assert frozen.sum() == (5 if network in networks else 0)  # 0.3 of 4 + 6 + 8
        still = LAYOUT.spread(frozen.astype(np.float32), output=0) > 0
        assert (bits[still] == old[still]).all()
        assert (bits[~still] != old[~still]).mean() > 0.2, "what is free and alive has learnt"
        assert after[f"{part}.mean"][0, member][still].any() or not frozen.any(), "Adam's memory of them goes on"
        in_filters += int(frozen[:10].sum())
        if network in networks:
            report = result["neurons"][network]
            assert report["selected_per_layer"] == [frozen[:4].sum(), frozen[4:10].sum(), frozen[10:].sum()]
            assert report["frozen_parameters"] == pytest.approx(still.mean())
            drift = result["drift"][network]
            assert drift[0] in (0.0, None), "a frozen filter of the first layer sees the same frames"
    assert in_filters > 0


def test_selected_neurons_are_those_whose_activity_goes_with_the_games_return(
    all_methods: tuple[Store, dict[str, list[PlannedPhase]]],
) -> None:
    """From the games' files: the mean over a channel's map, against the return of the whole game."""
    from plain_networks import plain_network
    from torch import from_numpy, nn

    store, trials = all_methods
    first, second = trials["nbsp"]
    folder = store.phase(first.key)
    agent, data = folder.agent(), folder.evaluation(ROLLOUTS)
    assert agent is not None
    assert data is not None
    frames, q = [], []
    for number, value in enumerate(data["env_return"]):
        rows = folder.episode(ROLLOUTS, number)
        assert rows is not None
        batch = FrameReplay.of(SPACES, rows).all()
        frames.append(batch.observations[0].numpy().astype(np.float64) / 255)
        q += [value] * len(frames[-1])
    good = np.array(q) > np.mean(q)
    assert 0 < good.mean() < 1
    for network, (part, member) in NETWORKS.items():
        x, found = from_numpy(np.concatenate(frames)), []
        for module in plain_network(LAYOUT, from_numpy(agent[part][0, member])):
            x = module(x)
            if isinstance(module, nn.ReLU):
                found.append((x.mean((2, 3)) if x.ndim == 4 else x).detach().numpy())
        a = np.concatenate(found, 1)
        accuracy = ((a > a.mean(0)) == good[:, None]).mean(0)
        score = np.where(np.ptp(a, axis=0) == 0, -1, np.maximum(accuracy, 1 - accuracy))
        chosen = np.flatnonzero(store.phase(second.key).prepared()[f"mask.{network}.frozen"])
        stored = store.phase(second.key).prepared()[f"mask.{network}.score"]
        # Single precision may put a step that lies on the mean to its other side.
        np.testing.assert_allclose(stored, np.maximum(accuracy, 1 - accuracy), atol=3 / len(q))
        assert score[chosen].min() >= np.sort(score)[-5] - 3 / len(q)


def test_ewc_holds_what_base_lets_go(tmp_path: Path) -> None:
    """With a coefficient beyond all reason the actor stays where it was."""
    store = Store(tmp_path / "results", create=True)
    plan = pixel_plan(methods=("base", "ewc"), method={"ewc_coef": 1e6})
    for phase in plan.phases.values():
        run_whole(store, phase)
    moved = {}
    for name in ("base", "ewc"):
        first, second = (store.phase(phase.key).agent() or {} for phase in phases_of(plan, name))
        moved[name] = np.abs(second["actor"] - first["actor"]).mean()
    assert moved["ewc"] < 0.5 * moved["base"]


# Killed and gone on with


@pytest.mark.parametrize("variant", VARIANTS)
def test_interrupted_at_random_ends_bit_identical(variant: str, undisturbed: Undisturbed, store: Store) -> None:
    whole, phases = undisturbed(variant)
    for number, phase in enumerate(phases):
        assert run_interrupted(store, phase, seed=number) >= 1
        assert what_it_left(store, phase) == what_it_left(whole, phase)


def test_an_evaluation_that_is_cut_goes_on_where_it_was_saved(
    undisturbed: Undisturbed, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, (first, _) = undisturbed("plain")
    games: list[int] = []
    watch_once = final.Watch

    def counted(policy: Any, env: Any, plan: Any, *options: Any) -> Watch:
        games.append(plan.variation)
        return watch_once(policy, env, plan, *options)

    monkeypatch.setattr(final, "Watch", counted)
    run = phase_run(store, first)
    while run.advance(0).stage == "learning":
        pass
    run.advance(0)
    run.save()
    saved = len(games)
    assert saved >= 2
    run.advance(0)  # a game that is lost with the process
    data = whole.phase(first.key).evaluation(ROLLOUTS)
    assert data is not None
    assert data["episodes"] > saved
    games.clear()
    assert phase_run(store, first).advance(600).done
    assert games[: data["episodes"] - saved] == [number % 5 for number in range(saved, data["episodes"])]
    monkeypatch.undo()
    assert what_it_left(store, first) == what_it_left(whole, first)
    assert not (store.phase(first.key).path / "unfinished").exists()


def test_a_damaged_note_of_an_evaluation_costs_its_games_and_nothing_else(
    undisturbed: Undisturbed, store: Store
) -> None:
    whole, (first, _) = undisturbed("plain")
    run = phase_run(store, first)
    while run.advance(0).stage == "learning":
        pass
    run.save()
    (note,) = (store.phase(first.key).path / "unfinished").iterdir()
    note.write_bytes(note.read_bytes()[:10])
    assert phase_run(store, first).advance(600).done
    assert what_it_left(store, first) == what_it_left(whole, first)


# Memory


def test_no_buffer_is_held_beside_the_final_evaluation(undisturbed: Undisturbed, store: Store) -> None:
    _, phases = undisturbed("plain")
    run_whole(store, phases[0])
    run = phase_run(store, phases[1])
    run.advance(0)
    assert run._open is not None
    assert run._open.phase.past_replay is not None
    buffers = [weakref.ref(run._open.phase.replay), *(weakref.ref(one) for one in run._open.phase.past_replay.buffers)]
    while run.advance(0).stage == "learning":
        assert all(one() is not None for one in buffers)
    assert all(one() is None for one in buffers)
    progress = run.progress()
    assert (progress.env_steps, progress.updates) == (120, 41)


def test_d_pre_is_opened_once(undisturbed: Undisturbed, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mapped twice, its pages would count twice: for the method's preparation, for its drift, and to learn from."""
    _, phases = undisturbed("plain")
    run_whole(store, phases[0])
    opened: list[weakref.ref[FrameReplay]] = []
    of_once = FrameReplay.of

    def watched(spaces: Spaces, rows: np.ndarray, device: Any = None) -> FrameReplay:
        found = of_once(spaces, rows, device)
        if len(rows) == 160:
            assert all(one() is None for one in opened)
            opened.append(weakref.ref(found))
        return found

    monkeypatch.setattr(FrameReplay, "of", watched)
    run_whole(store, phases[1])
    assert 1 <= len(opened) <= 2


@pytest.mark.parametrize(
    ("per_env_step", "updates", "first_copy"), [(0.25, 2_000, 27_996), (1.0, 8_000, 27_999), (4.0, 32_000, 27_999)]
)
def test_copies_of_the_paper_are_8000_env_steps_apart(per_env_step: float, updates: int, first_copy: int) -> None:
    sac = Sac.model_validate({**get_benchmark("atari").defaults["sac"], "updates_per_env_step": per_env_step})
    agent = Agent(sac.model_copy(update={"hidden": (4,)}), SPACES, torch.device("cpu"), np.random.default_rng(0))
    env_steps, numbers = list[int](), list[int]()
    for env_step in range(19_990, 45_000):
        due = updates_due(SimpleNamespace(spec=SimpleNamespace(sac=sac), env_steps=env_step))  # type: ignore[arg-type]
        while agent.updates.critic < due:
            agent.updates.count(with_actor=True, from_past=())
            if agent._targets_due():
                env_steps.append(env_step)
                numbers.append(agent.updates.critic)
    assert numbers == [updates, 2 * updates, 3 * updates]
    assert env_steps == [first_copy, first_copy + 8_000, first_copy + 16_000]


def test_periods_of_continuous_actions_are_in_updates() -> None:
    sac = Sac(target_period=30, updates_per_env_step=0.1)
    assert target_interval(sac, Spaces(Vector(2), Continuous(1))) == 30
    assert target_interval(sac, SPACES) == 3, "exactly, though 0.1 is a little more than a tenth"


@pytest.mark.parametrize(("per_env_step", "first_copy"), [(0.25, 56), (1.0, 59), (4.0, 59)])
def test_copies_are_so_many_env_steps_apart(
    per_env_step: float, first_copy: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the targets: every 20 env steps, counted from the first update at the 40th, whatever happens between them."""
    sac = {"updates_per_env_step": per_env_step, "target_period": 20, "learning_starts": 40}
    phase = phases_of(pixel_plan(sac=sac, first={"env_steps": 130, "eval_every": 130}), "base")[0]
    run, copied, track_targets = phase_run(store, phase), list[int](), execution.track_targets

    def watched(state: SacState, tau: float, lanes: Any) -> None:
        assert run._open is not None
        copied.append(run._open.phase.env_steps)
        track_targets(state, tau, lanes)

    monkeypatch.setattr(execution, "track_targets", watched)
    while run.advance(0).stage == "learning":
        pass
    assert copied == list(range(first_copy, 131, 20))


def test_a_game_is_learnt_from_its_frames(store: Store) -> None:
    """Of the seven balls of a game a random paddle catches about one in four; 14 points are all of them."""
    sac = {"hidden": (32,), "batch_size": 32, "learning_starts": 300, "buffer_size": 3_000, "target_period": 100}
    rates = {"target_entropy_scale": 0.3}
    first = {"env_steps": 3_000, "eval_every": 3_000, "eval_episodes": 20}
    phase = phases_of(pixel_plan(sac=sac | rates, first=first), "base")[0]
    run_whole(store, phase)
    before, after = (row["env_return"] for row in store.phase(phase.key).curve() if row["kind"] == "evaluation")
    assert before < 3
    assert after > 6
