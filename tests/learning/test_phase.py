"""The loop: when it learns, when it evaluates, when it stops."""

import traceback
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nbsp_ray.benchmarks import Continuous, Env, Observation, Spaces, Step, Vector
from nbsp_ray.config.schema import Learning, Sac
from nbsp_ray.errors import PhaseError
from nbsp_ray.learning.agent import Agent
from nbsp_ray.learning.hooks import ActiveMethod
from nbsp_ray.learning.manifest import digest
from nbsp_ray.learning.phase import Phase, Spread, learn
from nbsp_ray.learning.replay import Mixture, Replay, row_width
from nbsp_ray.learning.sac import Losses
from nbsp_ray.learning.seeding import Stream, generator
from nbsp_ray.learning.wishes import alone
from nbsp_ray.methods.replay import PastReplay
from nbsp_ray.specs import PhaseSpec

SPACES = Spaces(Vector(2), Continuous(1))
HORIZON = 5
SMALL = Sac(hidden=(4,), batch_size=4, learning_starts=6)
ALWAYS, NEVER = repeat(True), repeat(False)


class ScriptedEnv(Env):
    """Its n-th episode succeeds as the script says."""

    horizon, variations = HORIZON, 4

    def __init__(self, script: Iterator[bool] = NEVER, *, reward: float = 1.0, death: int | None = None) -> None:
        self.script, self.reward, self.death = script, reward, death
        self.steps, self.success, self.variations_played = 0, False, list[int]()

    def reset(self, variation: int, rng: np.random.Generator) -> Observation:
        self.steps, self.success = 0, next(self.script)
        self.variations_played.append(variation)
        return rng.standard_normal(2, dtype=np.float32)

    def step(self, action: np.ndarray) -> Step:
        self.steps += 1
        observation = np.array([self.steps, action[0]], np.float32)
        ended = self.steps == self.death
        return Step(observation, self.reward, ended, self.steps == HORIZON and not ended, self.success)


def new_phase(
    *,
    own: Iterator[bool] = NEVER,
    training: Iterator[bool] = NEVER,
    earlier: Iterator[bool] | None = None,
    env: Env | None = None,
    sac: dict[str, Any] | None = None,
    past_replay: Mixture | None = None,
    influence: ActiveMethod | None = None,
    seed: int = 0,
    **learning: Any,
) -> Phase:
    least = {"env_steps": 100, "eval_every": 10, "eval_episodes": 2, "stop_confirm_episodes": 0}
    settings = Learning.model_validate(least | learning)
    spec = PhaseSpec(
        benchmark="toy",
        revision="1",
        task="own",
        earlier_tasks=() if earlier is None else ("earlier",),
        seed=seed,
        sac=SMALL.model_copy(update=sac or {}),
        learning=settings,
    )
    envs = {"own": ScriptedEnv(own)} if earlier is None else {"earlier": ScriptedEnv(earlier), "own": ScriptedEnv(own)}
    return Phase(
        spec=spec,
        agent=Agent(spec.sac, SPACES, torch.device("cpu"), generator(seed, 0, Stream.NETWORKS)),
        replay=Replay(SPACES, settings.env_steps),
        past_replay=past_replay,
        influence=influence or ActiveMethod(()),
        env=env or ScriptedEnv(training),
        evaluation_envs=envs,
    )


def finished(phase: Phase) -> Phase:
    for _ in alone(learn(phase)):
        pass
    return phase


def rates(*values: float, episodes: int = 2) -> Iterator[bool]:
    """A script for evaluations of `episodes` episodes with these success rates; the last goes on for ever."""
    each = [[n < round(value * episodes) for n in range(episodes)] for value in values]
    return chain(chain.from_iterable(each), chain.from_iterable(repeat(each[-1])))


def rows(phase: Phase, kind: str, task: str = "own") -> list[dict[str, Any]]:
    return [row for row in phase.curve if row["kind"] == kind and row["task"] == task]


def env_steps(found: Sequence[dict[str, Any]]) -> list[int]:
    return [row["env_steps"] for row in found]


# Evaluations, and when it stops


def test_stable_stops_at_three_mastered_evaluations_in_a_row() -> None:
    #                                 at 0  10 20 30 40 50 60 (and on)
    phase = finished(new_phase(own=rates(1, 1, 1, 0.5, 1, 1, 1, 0), stop="stable"))
    found = rows(phase, "evaluation")
    assert [row["success"] for row in found] == [1, 1, 1, 0.5, 1, 1, 1]
    assert env_steps(found) == [0, 10, 20, 30, 40, 50, 60]
    assert (phase.stop_reason, phase.env_steps, phase.evaluations_at_threshold) == ("stable", 60, 3)


def test_evaluations_before_the_first_update_master_nothing() -> None:
    phase = finished(new_phase(own=ALWAYS, stop="stable", sac={"learning_starts": 25}))
    # At 0, 10 and 20 nothing has been learnt; 30, 40 and 50 count.
    assert (phase.stop_reason, phase.env_steps) == ("stable", 50)


@pytest.mark.parametrize(("threshold", "reason"), [(0.5, "stable"), (0.51, "budget")])
def test_the_threshold_itself_is_enough(threshold: float, reason: str) -> None:
    assert finished(new_phase(own=rates(0.5), stop_threshold=threshold)).stop_reason == reason


def test_fewer_evaluations_in_a_row_can_be_asked_for() -> None:
    phase = finished(new_phase(own=rates(0, 0, 1), stop_evaluations=1))
    assert (phase.stop_reason, phase.env_steps) == ("stable", 20)


def script(*episodes: int) -> Iterator[bool]:
    """Episode by episode; the last goes on for ever."""
    return chain(map(bool, episodes), repeat(bool(episodes[-1])))


def test_a_stop_is_confirmed_by_further_episodes_or_counting_begins_again() -> None:
    # Two episodes of each evaluation at 0, 10, 20 and 30; then three of four, which are too few.
    own = script(*[1] * 8, 1, 0, 1, 1, *[1] * 6, 1, 1, 1, 1, 0)
    phase = finished(new_phase(own=own, stop="stable", stop_confirm_episodes=4))
    assert (phase.stop_reason, phase.env_steps, phase.evaluations_at_threshold) == ("stable", 60, 3)
    assert [(row["env_steps"], row["success"]) for row in rows(phase, "confirmation")] == [(30, 0.75), (60, 1.0)]
    assert rows(phase, "confirmation")[0] == {
        "kind": "confirmation", "env_steps": 30, "updates": 25, "task": "own", "success": 0.75, "episodes": 4,
    }  # fmt: skip
    assert env_steps(rows(phase, "evaluation")) == [0, 10, 20, 30, 40, 50, 60]
    assert {row["success"] for row in rows(phase, "evaluation")} == {1}


def test_a_confirmation_needs_no_more_than_the_threshold() -> None:
    settings = {"stop_evaluations": 1, "stop_confirm_episodes": 4}
    for threshold, reason in ((0.75, "stable"), (0.76, "budget")):
        own = script(*[1] * 4, 1, 0, 1, 1, 0)
        phase = finished(new_phase(own=own, stop_threshold=threshold, **settings))
        assert (phase.stop_reason, len(rows(phase, "confirmation"))) == (reason, 1)


def test_a_stop_by_training_episodes_is_confirmed_by_the_frozen_policy() -> None:
    settings = {"training": ALWAYS, "stop": "stable_training", "stop_confirm_episodes": 4}
    assert finished(new_phase(own=NEVER, **settings)).stop_reason == "budget"
    phase = finished(new_phase(own=chain([False] * 8, ALWAYS), **settings))  # evaluations at 0, 10, 20 and 30
    assert (phase.stop_reason, phase.env_steps) == ("stable", 30)
    settings["training"] = ALWAYS
    failed = finished(new_phase(own=chain([False] * 9, ALWAYS), **settings))
    assert (failed.stop_reason, failed.env_steps) == ("stable", 60)


def test_confirmations_have_episodes_of_their_own_and_leave_evaluations_and_learning_alone() -> None:
    """As many episodes at the same env step on another stream: other goals, and the rest is as without them."""
    learning = {"stop": "stable", "eval_episodes": 8, "env_steps": 30, "stop_evaluations": 1}
    with_it = finished(new_phase(own=NEVER, training=ALWAYS, **learning))
    phase = new_phase(own=NEVER, training=ALWAYS, stop_confirm_episodes=8, **learning)
    env = phase.evaluation_envs["own"]
    assert isinstance(env, ScriptedEnv)
    env.script = chain([False] * 8, [True] * 8, NEVER)  # at 10 all succeed, and no episode of the confirmation does
    finished(phase)
    assert [row["env_steps"] for row in rows(phase, "confirmation")] == [10]
    assert env.variations_played[8:16] != env.variations_played[16:24]
    plain_env = with_it.evaluation_envs["own"]
    assert isinstance(plain_env, ScriptedEnv)
    assert env.variations_played[:16] + env.variations_played[24:] == plain_env.variations_played
    assert digest(phase.agent.arrays()) == digest(with_it.agent.arrays())


def test_fixed_confirms_nothing() -> None:
    phase = finished(new_phase(own=ALWAYS, stop="fixed", stop_confirm_episodes=4))
    assert (phase.stop_reason, rows(phase, "confirmation")) == ("budget", [])


def test_only_the_phases_own_task_is_to_be_mastered() -> None:
    assert finished(new_phase(own=NEVER, earlier=ALWAYS, stop="stable")).stop_reason == "budget"
    assert finished(new_phase(own=ALWAYS, earlier=NEVER, stop="stable")).stop_reason == "stable"


def test_stable_training_looks_at_the_last_training_episodes() -> None:
    # Episodes 1 to 3 fail: at 20 env steps the last two are (fail, good), at 30, 40, 50 both are good.
    script = chain([False] * 3, ALWAYS)
    phase = finished(new_phase(own=NEVER, training=script, stop="stable_training"))
    assert (phase.stop_reason, phase.env_steps) == ("stable", 50)
    assert [row["success"] for row in rows(phase, "training")] == [0, 0, 0, *[1] * 7]
    assert finished(new_phase(own=ALWAYS, training=NEVER, stop="stable_training")).stop_reason == "budget"


def test_stable_training_needs_enough_episodes() -> None:
    settings = {"stop": "stable_training", "eval_episodes": 5, "stop_evaluations": 1}
    assert finished(new_phase(training=ALWAYS, **settings)).env_steps == 30  # 5 episodes are there from 25 on


def test_fixed_runs_the_whole_budget() -> None:
    phase = finished(new_phase(own=ALWAYS, training=ALWAYS, stop="fixed"))
    assert (phase.stop_reason, phase.env_steps) == ("budget", 100)


def test_it_evaluates_at_the_beginning_and_at_the_end_and_cuts_the_last_episode() -> None:
    phase = finished(new_phase(earlier=ALWAYS, env_steps=23))
    assert env_steps(rows(phase, "evaluation")) == [0, 10, 20, 23]
    assert env_steps(rows(phase, "evaluation", "earlier")) == [0, 10, 20, 23]
    assert env_steps(rows(phase, "training")) == [5, 10, 15, 20, 23]
    assert rows(phase, "training")[-1]["env_return"] == 3
    assert len(phase.replay) == 23


def test_a_budget_that_ends_at_an_evaluation_is_evaluated_once() -> None:
    assert env_steps(rows(finished(new_phase(env_steps=20)), "evaluation")) == [0, 10, 20]


def test_evaluations_fall_on_the_next_end_of_an_episode() -> None:
    found = rows(finished(new_phase(env_steps=40, eval_every=12)), "evaluation")
    assert env_steps(found) == [0, 15, 25, 40]
    found = rows(finished(new_phase(env_steps=20, eval_every=2)), "evaluation")
    assert env_steps(found) == [0, 5, 10, 15, 20]


def test_rows_of_the_curve() -> None:
    phase = finished(new_phase(own=rates(0.5), earlier=rates(1), env=ScriptedEnv(ALWAYS, death=3), env_steps=20))
    first = rows(phase, "evaluation")[0]
    assert first == {
        "kind": "evaluation", "env_steps": 0, "updates": 0, "task": "own", "success": 0.5, "episodes": 2,
    }  # fmt: skip
    last = rows(phase, "evaluation")[-1]
    assert (last["env_steps"], last["updates"]) == (20, 15)
    assert {"critic_loss", "alpha"} <= last.keys()
    assert np.isfinite([last["critic_loss"], last["alpha"]]).all()
    other = rows(phase, "evaluation", "earlier")[-1]
    assert (other["success"], other["updates"], "critic_loss" in other) == (1, 15, False)
    trained = rows(phase, "training")
    assert trained[1] == {
        "kind": "training", "env_steps": 6, "episode": 1, "task": "own", "success": 1, "env_return": 3.0,
    }  # fmt: skip
    assert [row["episode"] for row in trained] == list(range(7))


def test_termination_is_stored_and_a_time_limit_is_not() -> None:
    limited = finished(new_phase(env_steps=10)).replay.rows(0, 10)
    assert limited[:, -1].tolist() == [0] * 10
    ended = finished(new_phase(env=ScriptedEnv(death=3), env_steps=9)).replay.rows(0, 9)
    assert ended[:, -1].tolist() == [0, 0, 1] * 3
    # s' of a step is s of the next, also where the episode ends: never the first observation of the next episode.
    for stored in (limited, ended):
        assert stored[:, 3].tolist() == [n + 1 for n in range(int(stored[:, 3].max()))] * (len(stored) // int(
            stored[:, 3].max()))  # fmt: skip
        np.testing.assert_array_equal(stored[1:3, :2], stored[:2, 3:5])


def test_evaluations_change_nothing_in_training() -> None:
    found = []
    for every in (5, 10, 10**9):
        phase = finished(new_phase(own=NEVER, eval_every=every, env_steps=60, eval_episodes=3 if every == 5 else 1))
        found.append((digest(phase.agent.arrays()), phase.replay.rows(0, 60).tobytes(), rows(phase, "training")))
    assert len(rows(phase, "evaluation")) == 2
    assert found[0] == found[1] == found[2]


def test_the_seed_and_the_place_in_the_sequence_change_everything() -> None:
    def trace(phase: Phase) -> bytes:
        return finished(phase).replay.rows(0, 20).tobytes()

    seeds = [trace(new_phase(env_steps=20, seed=seed)) for seed in (0, 0, 1)]
    assert seeds[0] == seeds[1] != seeds[2]
    assert trace(new_phase(env_steps=20, earlier=NEVER)) != seeds[0]


def test_goals_are_drawn_from_all_variations() -> None:
    env = ScriptedEnv()
    finished(new_phase(env=env, env_steps=400, eval_every=10**9))
    assert set(env.variations_played) == {0, 1, 2, 3}


# When it learns


def traced(phase: Phase) -> list[int]:
    """Updates made by the end of each env step."""
    made: list[int] = []
    add: Callable[..., None] = phase.replay.add

    def spy(*row: Any, **options: bool) -> None:
        if phase.env_steps > 1:  # This row is of the env step under way.
            made.append(phase.agent.updates.critic)
        add(*row, **options)

    phase.replay.add = spy  # type: ignore[method-assign]
    finished(phase)
    return [*made, phase.agent.updates.critic]


@pytest.mark.parametrize(
    ("per_step", "expected"),
    [
        (1, [0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (2, [0, 0, 0, 0, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20]),
        (0.25, [0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3]),
        (0.1, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        (1.5, [0, 0, 0, 0, 0, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15]),
    ],
)
def test_updates_start_at_learning_starts_and_keep_their_pace(per_step: float, expected: list[int]) -> None:
    assert traced(new_phase(env_steps=15, sac={"updates_per_env_step": per_step})) == expected


@pytest.mark.parametrize("per_step", [0.1, 0.3, 0.7, 0.29])
def test_the_pace_is_kept_over_many_env_steps(per_step: float) -> None:
    sac = {"updates_per_env_step": per_step, "learning_starts": 1}
    made = traced(new_phase(env_steps=200, sac=sac, eval_every=10**9))
    assert made == [int(-(-(step + 1) * round(per_step * 100) // 100)) for step in range(200)]


@pytest.mark.parametrize("starts", [0, 1])
def test_learning_may_start_at_once(starts: int) -> None:
    assert traced(new_phase(env_steps=5, sac={"learning_starts": starts})) == [1, 2, 3, 4, 5]


def test_actions_are_random_until_learning_starts() -> None:
    """The same whatever the networks are, and uniform in [-1, 1]; after that the policy acts."""
    sac = {"learning_starts": 300}
    taken = []
    for shift in (0.0, 100.0):
        phase = new_phase(env_steps=320, eval_every=10**9, sac=sac)
        phase.agent.state.actor[0, 0, -2:] = shift  # the biases of mean and log_std
        taken.append(finished(phase).replay.rows(0, 320)[:, 2])
    np.testing.assert_array_equal(taken[0][:300], taken[1][:300])
    assert abs(taken[0][:300].mean()) < 0.1
    assert taken[0][:300].std() == pytest.approx(1 / np.sqrt(3), rel=0.1)
    assert taken[0][:300].min() >= -1
    assert taken[1][300] == 1
    assert taken[0][300] != taken[1][300]


# Replay of the past


def test_every_tenth_batch_from_the_past_is_a_tenth_for_the_critics_and_a_fifth_for_the_actor() -> None:
    marked = np.zeros((3, row_width(SPACES)), np.float32)
    marked[:, -2] = 77
    phase = new_phase(
        env_steps=205,
        past_replay=Mixture([Replay.of(SPACES, marked)]),
        influence=ActiveMethod((PastReplay(interval=10),)),
    )
    seen: list[tuple[bool, bool]] = []
    learn_until: Callable[..., Losses] = phase.agent.learn_until

    def spy(*args: Any) -> Losses:
        losses = learn_until(*args)
        # Two squares of 77, or of less than 10: the losses say what the batch was.
        assert losses.critic.item() > 1_000 or losses.critic.item() < 200
        seen.append((losses.critic.item() > 1_000, losses.actor is not None))
        return losses

    phase.agent.learn_until = spy  # type: ignore[method-assign]
    finished(phase)
    assert len(seen) == 200
    assert [number for number, (past, _) in enumerate(seen) if past] == list(range(0, 200, 10))
    assert [number for number, (_, actor) in enumerate(seen) if actor] == list(range(0, 200, 2))
    assert phase.agent.updates.past_share() == {"critic": 0.1, "actor": 0.2}


@pytest.mark.parametrize(("parts", "actor", "critic"), [(("actor",), 0.2, 0), (("critic",), 0, 0.1)])
def test_replay_into_one_part_leaves_the_other_on_its_own_task(
    parts: tuple[Any, ...], actor: float, critic: float
) -> None:
    marked = np.zeros((3, row_width(SPACES)), np.float32)
    marked[:, -2] = 77
    past = Mixture([Replay.of(SPACES, marked)])
    influence = ActiveMethod((PastReplay(interval=10, parts=parts),))
    phase = new_phase(env_steps=205, past_replay=past, influence=influence)
    seen: list[bool] = []
    learn_until: Callable[..., Losses] = phase.agent.learn_until

    def spy(*args: Any) -> Losses:
        losses = learn_until(*args)
        seen.append(losses.critic.item() > 1_000)
        return losses

    phase.agent.learn_until = spy  # type: ignore[method-assign]
    finished(phase)
    assert [number for number, of_past in enumerate(seen) if of_past] == (list(range(0, 200, 10)) if critic else [])
    assert phase.agent.updates.past_share() == {"critic": critic, "actor": actor}


def test_without_a_method_that_replays_the_past_is_left_alone() -> None:
    marked = np.full((3, row_width(SPACES)), np.nan, np.float32)
    phase = finished(new_phase(past_replay=Mixture([Replay.of(SPACES, marked)])))
    assert phase.agent.updates.past_share() == {"critic": 0, "actor": 0}
    assert np.isfinite(phase.agent.arrays()["critic"]).all()


# Divergence


@pytest.mark.parametrize(
    ("reward", "sac"),
    [
        pytest.param(1e30, {}, id="losses overflow"),
        pytest.param(np.nan, {}, id="the simulator gives nan"),
        pytest.param(np.nan, {"learning_starts": 10**6}, id="the simulator gives nan before the first update"),
    ],
)
def test_divergence_is_an_error_that_says_what_to_do(reward: float, sac: dict[str, Any]) -> None:
    with pytest.raises(PhaseError, match=r"(?s)diverged.*env steps.*lower sac\.critic_lr and sac\.actor_lr"):
        finished(new_phase(env=ScriptedEnv(reward=reward), sac=sac))


@pytest.mark.parametrize("part", ["actor", "critic"])
def test_networks_that_the_last_update_broke_are_never_handed_on(part: str) -> None:
    phase = new_phase(env_steps=40)
    learn_until: Callable[..., Losses] = phase.agent.learn_until

    def spy(*args: Any) -> Losses:
        losses = learn_until(*args)
        if phase.env_steps == 40:
            getattr(phase.agent.state, part)[0, -1, 3] = np.nan
        return losses

    phase.agent.learn_until = spy  # type: ignore[method-assign]
    with pytest.raises(PhaseError, match="diverged at 40 env steps"):
        finished(phase)


# The way down


def test_from_the_loop_to_a_matrix_product_are_few_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader who asks what an update is goes down this far: one function after another, none of them a detour."""
    product, ways = torch.bmm, list[list[str]]()

    def noted(*factors: torch.Tensor) -> torch.Tensor:
        names = [frame.name for frame in traceback.extract_stack() if "/learning/" in frame.filename]
        ways.append(names[names.index("alone") + 1 : names.index("_linear") + 1])
        return product(*factors)

    work = alone(learn(new_phase(env_steps=8)))
    monkeypatch.setattr("torch.bmm", noted)
    for _ in work:
        pass
    critics, actor = ([way for way in ways if step in way] for step in ("critics", "actor"))
    assert ["learn_until", "__call__", "critics", "critic_losses", "q_of", "forward", "_linear"] in [
        way[1:] for way in critics
    ]
    assert max(map(len, critics)) <= 9
    assert max(map(len, actor)) <= 9


# Rewards in units of their returns


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30))
def test_a_spread_is_that_of_all_numbers(numbers: list[float]) -> None:
    spread = Spread()
    for number in numbers:
        spread.add(number)
    assert spread.mean == pytest.approx(np.mean(numbers), rel=1e-9, abs=1e-9)
    expected = np.std(numbers)
    assert spread.deviation == (pytest.approx(expected, rel=1e-6) if expected > 1e-3 else pytest.approx(1, abs=1))


def test_rewards_are_scaled_by_the_returns_of_the_phase() -> None:
    """Of reward 2 at each of five steps the discounted returns are 2, 2 + 2 gamma, ..., anew in each episode."""
    env, scales = ScriptedEnv(reward=2.0), list[float]()
    phase = new_phase(env=env, env_steps=23, sac={"reward_scale": "running", "gamma": 0.5})
    for _ in alone(learn(phase)):
        assert phase.agent.state.reward_scale is not None
        scales.append(phase.agent.state.reward_scale.item())
    returns = [2.0, 3.0, 3.5, 3.75, 3.875]
    expected = [1 / np.std(returns)] * 4 + [1 / np.std(returns * 4 + returns[:3])]
    assert scales == pytest.approx(expected, rel=1e-6)


def test_rewards_that_never_vary_are_left_alone() -> None:
    phase = new_phase(env=ScriptedEnv(reward=0.0), env_steps=11, sac={"reward_scale": "running"})
    for _ in alone(learn(phase)):
        assert phase.agent.state.reward_scale is not None
        assert phase.agent.state.reward_scale.item() == 1
