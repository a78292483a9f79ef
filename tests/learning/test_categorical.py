"""One update of discrete SAC against a second implementation, written from the method page on torch's own layers."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from pixel_toy import pixel_spaces
from plain_networks import flat, plain_network
from torch import Tensor, nn
from updater import updater

from nbsp_ray.benchmarks import Spaces
from nbsp_ray.config.schema import Sac
from nbsp_ray.layout import row_width
from nbsp_ray.learning.agent import Agent
from nbsp_ray.learning.categorical import Categorical
from nbsp_ray.learning.frames import FrameBatch, FrameReplay
from nbsp_ray.learning.sac import (
    Losses,
    SacState,
    UpdateRule,
    alpha_gradient,
    build_update,
    track_targets,
)

FIELDS = 4
"""Bytes behind a frame: action, reward, terminated, flags."""
SPACES = pixel_spaces(actions=3, frame=(7, 6), stack=2, convolutions=((3, 3, 2), (4, 2, 1)))
SETTINGS = Sac(
    hidden=(5,), batch_size=6, gamma=0.875, actor_lr=3e-3, critic_lr=1e-2, alpha_lr=2e-2, adam_eps=1e-4,
    policy_frequency=1, tau=1.0, target_period=3, target_entropy_scale=0.89,
)  # fmt: skip
DOUBLE = torch.float64


# ---------------------------------------------------------------------------------------------------------------------
# The second implementation: single networks, no lanes, no stacks; CleanRL's `sac_atari` in CleanRL's order.


@dataclass
class PlainSac:
    """Losses and steps as in CleanRL, except that its networks divide by 255 themselves."""

    settings: Sac
    spaces: Spaces
    actor: nn.Sequential
    q: list[nn.Sequential]
    q_slow: list[nn.Sequential]
    log_alpha: Tensor
    losses: dict[str, float] = field(default_factory=dict[str, float])

    @classmethod
    def of(cls, settings: Sac, spaces: Spaces, state: SacState, lane: int) -> "PlainSac":
        layout = Categorical(settings, spaces).actor
        flats = (state.actor[lane, 0], *state.critic[lane], *state.target[lane])
        actor, *critics = (plain_network(layout, one) for one in flats)
        log_alpha = state.log_alpha[lane].clone().requires_grad_()
        return cls(settings, spaces, actor, critics[:2], critics[2:], log_alpha)

    def __post_init__(self) -> None:
        eps = self.settings.adam_eps
        both = [*self.q[0].parameters(), *self.q[1].parameters()]
        self.q_optimizer = torch.optim.Adam(both, lr=self.settings.critic_lr, eps=eps)
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=self.settings.actor_lr, eps=eps)
        self.alpha_optimizer = torch.optim.Adam([self.log_alpha], lr=self.settings.alpha_lr, eps=eps)

    def update(
        self,
        states: Tensor,
        actions: Tensor,
        rewards: Tensor,
        next_states: Tensor,
        terminated: Tensor,
        *,
        extra: Any = None,
    ) -> None:
        alpha = self.log_alpha.exp().item()
        states, next_states = states.double() / 255.0, next_states.double() / 255.0
        with torch.no_grad():
            next_probs = torch.softmax(self.actor(next_states), 1)
            next_log = torch.log_softmax(self.actor(next_states), 1)
            lowest = torch.min(self.q_slow[0](next_states), self.q_slow[1](next_states))
            value = (next_probs * (lowest - alpha * next_log)).sum(1)
            y = rewards.double() + (1 - terminated.double()) * self.settings.gamma * value
        loss = sum(nn.functional.mse_loss(q(states).gather(1, actions.view(-1, 1)).view(-1), y) for q in self.q)
        self.losses = {"critic": loss.item()}  # type: ignore[union-attr]
        self._step(self.q_optimizer, loss + (extra["critic"](self) if extra else 0))
        log_pi, probs = torch.log_softmax(self.actor(states), 1), torch.softmax(self.actor(states), 1)
        with torch.no_grad():
            q_values = torch.min(self.q[0](states), self.q[1](states))
        loss = (probs * (alpha * log_pi - q_values)).mean()
        self.losses["actor"] = loss.item()
        self._step(self.actor_optimizer, loss + (extra["actor"](self) if extra else 0))
        if self.settings.autotune:
            target = self.settings.target_entropy_scale * math.log(self.spaces.action.size)
            loss = (probs.detach() * (-self.log_alpha.exp() * (log_pi + target).detach())).mean()
            self._step(self.alpha_optimizer, loss)
        self.losses["alpha"] = self.log_alpha.exp().item()

    @staticmethod
    def _step(optimizer: torch.optim.Optimizer, loss: Any) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def follow(self) -> None:
        for q, slow in zip(self.q, self.q_slow, strict=True):
            slow.load_state_dict(q.state_dict())


# ---------------------------------------------------------------------------------------------------------------------


def random_state(
    settings: Sac, spaces: Spaces = SPACES, *, lanes: int = 1, dtype: torch.dtype = DOUBLE, seed: int = 0
) -> SacState:
    problem, generator = Categorical(settings, spaces), np.random.default_rng(seed)

    def stack(members: int) -> np.ndarray:
        initial = np.stack([problem.actor.initial(members, generator) for _ in range(lanes)])
        return initial + 0.1 * generator.standard_normal(initial.shape)  # biases that are not 0

    critic = stack(2)
    return SacState(
        actor=torch.tensor(stack(1), dtype=dtype),
        critic=torch.tensor(critic, dtype=dtype),
        target=torch.tensor(critic + 0.05 * generator.standard_normal(critic.shape), dtype=dtype),
        log_alpha=torch.tensor(generator.uniform(-1, 0, lanes), dtype=dtype),
    )


def random_batch(settings: Sac, spaces: Spaces = SPACES, *, lanes: int = 1, seed: int = 0) -> FrameBatch:
    generator = np.random.default_rng(1000 + seed)
    shape = (lanes, settings.batch_size, spaces.observation.stack + 1, row_width(spaces))
    rows = generator.integers(0, 256, shape, dtype=np.uint8)
    rows[..., -FIELDS] = generator.integers(spaces.action.size, size=shape[:-1])
    rows[..., -FIELDS + 1] = generator.choice(np.array([255, 0, 1], np.uint8), shape[:-1])  # -1, 0, 1
    rows[..., -FIELDS + 2] = generator.random(shape[:-1]) < 0.3
    return FrameBatch(torch.from_numpy(rows), spaces)


def columns(batch: FrameBatch, lane: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """s, a, r, s', terminated read from the bytes of a lane."""
    rows = batch.rows[lane]
    frames = rows[..., :-FIELDS].reshape(len(rows), -1, *batch.spaces.observation.frame)
    fields = rows[:, -2, -FIELDS:].long()
    reward = torch.where(fields[:, 1] > 127, fields[:, 1] - 256, fields[:, 1])
    return frames[:, :-1], fields[:, 0], reward, frames[:, 1:], fields[:, 2]


def no_noise(settings: Sac, lanes: int = 1) -> Tensor:
    return torch.zeros(1 + settings.policy_frequency, lanes, settings.batch_size, 0)


def copied(state: SacState, lanes: slice = slice(None)) -> SacState:
    return SacState(
        **{name: getattr(state, name)[lanes].clone() for name in ("actor", "critic", "target", "log_alpha")}
    )


def assert_same(plain: PlainSac, state: SacState, lane: int) -> None:
    pairs = [(state.actor[lane, 0], flat(plain.actor)), (state.log_alpha[lane], plain.log_alpha.detach())]
    for member in (0, 1):
        pairs += [(state.critic[lane, member], flat(plain.q[member]))]
        pairs += [(state.target[lane, member], flat(plain.q_slow[member]))]
    for mine, theirs in pairs:
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-10)


def assert_same_losses(losses: Losses, plain: PlainSac, lane: int) -> None:
    assert losses.critic[lane].item() == pytest.approx(plain.losses["critic"], rel=1e-6)
    assert losses.actor is not None
    assert losses.actor[lane].item() == pytest.approx(plain.losses["actor"], rel=1e-6, abs=1e-9)
    assert losses.alpha[lane].item() == pytest.approx(plain.losses["alpha"], rel=1e-6)


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"autotune": False},
        {"hidden": (6, 4), "target_entropy_scale": 0.5},
        {"adam_eps": 1e-8, "gamma": 0.0, "batch_size": 1},
    ],
    ids=str,
)
def test_updates_equal_those_of_the_second_implementation(changes: dict[str, Any], lanes: int) -> None:
    settings = SETTINGS.model_copy(update=changes)
    state = random_state(settings, lanes=lanes)
    start = copied(state)
    plain = [PlainSac.of(settings, SPACES, state, lane) for lane in range(lanes)]
    update = updater(settings, Categorical(settings, SPACES), {})
    for number in range(1, 9):
        batch = random_batch(settings, lanes=lanes, seed=number)
        losses = update(state, batch, no_noise(settings, lanes), True)
        for lane in range(lanes):
            plain[lane].update(*columns(batch, lane))
            assert_same_losses(losses, plain[lane], lane)
        if number % settings.target_period == 0:
            track_targets(state, settings.tau)
            assert torch.equal(state.target, state.critic), "a hard copy"
            for one in plain:
                one.follow()
        for lane in range(lanes):
            assert_same(plain[lane], state, lane)
    assert torch.equal(state.log_alpha, start.log_alpha) == (not settings.autotune)
    assert (state.actor != start.actor).double().mean() > 0.2, "most of the network must be alive"


def test_gradients_equal_those_of_the_second_implementation() -> None:
    state, problem = random_state(SETTINGS), Categorical(SETTINGS, SPACES)
    plain = PlainSac.of(SETTINGS, SPACES, state, 0)
    batch = random_batch(SETTINGS)
    updater(SETTINGS, problem, {})(state, batch, no_noise(SETTINGS), True)
    plain.update(*columns(batch, 0))
    for name, networks in (("critic", plain.q), ("actor", [plain.actor])):
        theirs = torch.stack([torch.cat([p.grad.flatten() for p in n.parameters()]) for n in networks])  # type: ignore[union-attr]
        # Adam's mean after one step from nothing is (1 - beta1) times the gradient.
        torch.testing.assert_close(state.moments[name].mean[0], 0.1 * theirs, rtol=1e-7, atol=1e-12)
        assert theirs.abs().max() > 1e-4
    assert plain.log_alpha.grad is not None
    assert state.moments["log_alpha"].mean[0].item() == pytest.approx(0.1 * plain.log_alpha.grad.item(), rel=1e-7)


def test_single_precision_follows_the_second_implementation() -> None:
    state = random_state(SETTINGS, dtype=torch.float32)
    plain = PlainSac.of(SETTINGS, SPACES, random_state(SETTINGS), 0)
    update = updater(SETTINGS, Categorical(SETTINGS, SPACES), {})
    for number in range(6):
        batch = random_batch(SETTINGS, seed=number)
        losses = update(state, batch, no_noise(SETTINGS), True)
        plain.update(*columns(batch, 0))
        assert losses.critic.item() == pytest.approx(plain.losses["critic"], rel=1e-3)
    for mine, theirs in ((state.actor[0, 0], flat(plain.actor)), (state.critic[0, 1], flat(plain.q[1]))):
        assert mine.dtype == torch.float32
        assert ((mine.double() - theirs).abs() > 2e-4).double().mean() <= 0.02


def test_another_lane_changes_nothing() -> None:
    update = updater(SETTINGS, Categorical(SETTINGS, SPACES), {})
    one, other = random_state(SETTINGS, lanes=2), random_state(SETTINGS, lanes=2)
    batch = random_batch(SETTINGS, lanes=2)
    strange = FrameBatch(batch.rows.clone(), SPACES)
    strange.rows[1, ..., :-FIELDS] //= 3
    other.actor[1] += 1
    update(one, batch, no_noise(SETTINGS, 2), True)
    update(other, strange, no_noise(SETTINGS, 2), True)
    for name in ("actor", "critic", "log_alpha"):
        assert torch.equal(getattr(one, name)[0], getattr(other, name)[0])
        assert not torch.equal(getattr(one, name)[1], getattr(other, name)[1])


# What a method may do


def test_masks_and_penalties_equal_those_of_the_second_implementation() -> None:
    """Frozen filters by putting them back after every step, penalties as terms of the losses."""
    problem, state = Categorical(SETTINGS, SPACES), random_state(SETTINGS)
    start, rng = copied(state), np.random.default_rng(5)
    frozen = {
        part: rng.random((members, problem.actor.neurons)) < 0.4 for part, members in (("actor", 1), ("critic", 2))
    }
    scales = {
        p: torch.from_numpy(problem.actor.spread(np.where(f, 0, 1).astype(np.float32), output=1))
        for p, f in frozen.items()
    }
    weight = torch.from_numpy(rng.random(problem.actor.parameters))
    restraints = {
        part: UpdateRule(
            update_scale=scale[None],
            penalties=(lambda stack, batch, memory: 0.3 * (weight * stack.square()).sum((-2, -1)),),
        )
        for part, scale in scales.items()
    }
    plain = PlainSac.of(SETTINGS, SPACES, state, 0)

    def penalty(network: nn.Module) -> Tensor:
        return 0.3 * (weight * torch.nn.utils.parameters_to_vector(network.parameters()).square()).sum()

    extra = {"critic": lambda sac: sum(penalty(q) for q in sac.q), "actor": lambda sac: penalty(sac.actor)}
    keep_frozen(plain.q_optimizer, plain.q, scales["critic"])
    keep_frozen(plain.actor_optimizer, [plain.actor], scales["actor"])
    update = updater(SETTINGS, problem, restraints)
    for number in range(5):
        batch = random_batch(SETTINGS, seed=number)
        losses = update(state, batch, no_noise(SETTINGS), True)
        plain.update(*columns(batch, 0), extra=extra)
        assert_same_losses(losses, plain, 0)
        assert_same(plain, state, 0)
    for part in ("actor", "critic"):
        still = scales[part] == 0
        assert still.any(-1).all()
        bits, old = (getattr(one, part)[0].view(torch.int64) for one in (state, start))
        assert torch.equal(bits[still], old[still])
        assert (bits[~still] != old[~still]).double().mean() > 0.5


def keep_frozen(optimizer: torch.optim.Optimizer, networks: list[nn.Sequential], scale: Tensor) -> None:
    """Put the frozen weights back as soon as the optimizer has made its step."""
    start = [flat(network) for network in networks]

    def put_back(*_: Any) -> None:
        for network, old, still in zip(networks, start, scale == 0, strict=True):
            torch.nn.utils.vector_to_parameters(torch.where(still, old, flat(network)), network.parameters())

    optimizer.register_step_post_hook(put_back)


@pytest.mark.parametrize("carried", [1e30, math.inf, math.nan])
def test_frozen_filters_keep_every_bit_whatever_the_moments_hold(carried: float) -> None:
    state, problem = random_state(SETTINGS, dtype=torch.float32), Categorical(SETTINGS, SPACES)
    # The second filter of each convolution, and a unit of the hidden layer.
    neurons = np.ones((2, problem.critic.neurons), np.float32)
    neurons[:, [1, 3 + 1, 3 + 4 + 2]] = 0
    scale = torch.from_numpy(problem.critic.spread(neurons, output=1))[None]
    state.critic[0, :, 18] = -0.0
    before = state.critic.clone()
    for kind in ("mean", "square"):
        getattr(state.moments["critic"], kind)[scale == 0] = carried
    update = updater(SETTINGS, problem, {"critic": UpdateRule(update_scale=scale)})
    for number in range(4):
        update(state, random_batch(SETTINGS, seed=number), no_noise(SETTINGS), True)
    unchanged = state.critic.view(torch.int32) == before.view(torch.int32)
    assert unchanged[scale == 0].all()
    assert not unchanged[scale != 0].all()
    weights = problem.critic.unpack(state.critic)
    old = problem.critic.unpack(before)
    assert (scale == 0).sum() == 2 * ((2 * 9 + 1) + (3 * 4 + 1) + (weights[4].shape[-1] + 1))
    for layer, neuron in ((0, 1), (1, 1), (2, 2)):
        for part in (2 * layer, 2 * layer + 1):
            assert torch.equal(weights[part][0, :, neuron], old[part][0, :, neuron])
    assert not torch.equal(weights[0][0, :, 0], old[0][0, :, 0])


# Literal numbers: networks whose weights are 0, so that outputs are their last biases.

TWO = pixel_spaces(actions=2, frame=(2, 2), stack=1, convolutions=((1, 2, 1),))
CONSTANT = Sac(hidden=(1,), gamma=0.9, batch_size=2, policy_frequency=1, target_entropy_scale=0.5)
PROBABLE = 0.8
"""The policy's first action: logits log 4 and 0."""


def literal_state() -> SacState:
    size = Categorical(CONSTANT, TWO).actor.parameters

    def stack(*outputs: list[float]) -> Tensor:
        members = torch.zeros(1, len(outputs), size, dtype=DOUBLE)
        members[0, :, -2:] = torch.tensor(outputs, dtype=DOUBLE)
        return members

    return SacState(
        actor=stack([math.log(4), 0.0]),
        critic=stack([1.0, 3.0], [2.0, -1.0]),
        target=stack([5.0, 1.0], [4.0, 2.0]),
        log_alpha=torch.tensor([math.log(0.5)], dtype=DOUBLE),
    )


def literal_batch() -> FrameBatch:
    """Action 0 with reward 1 at a time limit or in the middle; action 1 with reward -1 at a lost life."""
    rows = torch.zeros(1, 2, 2, 8, dtype=torch.uint8)
    rows[0, 0, 0, -FIELDS:] = torch.tensor([0, 1, 0, 0])
    rows[0, 1, 0, -FIELDS:] = torch.tensor([1, 255, 1, 0])
    rows[0, :, 1, -FIELDS:] = torch.tensor([9, 9, 9, 9])  # of the frame after: not this transition's
    return FrameBatch(rows, TWO)


def test_critic_loss_by_hand() -> None:
    problem, state = Categorical(CONSTANT, TWO), literal_state()
    # V = 0.8 (min(5, 4) - 0.5 log 0.8) + 0.2 (min(1, 2) - 0.5 log 0.2) = 3.4 + 0.5 x 0.5004024 = 3.6502012
    value = 3.4 + 0.5 * 0.5004024235
    y = 1 + 0.9 * value
    assert y == pytest.approx(4.2851811, rel=1e-7)
    # Q1(0) = 1 and Q1(1) = 3; Q2(0) = 2 and Q2(1) = -1, where the target of the second is -1.
    expected = ((1 - y) ** 2 + (3 + 1) ** 2) / 2 + ((2 - y) ** 2 + 0**2) / 2
    update, noise = build_update(CONSTANT, problem, {}), no_noise(CONSTANT)[0]
    loss = update.critics(state.clone(), literal_batch(), noise, False, None)
    assert loss.tolist() == [pytest.approx(expected, rel=1e-7)]
    assert problem.q_values(state.critic, literal_batch()).tolist() == [[[1, 3], [2, -1]]]


def test_actor_loss_by_hand() -> None:
    problem, state = Categorical(CONSTANT, TWO), literal_state()
    update, noise = build_update(CONSTANT, problem, {}), no_noise(CONSTANT)[0]
    loss = update.actor(state.clone(), literal_batch(), noise, None)
    _, entropy_gap = problem.actor_losses(state, state.actor, literal_batch(), noise)
    # Mean over the two actions: 0.8 (0.5 log 0.8 - 1) and 0.2 (0.5 log 0.2 + 1).
    expected = (0.8 * (0.5 * math.log(0.8) - 1) + 0.2 * (0.5 * math.log(0.2) + 1)) / 2
    assert loss.tolist() == [pytest.approx(expected, rel=1e-9)]
    # And of pi (log pi + 0.5 log 2).
    found = (0.8 * (math.log(0.8) + 0.5 * math.log(2)) + 0.2 * (math.log(0.2) + 0.5 * math.log(2))) / 2
    assert entropy_gap.tolist() == [pytest.approx(found, rel=1e-9)]
    assert alpha_gradient(state.log_alpha, entropy_gap).tolist() == [pytest.approx(-0.5 * found, rel=1e-9)]
    # The entropy 0.5004 lies above the target 0.3466: alpha must fall, so its gradient be positive.
    assert alpha_gradient(state.log_alpha, entropy_gap).item() > 0


def test_target_entropy() -> None:
    assert Categorical(Sac(target_entropy_scale=0.89), pixel_spaces(6)).target_entropy == pytest.approx(
        0.89 * math.log(6)
    )
    assert Categorical(Sac(), pixel_spaces(18)).noise == 0


def test_the_agent_learns_from_frames_on_schedule() -> None:
    """One update of everything at a time, and a hard copy every third."""
    agent, rng = Agent(SETTINGS, SPACES, torch.device("cpu"), np.random.default_rng(0)), torch.Generator()
    width = row_width(SPACES)
    rows = np.random.default_rng(1).integers(0, 256, (50, width), dtype=np.uint8)
    rows[:, -FIELDS:] = np.stack([np.arange(50) % 3, np.arange(50) % 2, np.zeros(50), np.zeros(50)], 1)
    rows[-1, -2] = 1
    replay = FrameReplay.of(SPACES, rows)
    for number in range(1, 8):
        before = agent.state.target.clone()
        losses = agent.learn(replay, rng)
        assert losses.actor is not None
        assert torch.equal(agent.state.target, agent.state.critic if number % 3 == 0 else before)
    assert (agent.updates.critic, agent.updates.actor) == (7, 7)
    powers = [moments.beta2_power.item() for moments in agent.state.moments.values()]
    assert powers == pytest.approx([0.999**7] * 3)
