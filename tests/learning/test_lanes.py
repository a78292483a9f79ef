"""Agents side by side: each learns and acts as it would alone, whoever comes and goes beside it."""

import numpy as np
import pytest
import torch

from nbsp_ray.benchmarks import Continuous, Spaces, Vector
from nbsp_ray.config.schema import Resources, Sac
from nbsp_ray.learning.agent import Agent
from nbsp_ray.learning.execution import DrawnUpdate
from nbsp_ray.learning.lanes import Lanes
from nbsp_ray.learning.replay import Mixture, Replay, row_width
from nbsp_ray.learning.sac import QuadraticPenalty, UpdateRule

SPACES = Spaces(Vector(5), Continuous(2))
SETTINGS = Sac(hidden=(8, 6), batch_size=16, actor_lr=3e-3, gamma=0.9)
CPU, ROWS = torch.device("cpu"), 100
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


class Learner:
    """An agent with a buffer, a generator and a rule of its own, by its number."""

    def __init__(self, number: int, sac: Sac = SETTINGS, device: torch.device = CPU) -> None:
        rng = np.random.default_rng(number)
        rows = rng.standard_normal((ROWS, row_width(SPACES))).astype(np.float32)
        rows[:, -1] = rows[:, -1] > 1
        self.agent, self.replay = Agent(sac, SPACES, device, rng), Replay.of(SPACES, rows, device)
        self.rng, critic, actor = torch.Generator().manual_seed(number), self.agent.state.critic, self.agent.state.actor
        scale = torch.ones_like(critic)
        scale[..., ::3], scale[..., ::5] = 0.0, 0.25
        coefficient = torch.full((1,), 10.0 * number, device=device)
        anchors = QuadraticPenalty(coefficient, actor + 0.1, actor.abs()), QuadraticPenalty(coefficient, actor - 0.1)
        rules = ({}, {"critic": UpdateRule(update_scale=scale)}, {"actor": UpdateRule(quadratic=anchors)})
        self.agent.build_update(rules[number % 3])

    def alone(self, updates: int) -> None:
        self.agent.learn_until(self.agent.updates.critic + updates, self.replay, self.rng, lambda _: {})

    def drawn(self) -> DrawnUpdate:
        target = self.agent.updates.critic + 1
        (one,) = self.agent.draw(target, Mixture([self.replay]), self.rng, lambda _: {}, None)
        return one


def lanes(slots: int, like: Learner, *, compile: bool = False, cuda_graphs: bool = False) -> Lanes:
    return Lanes(slots, like.agent, ROWS, Resources(cuda_graphs=cuda_graphs), compile=compile)


def together(stack: Lanes, learners: dict[int, Learner], updates: int) -> None:
    for _ in range(updates):
        stack.update([{slot: one.drawn() for slot, one in learners.items()}])


def put(stack: Lanes, learners: dict[int, Learner]) -> None:
    for slot, one in learners.items():
        stack.put(slot, one.agent, one.replay)


def assert_equal(one: Learner, other: Learner, *, exactly: bool = True) -> None:
    for name, tensor in one.agent.state.tensors().items():
        tolerance = {"rtol": 0.0, "atol": 0.0} if exactly else {"rtol": 2e-4, "atol": 2e-6}
        torch.testing.assert_close(tensor, other.agent.state.tensors()[name], **tolerance, msg=name)


def test_lanes_come_rest_and_go() -> None:
    alone, packed = ([Learner(number) for number in range(4)] for _ in range(2))
    stack, slots = lanes(3, packed[0]), {0: packed[0], 2: packed[1]}
    put(stack, slots)
    together(stack, slots, 4)
    put(stack, {1: packed[2]})
    together(stack, {0: packed[0], 1: packed[2], 2: packed[1]}, 2)
    together(stack, {1: packed[2]}, 2)  # The others rest,
    stack.clear(0)  # and one leaves to another,
    put(stack, {0: packed[3]})
    together(stack, {0: packed[3], 2: packed[1]}, 6)
    for learner, updates in zip(alone, (6, 12, 4, 6), strict=True):
        learner.alone(updates)
    for one, other in zip(alone, packed, strict=True):
        if other is not packed[0]:
            assert_equal(one, other)
    assert all(one.agent.updates == other.agent.updates for one, other in zip(alone, packed, strict=True))


def test_a_resting_lane_keeps_every_bit_and_one_that_is_not_finite_harms_no_other() -> None:
    alone, packed = ([Learner(number) for number in range(3)] for _ in range(2))
    packed[1].agent.state.critic.fill_(float("nan"))
    stack = lanes(3, packed[0])
    put(stack, dict(enumerate(packed)))
    before = {name: tensor.clone() for name, tensor in packed[2].agent.state.tensors().items()}
    together(stack, {0: packed[0], 1: packed[1]}, 4)
    alone[0].alone(4)
    assert_equal(alone[0], packed[0])
    assert all(torch.equal(tensor, before[name]) for name, tensor in packed[2].agent.state.tensors().items())
    assert not torch.isfinite(packed[1].agent.state.critic).any()


def test_several_updates_in_one_launch_are_those_made_one_by_one() -> None:
    """Of buffers of their own and of one that they share, with batches apart; in the end each has its last losses."""
    one_by_one, at_once = ([Learner(number) for number in range(3)] for _ in range(2))
    stacks = [lanes(3, learners[0]) for learners in (one_by_one, at_once)]
    past = Mixture([Learner(7).replay])
    found = []
    for stack, learners in zip(stacks, (one_by_one, at_once), strict=True):
        put(stack, dict(enumerate(learners)))
        drawn = [
            {
                slot: one.agent.draw(
                    number, Mixture([one.replay]), one.rng, lambda n: {"critic": past} if n % 3 else {}, None
                )[0]
                for slot, one in enumerate(learners)
            }
            for number in range(1, 5)
        ]
        launches = [drawn] if learners is at_once else [[one] for one in drawn]
        found.append([stack.update(launch) for launch in launches][-1])
    for number, (one, other) in enumerate(zip(one_by_one, at_once, strict=True)):
        assert_equal(one, other)
        assert found[0][number].critic == found[1][number].critic
        assert found[0][number].alpha == found[1][number].alpha


def test_all_act_in_one_call() -> None:
    packed = [Learner(number) for number in range(3)]
    stack, rng = lanes(4, packed[0]), np.random.default_rng(0)
    put(stack, dict(enumerate(packed)))
    seen = {slot: rng.standard_normal(5).astype(np.float32) for slot in (2, 0)}
    outputs = stack.outputs(seen)
    assert outputs.shape == (2, 4)
    noise = rng.standard_normal((2, 2)).astype(np.float32)
    actions = packed[0].agent.policy().action(outputs, noise)
    for (slot, observation), action, of_it in zip(seen.items(), actions, noise, strict=True):
        policy = packed[slot].agent.policy()
        np.testing.assert_allclose(action, policy(observation, of_it), rtol=1e-5, atol=1e-6)


def test_a_phase_of_another_shape_does_not_fit() -> None:
    stack, other = lanes(2, Learner(0)), Learner(1, SETTINGS.model_copy(update={"tau": 0.5, "batch_size": 8}))
    with pytest.raises(ValueError, match=r"this phase has another: sac\.batch_size, sac\.tau"):
        put(stack, {0: other})


@on_a_gpu
@pytest.mark.parametrize("compile", [False, True])
def test_captured_lanes_are_the_written_ones(compile: bool) -> None:
    gpu = torch.device("cuda")
    alone, packed = ([Learner(number, device=gpu) for number in range(4)] for _ in range(2))
    stack, slots = lanes(3, packed[0], compile=compile, cuda_graphs=True), {0: packed[0], 2: packed[1]}
    put(stack, slots)
    together(stack, slots, 4)
    put(stack, {1: packed[2]})
    together(stack, {0: packed[0], 1: packed[2], 2: packed[1]}, 2)
    stack.clear(0)
    put(stack, {0: packed[3]})
    together(stack, {0: packed[3], 2: packed[1]}, 6)
    for _ in range(
        2
    ):  # Two updates in a launch: noise and batches of the first are read while those of the second come.
        stack.update([{0: packed[3].drawn(), 2: packed[1].drawn()} for _ in range(2)])
    assert stack.notes == []
    for learner, updates in zip(alone, (6, 16, 2, 10), strict=True):
        learner.alone(updates)
    for one, other in list(zip(alone, packed, strict=True))[1:]:
        assert_equal(one, other, exactly=False)


@on_a_gpu
def test_captured_lanes_act_with_the_weights_of_now() -> None:
    gpu = torch.device("cuda")
    packed = [Learner(number, device=gpu) for number in range(2)]
    stack = lanes(2, packed[0], cuda_graphs=True)
    put(stack, dict(enumerate(packed)))
    seen = {slot: np.full(5, 0.5, np.float32) for slot in (0, 1)}
    for _ in range(2):
        outputs = stack.outputs(seen)
        for slot, output in zip(seen, outputs, strict=True):
            policy = packed[slot].agent.policy()
            np.testing.assert_allclose(policy.action(output, None), policy(seen[slot], None), rtol=1e-4, atol=1e-5)
        together(stack, dict(enumerate(packed)), 3)
