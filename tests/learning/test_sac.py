"""One SAC update against a second implementation, written from the method page on torch's own layers and optimizer."""

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from updater import updater

from nbsp_ray.benchmarks import Continuous, Spaces, Vector
from nbsp_ray.config.schema import Sac
from nbsp_ray.learning.agent import Agent
from nbsp_ray.learning.gaussian import Gaussian
from nbsp_ray.learning.replay import Batch, Mixture, Replay, row_width
from nbsp_ray.learning.sac import (
    Losses,
    Moments,
    SacState,
    UpdateRule,
    adam_,
    alpha_gradient,
    build_update,
    track_targets,
)

SPACES = Spaces(Vector(4), Continuous(2))
SETTINGS = Sac(hidden=(9, 7), batch_size=6, gamma=0.9, actor_lr=3e-3, critic_lr=1e-2, alpha_lr=2e-2, tau=0.05)
DOUBLE = torch.float64


# ---------------------------------------------------------------------------------------------------------------------
# The second implementation: single networks, no lanes, no stacks.


def mlp(widths: list[int], flat: Tensor) -> nn.Sequential:
    layers: list[nn.Module] = []
    used = 0
    for into, out in pairwise(widths):
        linear = nn.Linear(into, out, dtype=DOUBLE)
        linear.weight.data = flat[used : used + into * out].reshape(out, into).clone()
        linear.bias.data = flat[used + into * out : used + into * out + out].clone()
        used += into * out + out
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def flatten(network: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


@dataclass
class PlainSac:
    """CleanRL's update in CleanRL's order, except that alpha's step reuses the log-probability of the actor's step."""

    settings: Sac
    actor: nn.Sequential
    q: list[nn.Sequential]
    q_slow: list[nn.Sequential]
    log_alpha: Tensor
    losses: dict[str, float] = field(default_factory=dict[str, float])

    @classmethod
    def of(cls, settings: Sac, state: SacState, lane: int) -> "PlainSac":
        hidden = list(settings.hidden)
        critic = [SPACES.observation.size + SPACES.action.size, *hidden, 1]
        return cls(
            settings,
            mlp([SPACES.observation.size, *hidden, 2 * SPACES.action.size], state.actor[lane, 0]),
            [mlp(critic, state.critic[lane, member]) for member in (0, 1)],
            [mlp(critic, state.target[lane, member]) for member in (0, 1)],
            state.log_alpha[lane].clone().requires_grad_(),
        )

    def __post_init__(self) -> None:
        eps = self.settings.adam_eps
        both = [*self.q[0].parameters(), *self.q[1].parameters()]
        self.q_optimizer = torch.optim.Adam(both, lr=self.settings.critic_lr, eps=eps)
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=self.settings.actor_lr, eps=eps)
        self.alpha_optimizer = torch.optim.Adam([self.log_alpha], lr=self.settings.alpha_lr, eps=eps)

    def act(self, states: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        output = self.actor(states)
        mean, raw = output[:, : SPACES.action.size], output[:, SPACES.action.size :]
        log_std = -5 + 0.5 * (2 - (-5)) * (torch.tanh(raw) + 1)
        normal = torch.distributions.Normal(mean, torch.exp(log_std))
        before_tanh = mean + torch.exp(log_std) * noise
        action = torch.tanh(before_tanh)
        log_prob = normal.log_prob(before_tanh) - torch.log(1 - action**2 + 1e-6)
        return action, log_prob.sum(1)

    def update(self, row: Tensor, noise: Tensor, with_actor: bool) -> None:
        o, a = SPACES.observation.size, SPACES.action.size
        states, actions = row[:, :o], row[:, o : o + a]
        next_states, rewards, terminated = row[:, o + a : 2 * o + a], row[:, -2], row[:, -1]
        alpha = self.log_alpha.exp().item()
        with torch.no_grad():
            next_actions, next_log_prob = self.act(next_states, noise[0])
            following = torch.cat([next_states, next_actions], 1)
            lowest = torch.minimum(self.q_slow[0](following), self.q_slow[1](following)).squeeze(1)
            y = rewards + (1 - terminated) * self.settings.gamma * (lowest - alpha * next_log_prob)
        here = torch.cat([states, actions], 1)
        loss = sum(nn.functional.mse_loss(q(here).squeeze(1), y) for q in self.q)
        self._step(self.q_optimizer, loss)
        self.losses = {"critic": loss.item()}
        for number in range(self.settings.policy_frequency if with_actor else 0):
            chosen, log_prob = self.act(states, noise[1 + number])
            pair = torch.cat([states, chosen], 1)
            q = torch.minimum(self.q[0](pair), self.q[1](pair)).squeeze(1)
            loss = (self.log_alpha.exp().item() * log_prob - q).mean()
            self._step(self.actor_optimizer, loss)
            self.losses["actor"] = loss.item()
            if self.settings.autotune:
                entropy_wanted = -float(SPACES.action.size) * self.settings.target_entropy_scale
                loss = (-self.log_alpha.exp() * (log_prob.detach() + entropy_wanted)).mean()
                self._step(self.alpha_optimizer, loss)
        self.losses["alpha"] = self.log_alpha.exp().item()

    @staticmethod
    def _step(optimizer: torch.optim.Optimizer, loss: Any) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def follow(self) -> None:
        for q, slow in zip(self.q, self.q_slow, strict=True):
            for fast, old in zip(q.parameters(), slow.parameters(), strict=True):
                old.data.copy_(self.settings.tau * fast.data + (1 - self.settings.tau) * old.data)


# ---------------------------------------------------------------------------------------------------------------------


def random_state(settings: Sac, *, lanes: int = 1, dtype: torch.dtype = DOUBLE, seed: int = 0) -> SacState:
    problem, generator = Gaussian(settings, SPACES), np.random.default_rng(seed)
    critic = np.stack([problem.critic.initial(2, generator) for _ in range(lanes)])
    return SacState(
        actor=torch.tensor(np.stack([problem.actor.initial(1, generator) for _ in range(lanes)]), dtype=dtype),
        critic=torch.tensor(critic, dtype=dtype),
        target=torch.tensor(critic + 0.01 * generator.standard_normal(critic.shape), dtype=dtype),
        log_alpha=torch.tensor(generator.uniform(-1, 0, lanes), dtype=dtype),
    )


def random_batch(settings: Sac, *, lanes: int = 1, dtype: torch.dtype = DOUBLE, seed: int = 0) -> tuple[Batch, Tensor]:
    generator = np.random.default_rng(1000 + seed)
    rows = generator.standard_normal((lanes, settings.batch_size, row_width(SPACES)))
    rows[..., SPACES.observation.size : SPACES.observation.size + SPACES.action.size] = np.tanh(rows[..., 4:6])
    rows[..., -1] = generator.random(rows.shape[:2]) < 0.3
    noise = generator.standard_normal((1 + settings.policy_frequency, lanes, settings.batch_size, SPACES.action.size))
    return Batch(torch.tensor(rows, dtype=dtype), SPACES), torch.tensor(noise, dtype=dtype)


def copied(state: SacState, lanes: slice = slice(None)) -> SacState:
    own = {name: getattr(state, name)[lanes].clone() for name in ("actor", "critic", "target", "log_alpha")}
    return SacState(**own)


def assert_same(plain: PlainSac, state: SacState, lane: int, **tolerance: float) -> None:
    torch.testing.assert_close(state.actor[lane, 0], flatten(plain.actor), **tolerance)
    for member in (0, 1):
        torch.testing.assert_close(state.critic[lane, member], flatten(plain.q[member]), **tolerance)
        torch.testing.assert_close(state.target[lane, member], flatten(plain.q_slow[member]), **tolerance)
    torch.testing.assert_close(state.log_alpha[lane], plain.log_alpha.detach(), **tolerance)


def assert_same_losses(losses: Losses, plain: PlainSac, lane: int, rel: float) -> None:
    assert losses.critic[lane].item() == pytest.approx(plain.losses["critic"], rel=rel)
    assert losses.alpha[lane].item() == pytest.approx(plain.losses["alpha"], rel=rel)
    assert (losses.actor is None) == ("actor" not in plain.losses)
    if losses.actor is not None:
        assert losses.actor[lane].item() == pytest.approx(plain.losses["actor"], rel=rel, abs=rel)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"policy_frequency": 1},
        {"policy_frequency": 3},
        {"autotune": False},
        {"hidden": (5,), "target_entropy_scale": 0.5},
        {"adam_eps": 1e-4, "gamma": 0.0, "tau": 1.0},
    ],
    ids=str,
)
def test_updates_equal_those_of_the_second_implementation(changes: dict[str, Any]) -> None:
    settings = SETTINGS.model_copy(update=changes)
    state = random_state(settings)
    plain, update = PlainSac.of(settings, state, 0), updater(settings, Gaussian(settings, SPACES), {})
    for number in range(8):
        batch, noise = random_batch(settings, seed=number)
        with_actor = number % settings.policy_frequency == 0
        with_targets = number % 3 == 2
        losses = update(state, batch, noise, with_actor, with_targets)
        plain.update(batch.rows[0], noise[:, 0], with_actor)
        assert_same_losses(losses, plain, 0, rel=1e-9)
        if with_targets:
            plain.follow()
        assert_same(plain, state, 0, rtol=1e-8, atol=1e-10)
    assert (state.log_alpha == random_state(settings).log_alpha).all() == (not settings.autotune)


def test_single_precision_follows_the_second_implementation() -> None:
    state = random_state(SETTINGS, dtype=torch.float32)
    update = updater(SETTINGS, Gaussian(SETTINGS, SPACES), {})
    plain = PlainSac.of(SETTINGS, random_state(SETTINGS), 0)
    for number in range(6):
        batch, noise = random_batch(SETTINGS, seed=number)
        single = Batch(batch.rows.float(), SPACES)
        losses = update(state, single, noise.float(), number % 2 == 0)
        plain.update(batch.rows[0], noise[:, 0], number % 2 == 0)
        track_targets(state, SETTINGS.tau)
        plain.follow()
        assert_same_losses(losses, plain, 0, rel=1e-4)
    # An element whose gradient is nearly 0 may step either way; the rest agree.
    for mine, theirs in (
        (state.actor[0, 0], flatten(plain.actor)),
        (state.critic[0, 0], flatten(plain.q[0])),
        (state.critic[0, 1], flatten(plain.q[1])),
        (state.target[0, 1], flatten(plain.q_slow[1])),
    ):
        assert mine.dtype == torch.float32
        off = (mine.double() - theirs).abs() > 1e-4
        assert off.float().mean() <= 0.01


def test_gradients_equal_those_of_the_second_implementation() -> None:
    state, problem = random_state(SETTINGS), Gaussian(SETTINGS, SPACES)
    plain, update = PlainSac.of(SETTINGS, state, 0), updater(SETTINGS, problem, {})
    batch, noise = random_batch(SETTINGS)
    update(state, batch, noise[:2], False)
    plain.update(batch.rows[0], noise[:, 0], False)
    theirs = torch.stack([torch.cat([p.grad.flatten() for p in q.parameters()]) for q in plain.q])  # type: ignore[union-attr]
    # Adam's mean after one step from nothing is (1 - beta1) times the gradient.
    torch.testing.assert_close(state.moments["critic"].mean[0], 0.1 * theirs, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(state.moments["critic"].square[0], 0.001 * theirs**2, rtol=1e-10, atol=1e-20)
    assert state.moments["critic"].beta1_power == 0.9
    assert state.moments["critic"].beta2_power == 0.999
    assert state.moments["actor"].beta1_power == 1


def test_two_lanes_equal_two_runs() -> None:
    problem = Gaussian(SETTINGS, SPACES)
    together = random_state(SETTINGS, lanes=2)
    apart = [copied(together, slice(lane, lane + 1)) for lane in (0, 1)]
    plain = [PlainSac.of(SETTINGS, together, lane) for lane in (0, 1)]
    update = updater(SETTINGS, problem, {})
    for number in range(5):
        batch, noise = random_batch(SETTINGS, lanes=2, seed=number)
        with_actor = number % 2 == 0
        losses = update(together, batch, noise, with_actor)
        track_targets(together, SETTINGS.tau)
        for lane in (0, 1):
            one = slice(lane, lane + 1)
            own = update(apart[lane], Batch(batch.rows[one], SPACES), noise[:, one], with_actor)
            track_targets(apart[lane], SETTINGS.tau)
            assert own.critic.item() == pytest.approx(losses.critic[lane].item(), rel=1e-10)
            plain[lane].update(batch.rows[lane], noise[:, lane], with_actor)
            plain[lane].follow()
    for lane in (0, 1):
        for name in ("actor", "critic", "target", "log_alpha"):
            torch.testing.assert_close(getattr(together, name)[lane], getattr(apart[lane], name)[0], rtol=1e-9, atol=0)
        assert_same(plain[lane], together, lane, rtol=1e-8, atol=1e-10)


def test_another_lane_changes_nothing() -> None:
    update = updater(SETTINGS, Gaussian(SETTINGS, SPACES), {})
    one, other = random_state(SETTINGS, lanes=2), random_state(SETTINGS, lanes=2)
    batch, noise = random_batch(SETTINGS, lanes=2)
    strange = Batch(batch.rows.clone(), SPACES)
    strange.rows[1] *= 7
    other.actor[1] += 1
    update(one, batch, noise, True)
    update(other, strange, noise, True)
    for name in ("actor", "critic", "target", "log_alpha"):
        assert torch.equal(getattr(one, name)[0], getattr(other, name)[0])
        assert name == "target" or not torch.equal(getattr(one, name)[1], getattr(other, name)[1])


def test_scaled_rewards_are_smaller_rewards() -> None:
    """Lane by lane: what is learnt from is the batch whose rewards were divided before."""
    problem, (batch, noise) = Gaussian(SETTINGS, SPACES), random_batch(SETTINGS, lanes=2)
    state = random_state(SETTINGS, lanes=2)
    divided = Batch(batch.rows.clone(), SPACES)
    divided.rows[0, :, -2] /= 4
    expected = problem.critic_losses(state, state.critic, divided, noise[0])
    state.reward_scale = torch.tensor([0.25, 1.0], dtype=DOUBLE)
    torch.testing.assert_close(problem.critic_losses(state, state.critic, batch, noise[0]), expected)


# Literal numbers: networks whose weights are 0, so that outputs are their last biases.

CONSTANT = Sac(hidden=(2,), gamma=0.9)
ONE_ACTION = Spaces(Vector(1), Continuous(1))
ACTION, LOG_PI = 0.2194994492, 0.1304397625
"""tanh(exp(-1.5)), and -1/2 + 1.5 - log(2 pi)/2 - log(1 - a^2 + 1e-6)."""


def constant_state(*, mean: float, raw: float, q: list[float], q_slow: list[float], log_alpha: float) -> SacState:
    problem = Gaussian(CONSTANT, ONE_ACTION)

    def stack(layout_size: int, outputs: list[list[float]]) -> Tensor:
        members = torch.zeros(1, len(outputs), layout_size, dtype=DOUBLE)
        for member, biases in enumerate(outputs):
            members[0, member, -len(biases) :] = torch.tensor(biases, dtype=DOUBLE)
        return members

    return SacState(
        actor=stack(problem.actor.parameters, [[mean, raw]]),
        critic=stack(problem.critic.parameters, [[value] for value in q]),
        target=stack(problem.critic.parameters, [[value] for value in q_slow]),
        log_alpha=torch.tensor([log_alpha], dtype=DOUBLE),
    )


LITERAL = constant_state(mean=0.0, raw=0.0, q=[1.0, 4.0], q_slow=[3.0, 2.0], log_alpha=math.log(0.5))
# Two transitions (s, a, s', r, terminated): one that a time limit may have ended, one terminated.
LITERAL_BATCH = Batch(torch.tensor([[[0.3, 0.1, 0.2, 1.0, 0.0], [0.3, 0.1, 0.2, 1.0, 1.0]]], dtype=DOUBLE), ONE_ACTION)


def test_action_and_log_probability_by_hand() -> None:
    problem, ones = Gaussian(CONSTANT, ONE_ACTION), torch.ones(1, 2, 1, dtype=DOUBLE)
    action, log_pi = problem.sample_action(LITERAL.actor, LITERAL_BATCH.observations, ones)
    assert action.flatten().tolist() == pytest.approx([ACTION] * 2, rel=1e-9)
    assert log_pi.tolist() == [pytest.approx([LOG_PI] * 2, rel=1e-6)]


@pytest.mark.parametrize(("raw", "log_std"), [(0.0, -1.5), (50.0, 2.0), (-50.0, -5.0), (0.5, 0.1174100504)])
def test_log_std_is_squashed_not_clamped(raw: float, log_std: float) -> None:
    state = constant_state(mean=0.7, raw=raw, q=[0, 0], q_slow=[0, 0], log_alpha=0)
    mean, found = Gaussian(CONSTANT, ONE_ACTION).distribution(state.actor, LITERAL_BATCH.observations)
    assert found.flatten().tolist() == pytest.approx([log_std] * 2, abs=1e-9)
    assert mean.flatten().tolist() == pytest.approx([0.7] * 2)


def test_log_probability_of_a_saturated_action_is_finite() -> None:
    state = constant_state(mean=1000.0, raw=0.0, q=[0, 0], q_slow=[0, 0], log_alpha=0)
    noise = torch.zeros(1, 2, 1, dtype=DOUBLE)
    action, log_pi = Gaussian(CONSTANT, ONE_ACTION).sample_action(state.actor, LITERAL_BATCH.observations, noise)
    assert action.flatten().tolist() == [1, 1]
    # log N(0; 0, exp(-1.5)) - log(1e-6) = 1.5 - 0.9189385332 + 13.8155105580
    assert log_pi.flatten().tolist() == pytest.approx([14.3965720248] * 2, rel=1e-9)


def test_log_probability_sums_over_the_actions() -> None:
    state, problem = random_state(SETTINGS), Gaussian(SETTINGS, SPACES)
    batch, noise = random_batch(SETTINGS)
    action, log_pi = problem.sample_action(state.actor, batch.observations, noise[0])
    mean, log_std = problem.distribution(state.actor, batch.observations)
    before = torch.distributions.Normal(mean, log_std.exp())
    by_action = before.log_prob(mean + log_std.exp() * noise[0]) - torch.log(1 - action**2 + 1e-6)
    assert log_pi.shape == (1, SETTINGS.batch_size)
    torch.testing.assert_close(log_pi, by_action[..., 0] + by_action[..., 1])


def test_critic_loss_by_hand() -> None:
    problem, ones = Gaussian(CONSTANT, ONE_ACTION), torch.ones(1, 2, 1, dtype=DOUBLE)
    # y = 1 + 0.9 (min(3, 2) - 0.5 log pi) = 2.7413021 where the episode goes on, y = 1 where it is terminated.
    y = 1 + 0.9 * (2 - 0.5 * LOG_PI)
    assert y == pytest.approx(2.7413021, rel=1e-8)
    expected = ((1 - y) ** 2 + 0**2) / 2 + ((4 - y) ** 2 + 3**2) / 2
    loss = build_update(CONSTANT, problem, {}).critics(LITERAL.clone(), LITERAL_BATCH, ones, False, None)
    assert loss.tolist() == [pytest.approx(expected, rel=1e-6)]


def test_actor_loss_by_hand() -> None:
    problem, ones = Gaussian(CONSTANT, ONE_ACTION), torch.ones(1, 2, 1, dtype=DOUBLE)
    loss = build_update(CONSTANT, problem, {}).actor(LITERAL.clone(), LITERAL_BATCH, ones, None)
    _, entropy_gap = problem.actor_losses(LITERAL, LITERAL.actor, LITERAL_BATCH, ones)
    assert loss.tolist() == [pytest.approx(0.5 * LOG_PI - 1.0, rel=1e-6)]
    # log pi above minus the target entropy, which is -1 for one action.
    assert entropy_gap.tolist() == [pytest.approx(LOG_PI - 1, rel=1e-6)]


def test_the_surplus_is_a_batch_mean() -> None:
    state, problem = random_state(SETTINGS, lanes=2), Gaussian(SETTINGS, SPACES)
    batch, noise = random_batch(SETTINGS, lanes=2)
    _, log_pi = problem.sample_action(state.actor, batch.observations, noise[0])
    _, entropy_gap = problem.actor_losses(state, state.actor, batch, noise[0])
    assert entropy_gap.tolist() == pytest.approx([sum(lane) / len(lane) - 2 for lane in log_pi.tolist()], rel=1e-12)


def test_alpha_gradient_by_hand() -> None:
    assert Gaussian(CONSTANT, ONE_ACTION).target_entropy == -1
    # -0.5 (mean of 2 and -1, minus 1) = 0.25: less entropy than wanted would make it negative.
    entropy_gap = torch.tensor([(2.0 - 1.0) / 2 - 1, (3.0 + 3.0) / 2 - 1], dtype=DOUBLE)
    found = alpha_gradient(torch.tensor([math.log(0.5), 0.0], dtype=DOUBLE), entropy_gap)
    assert found.tolist() == pytest.approx([0.25, -2.0])


def test_a_policy_with_too_little_entropy_raises_alpha() -> None:
    problem, state = Gaussian(CONSTANT, ONE_ACTION), copied(LITERAL)
    noise = torch.zeros(3, 1, 2, 1, dtype=DOUBLE)
    updater(CONSTANT, problem, {})(state, LITERAL_BATCH, noise, True)
    # -log pi = -0.58 lies above the target entropy -1, so alpha falls, twice by its lr.
    assert (state.log_alpha - LITERAL.log_alpha).item() == pytest.approx(-2e-3, rel=0.02)
    certain = constant_state(mean=0, raw=-50, q=[0, 0], q_slow=[0, 0], log_alpha=0.0)
    updater(CONSTANT, problem, {})(certain, LITERAL_BATCH, noise, True)
    assert certain.log_alpha.item() == pytest.approx(2e-3, rel=0.02)


def test_target_entropy_is_minus_the_number_of_actions() -> None:
    assert Gaussian(Sac(), Spaces(Vector(39), Continuous(4))).target_entropy == -4
    assert Gaussian(Sac(target_entropy_scale=0.5), Spaces(Vector(39), Continuous(4))).target_entropy == -2


def test_q_values_of_both_critics() -> None:
    found = Gaussian(CONSTANT, ONE_ACTION).q_values(LITERAL.critic, LITERAL_BATCH)
    assert found.tolist() == [[[1, 1], [4, 4]]]


def test_targets_follow_by_tau() -> None:
    state = copied(LITERAL)
    track_targets(state, 0.25)
    assert state.target[0, :, -1].tolist() == pytest.approx([0.25 * 1 + 0.75 * 3, 0.25 * 4 + 0.75 * 2])
    assert torch.equal(state.critic, LITERAL.critic)
    track_targets(state, 1.0)
    assert torch.equal(state.target, state.critic)


def test_the_targets_are_not_the_critics_memory() -> None:
    agent = Agent(SETTINGS, SPACES, torch.device("cpu"), np.random.default_rng(0))
    assert torch.equal(agent.state.target, agent.state.critic)
    agent.state.critic.add_(1)
    assert not torch.equal(agent.state.target, agent.state.critic)


# Adam


@pytest.mark.parametrize("eps", [1e-8, 1e-4])
def test_adam_equals_torch_optim_adam(eps: float) -> None:
    rng = torch.Generator().manual_seed(0)
    mine = torch.randn(2, 3, 5, dtype=DOUBLE, generator=rng)
    theirs = mine.clone().requires_grad_()
    optimizer, moments = torch.optim.Adam([theirs], lr=3e-3, eps=eps), Moments.fresh(mine)
    for number in range(30):
        gradient = torch.randn(mine.shape, dtype=DOUBLE, generator=rng) * 10.0 ** (number % 7 - 5)
        gradient[0, 0] = 0
        adam_(mine, gradient, moments, lr=3e-3, eps=eps, scale=None)
        theirs.grad = gradient
        optimizer.step()
        torch.testing.assert_close(mine, theirs.detach(), rtol=1e-12, atol=1e-13)


def test_adams_first_step_by_hand() -> None:
    parameters = torch.tensor([1.0, 1.0, 1.0, 1.0], dtype=DOUBLE)
    moments = Moments.fresh(parameters)
    adam_(parameters, torch.tensor([3.0, -0.5, 0.0, 1e-4], dtype=DOUBLE), moments, lr=0.1, eps=1e-4, scale=None)
    # g / (|g| + eps) times lr
    expected = [1 - 0.1 * 3 / 3.0001, 1 + 0.1 * 0.5 / 0.5001, 1.0, 1 - 0.1 * 0.5]
    assert parameters.tolist() == pytest.approx(expected, rel=1e-12)


# What a method may do


def restrained(scale: float, *, part: str = "critic") -> dict[str, UpdateRule]:
    """Every second parameter of a part has its update scaled."""
    layout = getattr(Gaussian(SETTINGS, SPACES), part)
    values = torch.ones(1, 1 if part == "actor" else 2, layout.parameters, dtype=DOUBLE)
    values[..., ::2] = scale
    return {part: UpdateRule(update_scale=values)}


@pytest.mark.parametrize("part", ["actor", "critic"])
@pytest.mark.parametrize("carried", [0.0, 1e30, math.inf, math.nan])
def test_scale_0_leaves_every_bit_whatever_the_moments_hold(part: str, carried: float) -> None:
    state = random_state(SETTINGS)
    getattr(state, part)[0, 0, 0] = -0.0
    before = copied(state)
    state.moments[part].mean[..., ::2] = carried
    state.moments[part].square[..., ::2] = carried
    update = updater(SETTINGS, Gaussian(SETTINGS, SPACES), restrained(0.0, part=part))
    for number in range(5):
        update(state, *random_batch(SETTINGS, seed=number), True)
    bits, old = getattr(state, part).view(torch.int64), getattr(before, part).view(torch.int64)
    assert torch.equal(bits[..., ::2], old[..., ::2])
    assert (bits[..., 1::2] != old[..., 1::2]).float().mean() > 0.5
    other = "critic" if part == "actor" else "actor"
    assert not torch.equal(getattr(state, other), getattr(before, other))
    assert not torch.equal(state.log_alpha, before.log_alpha)


def test_a_scale_takes_its_share_of_the_first_step() -> None:
    problem, start = Gaussian(SETTINGS, SPACES), random_state(SETTINGS)
    batch, noise = random_batch(SETTINGS)
    steps = {}
    for scale in (0.2, 1.0):
        state = copied(start)
        updater(SETTINGS, problem, restrained(scale))(state, batch, noise, False)
        steps[scale] = state.critic - start.critic
    torch.testing.assert_close(steps[0.2][..., ::2], 0.2 * steps[1.0][..., ::2], rtol=1e-6, atol=1e-16)
    assert torch.equal(steps[0.2][..., 1::2], steps[1.0][..., 1::2])
    assert steps[1.0][..., ::2].abs().max() > 0.5 * SETTINGS.critic_lr


def test_a_scale_keeps_its_share_under_constant_gradients() -> None:
    """A factor on the gradient would cancel in Adam; one on the update does not."""
    free, slow = torch.zeros(3, dtype=DOUBLE), torch.zeros(3, dtype=DOUBLE)
    moments = Moments.fresh(free), Moments.fresh(slow)
    for _ in range(50):
        gradient = torch.tensor([1.0, -2.0, 1e-3], dtype=DOUBLE)
        adam_(free, gradient, moments[0], lr=0.1, eps=1e-8, scale=None)
        adam_(slow, gradient, moments[1], lr=0.1, eps=1e-8, scale=torch.full((3,), 0.2, dtype=DOUBLE))
    torch.testing.assert_close(slow, 0.2 * free)
    assert free.abs().min() > 4.9


@pytest.mark.parametrize("part", ["actor", "critic"])
def test_a_penalty_is_part_of_the_gradient_and_not_of_the_reported_loss(part: str) -> None:
    problem, start = Gaussian(SETTINGS, SPACES), random_state(SETTINGS, lanes=2)
    batch, noise = random_batch(SETTINGS, lanes=2)
    coefficient = torch.tensor([3.0, 5.0], dtype=DOUBLE)

    def penalty(parameters: Tensor, batch: Batch, memory: Batch | None) -> Tensor:
        return coefficient * parameters.square().sum((1, 2))

    alone, together = copied(start), copied(start)
    settings = SETTINGS.model_copy(update={"policy_frequency": 1})
    losses = updater(settings, problem, {})(alone, batch, noise[:2], True)
    with_penalty = updater(settings, problem, {part: UpdateRule(penalties=(penalty, penalty))})
    penalised = with_penalty(together, batch, noise[:2], True)
    added = 10 * (together.moments[part].mean - alone.moments[part].mean)
    torch.testing.assert_close(added, 2 * 2 * coefficient[:, None, None] * getattr(start, part))
    assert torch.equal(losses.critic, penalised.critic)


@pytest.mark.parametrize("name", ["target", "log_alpha"])
def test_restraints_reach_neither_targets_nor_alpha(name: str) -> None:
    problem, state = Gaussian(SETTINGS, SPACES), random_state(SETTINGS)
    before = copied(state)
    scales = {
        part: UpdateRule(update_scale=torch.zeros(1, members, getattr(problem, part).parameters, dtype=DOUBLE))
        for part, members in (("actor", 1), ("critic", 2))
    }
    updater(SETTINGS, problem, scales)(state, *random_batch(SETTINGS), True)
    track_targets(state, SETTINGS.tau)
    assert torch.equal(state.actor, before.actor)
    assert torch.equal(state.critic, before.critic)
    assert not torch.equal(getattr(state, name), getattr(before, name))


# The agent: which updates have an actor, and when the targets follow


def filled_replay(rows: int = 40) -> Replay:
    data = np.random.default_rng(0).standard_normal((rows, row_width(SPACES)), dtype=np.float32)
    data[:, -1] = 0
    return Replay.of(SPACES, data)


def new_agent(**changes: Any) -> Agent:
    return Agent(SETTINGS.model_copy(update=changes), SPACES, torch.device("cpu"), np.random.default_rng(0))


@pytest.mark.parametrize("frequency", [1, 2, 3])
def test_the_actor_learns_every_nth_update_n_times(frequency: int) -> None:
    agent, replay, rng = new_agent(policy_frequency=frequency), filled_replay(), torch.Generator().manual_seed(0)
    for number in range(7):
        before = copied(agent.state)
        losses = agent.learn(replay, rng)
        due = number % frequency == 0
        assert torch.equal(agent.state.actor, before.actor) != due
        assert torch.equal(agent.state.log_alpha, before.log_alpha) != due
        assert (losses.actor is not None) == due
        assert not torch.equal(agent.state.critic, before.critic)
    started = math.ceil(7 / frequency)
    assert (agent.updates.critic, agent.updates.actor) == (7, started)
    steps = {"critic": 7, "actor": started * frequency, "log_alpha": started * frequency}
    for name, moments in agent.state.moments.items():
        assert moments.beta1_power.item() == pytest.approx(0.9 ** steps[name])
        assert moments.beta2_power.item() == pytest.approx(0.999 ** steps[name])


@pytest.mark.parametrize("period", [1, 3])
def test_targets_follow_every_period(period: int) -> None:
    agent, replay, rng = new_agent(target_period=period, tau=1.0), filled_replay(), torch.Generator().manual_seed(0)
    for number in range(1, 8):
        before = agent.state.target.clone()
        agent.learn(replay, rng)
        if number % period == 0:
            assert torch.equal(agent.state.target, agent.state.critic)
        else:
            assert torch.equal(agent.state.target, before)


def test_alpha_stays_where_it_is_put_without_autotune() -> None:
    agent, rng = new_agent(autotune=False, alpha=0.3), torch.Generator().manual_seed(0)
    for _ in range(4):
        losses = agent.learn(filled_replay(), rng)
    assert agent.state.log_alpha.exp().item() == pytest.approx(0.3)
    assert losses.alpha.item() == pytest.approx(0.3)
    assert new_agent().state.log_alpha.item() == 0


def test_a_batch_comes_from_where_it_is_said_to_come() -> None:
    agent, rng = new_agent(policy_frequency=2), torch.Generator().manual_seed(0)
    mine = filled_replay()
    rows = mine.rows(0, 40)
    rows[:, -2] = 1e6
    past = Mixture([Replay.of(SPACES, rows)])
    assert agent.learn(mine, rng).critic.item() < 1e6
    assert agent.learn(mine, rng, past=past).critic.item() > 1e11
    assert agent.learn(mine, rng, past=past).actor is not None
    assert agent.updates.past_share() == {"critic": 2 / 3, "actor": 1 / 2}


def test_restore_puts_back_everything_or_only_the_weights() -> None:
    agent, rng = new_agent(), torch.Generator().manual_seed(0)
    for _ in range(3):
        agent.learn(filled_replay(), rng)
    arrays = agent.arrays()
    fresh = new_agent()
    fresh.restore(arrays)
    assert {name: a.tobytes() for name, a in fresh.arrays().items()} == {n: a.tobytes() for n, a in arrays.items()}
    fresh = new_agent()
    fresh.restore(arrays, weights_only=True)
    untouched = new_agent().arrays()
    for name, array in fresh.arrays().items():
        np.testing.assert_array_equal(array, (untouched if "." in name else arrays)[name], err_msg=name)
    agent.state.actor.add_(1)
    assert not np.array_equal(arrays["actor"], agent.state.actor.numpy()), "arrays() must copy"


def test_the_policy_acts_as_the_losses_think_it_does() -> None:
    agent, problem = new_agent(), Gaussian(SETTINGS, SPACES)
    policy = agent.policy()
    observation = np.array([0.3, -1.0, 2.0, 0.5], np.float32)
    noise = np.array([0.4, -1.2], np.float32)
    for _ in range(2):
        there = torch.from_numpy(observation)[None, None]
        expected, _ = problem.sample_action(agent.state.actor, there, torch.from_numpy(noise)[None, None])
        np.testing.assert_allclose(policy(observation, noise), expected[0, 0].numpy(), rtol=1e-5)
        mean, _ = problem.distribution(agent.state.actor, there)
        np.testing.assert_allclose(policy(observation, None), torch.tanh(mean)[0, 0].numpy(), rtol=1e-5)
        agent.learn(filled_replay(), torch.Generator().manual_seed(0))  # and goes on doing so as the actor learns


def test_neuron_activations_of_each_network() -> None:
    agent = new_agent()
    generator = np.random.default_rng(3)
    observations = generator.standard_normal((5, 4), dtype=np.float32)
    actions = generator.standard_normal((5, 2), dtype=np.float32)
    both = np.concatenate([observations, actions], 1)
    for network, stack, inputs in (
        ("actor", agent.state.actor[0, 0], observations),
        ("q1", agent.state.critic[0, 0], both),
        ("q2", agent.state.critic[0, 1], both),
    ):
        widths = [inputs.shape[1], 9, 7, 4 if network == "actor" else 1]
        x, expected = torch.from_numpy(inputs).double(), []
        for module in mlp(widths, stack.double()):
            x = module(x)
            if isinstance(module, nn.ReLU):
                expected.append(x.detach().numpy())
        found = agent.neuron_activations(network, observations, actions)
        np.testing.assert_allclose(found, np.concatenate(expected, 1), rtol=1e-4, atol=1e-6)
