"""What is observed, how one acts and what is judged are independent: every method on meetings that none ships."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from axes_toys import SIZE, STACK, SeenToy, axes_plan
from interrupted import run_interrupted, what_it_left
from torch.nn import functional
from toy_phases import phases_of, run_whole

from nbsp_ray.benchmarks import Continuous, Discrete, Score, Spaces, Step, Success, get_benchmark
from nbsp_ray.config.schema import Sac
from nbsp_ray.errors import ConfigError
from nbsp_ray.layout import layouts
from nbsp_ray.learning.agent import NETWORKS, Agent
from nbsp_ray.learning.categorical import Categorical
from nbsp_ray.learning.final import read_rollouts
from nbsp_ray.learning.frames import FrameBatch, FrameReplay
from nbsp_ray.learning.gaussian import Gaussian
from nbsp_ray.learning.importance import actor_fisher, critic_fisher
from nbsp_ray.methods import methods
from nbsp_ray.specs import PlannedPhase
from nbsp_ray.store import Store

pytestmark = pytest.mark.usefixtures("axes_toys")
SPACES = SeenToy.its_spaces
HIDDEN = (8,)
Trials = tuple[Store, dict[str, list[PlannedPhase]]]


@pytest.fixture(scope="module", params=["scored_toy", "seen_toy", "stepped_toy"])
def trials(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, axes_toys: None) -> Trials:
    """A trial of every method on one benchmark; of a few on one that shares its parts with the toy and with games."""
    store = Store(tmp_path_factory.mktemp("axes"), create=True)
    wanted = ("base", "nbsp", "ewc") if request.param == "stepped_toy" else tuple(methods())
    plan = axes_plan(request.param, methods=wanted)
    for phase in plan.phases.values():
        run_whole(store, phase)
    return store, {name: phases_of(plan, name) for name in wanted}


def test_every_method_learns_and_what_it_freezes_stays(trials: Trials) -> None:
    store, by_method = trials
    digests = {}
    for name, (first, second) in by_method.items():
        result = store.phase(second.key).result()
        before, after = store.phase(first.key).agent(), store.phase(second.key).agent()
        assert result is not None
        assert before is not None
        assert after is not None
        json.dumps(result, allow_nan=False)
        digests[name] = result["digest"]
        benchmark = get_benchmark(first.spec.benchmark)
        both = layouts(benchmark.task_spaces(first.spec.task), HIDDEN)
        if first.spec.benchmark == "scored_toy":
            assert not result.get("score_undefined"), "episodes differ in their score, so that neurons have one"
        for network, frozen in store.phase(second.key).prepared().items():
            kind, network, what = network.split(".") if network.count(".") == 2 else ("", "", "")
            if (kind, what) == ("mask", "frozen"):
                part, member = NETWORKS[network]
                still = both[part].spread(frozen.astype(np.float32), output=0) > 0
                bits, old = (agent[part][0, member].view(np.int32) for agent in (after, before))
                assert still.any()
                assert (bits[still] == old[still]).all()
                assert (bits[~still] != old[~still]).any()
    assert len({digests[name] for name in ("base", "nbsp", "ewc")}) == 3


def test_the_steps_of_the_evaluation_are_kept_with_their_criterion(trials: Trials) -> None:
    store, by_method = trials
    (first, _), benchmark = by_method["base"], get_benchmark(by_method["base"][0].spec.benchmark)
    folder, record = store.phase(first.key), "reach.rollouts.4.train"
    data, spaces = folder.evaluation(record), benchmark.task_spaces("reach")
    rollouts = read_rollouts(folder, record, spaces)
    assert data is not None
    assert rollouts is not None
    assert rollouts.ends.tolist() == [25, 50, 75, 100]
    of_episodes = rollouts.criterion.reshape(4, 25)
    if benchmark.judged_by.kind == "score":
        assert data["success_rate"] is None
        np.testing.assert_array_equal(of_episodes, np.repeat(data["env_return"], 25).reshape(4, 25))
    else:
        assert of_episodes.any(1).tolist() == data["success"]
        assert data["success_rate"] == np.mean(data["success"])
    blocks = list(rollouts.take(np.array([3, 60])))
    assert sum(len(observations) for observations, _ in blocks) == 2
    actions = np.concatenate([did for _, did in blocks])
    assert actions.shape == ((2, 2) if isinstance(spaces.action, Continuous) else (2,))


def test_the_curve_has_what_is_judged(trials: Trials) -> None:
    store, by_method = trials
    first, _ = by_method["base"]
    scored = get_benchmark(first.spec.benchmark).judged_by.kind == "score"
    for row in store.phase(first.key).curve():
        assert (row["success"] is None) == scored
        assert row["kind"] == "training" or ("env_return" in row) == scored


def test_interrupted_phases_end_bit_identical(tmp_path: Path, trials: Trials) -> None:
    whole, by_method = trials
    store = Store(tmp_path / "results", create=True)
    for number, phase in enumerate(by_method["nbsp"]):
        assert run_interrupted(store, phase, seed=number) >= 1
        assert what_it_left(store, phase) == what_it_left(whole, phase)


# Networks


def frame_batch(spaces: Spaces, size: int = 5) -> FrameBatch:
    rng, replay = np.random.default_rng(0), FrameReplay(spaces, 50)
    stack = rng.integers(256, size=(STACK, SIZE, SIZE)).astype(np.uint8)
    for number in range(size):
        action: Any = rng.uniform(-1, 1, spaces.action.size).astype(np.float32)
        if isinstance(spaces.action, Discrete):
            action = rng.integers(spaces.action.size)
        following = np.concatenate([stack[1:], rng.integers(256, size=(1, SIZE, SIZE)).astype(np.uint8)])
        step = Step(following, 0.1 * number - 0.25, terminated=number == size - 1, truncated=False, success=False)
        replay.add(stack, action, step, last=number == size - 1)
        stack = following
    return replay.all()


def plain_critic(agent: Agent, member: int, batch: FrameBatch) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Q (B,) by torch's own functions in double precision, the action behind the convolutions; and its weights."""
    parts = [one[0, member].double().requires_grad_() for one in agent.problem.critic.unpack(agent.state.critic)]
    x = functional.relu(functional.conv2d(batch.observations[0].double() / 255, *parts[0:2], stride=2))
    x = functional.relu(functional.conv2d(x, *parts[2:4])).flatten(1)
    x = functional.relu(functional.linear(torch.cat([x, batch.actions[0].double()], 1), *parts[4:6]))
    return functional.linear(x, *parts[6:8]).squeeze(1), parts


@pytest.fixture
def agent() -> Agent:
    return Agent(Sac(hidden=HIDDEN, batch_size=5), SPACES, torch.device("cpu"), np.random.default_rng(1))


def test_a_critic_reads_frames_and_the_action(agent: Agent) -> None:
    batch = frame_batch(SPACES)
    found = agent.problem.q_values(agent.state.critic, batch)
    for member in range(2):
        expected, _ = plain_critic(agent, member, batch)
        torch.testing.assert_close(found[0, member].double(), expected, rtol=1e-4, atol=1e-5)


def test_the_actors_gradient_flows_through_the_action_alone(agent: Agent) -> None:
    """In the actor's step: d Q / d a, by differences of Q in the action."""
    batch, problem = frame_batch(SPACES), agent.problem
    assert isinstance(problem, Gaussian)
    critic = agent.state.critic.double()
    action = batch.actions.double().requires_grad_()
    (gradient,) = torch.autograd.grad(problem.q_of(critic, batch.observations, action).sum(), action)
    for number in range(2):
        moved = batch.actions.double()
        moved[..., number] += 1e-6
        after, before = (problem.q_of(critic, batch.observations, one) for one in (moved, action))
        change = (after - before).sum(1)
        torch.testing.assert_close(change / 1e-6, gradient[..., number], rtol=1e-4, atol=1e-6)


def test_the_fisher_information_of_a_critic_with_a_joined_action(agent: Agent) -> None:
    batch = frame_batch(SPACES)
    found = critic_fisher(agent, batch)
    for member in range(2):
        q, parts = plain_critic(agent, member, batch)
        squares = [
            torch.cat([one.flatten() for one in torch.autograd.grad(value, parts, retain_graph=True)]).square()
            for value in q
        ]
        expected = torch.stack(squares).mean(0)
        torch.testing.assert_close(found[0, member].double(), expected, rtol=1e-3, atol=1e-9)
    assert actor_fisher(agent, batch).shape == agent.state.actor.shape


def test_neurons_are_found_on_frames_and_actions(agent: Agent) -> None:
    batch = frame_batch(SPACES)
    frames, actions = batch.observations[0].numpy(), batch.actions[0].numpy()
    for network, (part, _) in NETWORKS.items():
        found = agent.neuron_activations(network, frames, actions)
        assert found.shape == (5, sum(layouts(SPACES, HIDDEN)[part].layers)) == (5, 3 + 4 + 8)
        other = agent.neuron_activations(network, frames, -actions)
        changed = (found != other).any(0)
        assert not changed[:7].any(), "convolutions do not see the action"
        assert changed[7:].any() == (part == "critic")


# Rows of frames


@pytest.mark.parametrize(
    "action", [Continuous(3), Discrete(4), Discrete(300)], ids=["continuous", "discrete", "many actions"]
)
@pytest.mark.parametrize("clipped", [False, True], ids=["any reward", "signs"])
def test_rows_of_frames_hold_actions_and_rewards_of_any_kind(action: Continuous | Discrete, clipped: bool) -> None:
    spaces = Spaces(SPACES.observation, action, clipped_rewards=clipped)
    batch, rng = frame_batch(spaces), np.random.default_rng(0)
    rng.integers(256, size=(STACK, SIZE, SIZE))
    expected = []
    for _ in range(5):
        continuous = rng.uniform(-1, 1, action.size).astype(np.float32)
        expected.append(continuous if isinstance(action, Continuous) else rng.integers(action.size))
        rng.integers(256, size=(1, SIZE, SIZE))
    np.testing.assert_array_equal(batch.actions[0].numpy(), np.array(expected))
    rewards = np.array([-0.25, -0.15, -0.05, 0.05, 0.15], np.float32)
    np.testing.assert_array_equal(batch.rewards[0].numpy(), np.sign(rewards) if clipped else rewards)
    assert batch.terminated[0].tolist() == [0, 0, 0, 0, 1]
    assert batch.actions.shape == ((1, 5, 3) if isinstance(action, Continuous) else (1, 5))
    one = FrameBatch(batch.rows[:, 2:3], spaces)  # of a single row, which lies at any place in memory
    np.testing.assert_array_equal(one.actions[0].numpy(), np.array(expected)[2:3])
    np.testing.assert_array_equal(one.rewards[0].numpy(), batch.rewards[0, 2:3].numpy())


def test_losses_follow_the_action_and_encoders_the_observation() -> None:
    for name, losses, convolves in (
        ("scored_toy", Gaussian, False), ("seen_toy", Gaussian, True), ("stepped_toy", Categorical, False)
    ):  # fmt: skip
        spaces = get_benchmark(name).task_spaces("reach")
        problem = Agent(Sac(hidden=HIDDEN), spaces, torch.device("cpu"), np.random.default_rng(0)).problem
        assert type(problem) is losses
        assert (problem.actor.image is not None) == (problem.critic.image is not None) == convolves


# Errors before the start


def test_what_gives_nothing_to_judge_by_is_refused_before_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scored, seen = get_benchmark("scored_toy"), get_benchmark("seen_toy")
    scored.check("reach")
    monkeypatch.setattr(type(scored), "judged_by", Success())
    with pytest.raises(ConfigError, match=r"scored_toy is judged by success.*reach gives no success flag.*Score\(\)"):
        scored.check("reach")
    monkeypatch.setattr(type(seen), "judged_by", Score())
    with pytest.raises(ConfigError, match=r"seen_toy is judged by its score.*gives a success flag.*give None"):
        seen.check("reach")


def test_one_episode_cannot_tell_neurons_apart_by_its_score() -> None:
    one = {"episodes": 1}
    with pytest.raises(ConfigError, match=r"nbsp scores neurons by the scores of whole episodes.*to 2 or more"):
        axes_plan("scored_toy", methods=("nbsp",), evaluation=one)
    for benchmark, method in (("scored_toy", "importance_nbsp"), ("scored_toy", "base"), ("seen_toy", "nbsp")):
        axes_plan(benchmark, methods=(method,), evaluation=one)
