"""Stacked networks against plain `torch.nn.Linear`, one network at a time."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nbsp_ray.learning.networks import Layout, NumpyMlp, activations, forward

SMALL = Layout(inputs=2, hidden=(3, 1), outputs=2)


def plain_network(layout: Layout, parameters: torch.Tensor) -> nn.Sequential:
    """The network that the flat `parameters` (P,) mean, out of torch's own layers."""
    widths = [layout.inputs, *layout.hidden, layout.outputs]
    network, used = nn.Sequential(), 0
    for into, out in pairwise(widths):
        linear = nn.Linear(into, out, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(parameters[used : used + into * out].reshape(out, into))
            linear.bias.copy_(parameters[used + into * out : used + into * out + out])
        used += into * out + out
        network.extend([linear, nn.ReLU()])
    assert used == len(parameters)
    return network[:-1]


@settings(max_examples=25, deadline=None)
@given(
    lanes=st.integers(1, 3),
    members=st.integers(1, 2),
    batch=st.integers(1, 4),
    hidden=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    shared=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_forward_is_one_plain_network_per_lane_and_member(
    lanes: int, members: int, batch: int, hidden: list[int], shared: bool, seed: int
) -> None:
    chance = torch.Generator().manual_seed(seed)
    layout = Layout(3, tuple(hidden), 2)
    stack = torch.randn(lanes, members, layout.parameters, dtype=torch.float64, generator=chance)
    inputs = torch.randn(lanes, 1 if shared else members, batch, 3, dtype=torch.float64, generator=chance)
    found, hidden_out = forward(layout, stack, inputs), activations(layout, stack, inputs)
    assert found.shape == (lanes, members, batch, 2)
    assert hidden_out.shape == (lanes, members, batch, sum(hidden))
    for lane in range(lanes):
        for member in range(members):
            network = plain_network(layout, stack[lane, member])
            x = inputs[lane, 0 if shared else member]
            torch.testing.assert_close(found[lane, member], network(x), rtol=1e-12, atol=1e-12)
            expected = []
            for module in network:
                x = module(x)
                if isinstance(module, nn.ReLU):
                    expected.append(x)
            torch.testing.assert_close(hidden_out[lane, member], torch.cat(expected, -1), rtol=1e-12, atol=1e-12)


def test_lanes_and_members_never_mix() -> None:
    chance = torch.Generator().manual_seed(0)
    stack = torch.randn(3, 2, SMALL.parameters, generator=chance)
    inputs = torch.randn(3, 1, 5, 2, generator=chance)
    before = forward(SMALL, stack, inputs)
    stack[1, 0] += 1
    inputs[2] += 1
    changed = (forward(SMALL, stack, inputs) != before).flatten(2).any(-1)
    assert changed.tolist() == [[False, False], [True, False], [True, True]]


def test_gradients_stay_in_their_lane() -> None:
    stack = torch.randn(2, 2, SMALL.parameters, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (gradient,) = torch.autograd.grad(forward(SMALL, stack, torch.ones(2, 1, 3, 2))[0, 1].sum(), stack)
    assert gradient[0, 1].any()
    gradient[0, 1] = 0
    assert not gradient.any()


def test_layout_of_a_small_network_by_hand() -> None:
    # 2 -> 3 -> 1 -> 2: 6 weights + 3 biases, 3 + 1, 2 + 2.
    assert SMALL.parameters == 17
    assert SMALL.neurons == 4
    assert SMALL.names == (
        "hidden0.weight", "hidden0.bias", "hidden1.weight", "hidden1.bias", "output.weight", "output.bias",
    )  # fmt: skip
    assert SMALL.layer_of_neurons().tolist() == [0, 0, 0, 1]
    found = SMALL.unpack(torch.arange(17.0).reshape(1, 1, 17))
    assert [part[0, 0].tolist() for part in found] == [
        [[0, 1], [2, 3], [4, 5]], [6, 7, 8], [[9, 10, 11]], [12], [[13], [14]], [15, 16],
    ]  # fmt: skip


def test_unpack_gives_views() -> None:
    stack = torch.zeros(2, 1, SMALL.parameters)
    SMALL.unpack(stack)[3].fill_(1)
    assert stack.sum() == 2
    assert stack[0, 0, 12] == 1
    assert stack[1, 0, 12] == 1


def test_spread_by_hand() -> None:
    spread = SMALL.spread(np.array([[10, 20, 30, 40], [1, 2, 3, 4]], np.float32), output=-7)
    assert spread.dtype == np.float32
    assert spread.tolist() == [
        [10, 10, 20, 20, 30, 30, 10, 20, 30, 40, 40, 40, 40, -7, -7, -7, -7],
        [1, 1, 2, 2, 3, 3, 1, 2, 3, 4, 4, 4, 4, -7, -7, -7, -7],
    ]


@settings(max_examples=25, deadline=None)
@given(hidden=st.lists(st.integers(1, 5), min_size=1, max_size=3), data=st.data())
def test_spread_marks_exactly_what_a_neuron_is_computed_from(hidden: list[int], data: st.DataObject) -> None:
    layout = Layout(2, tuple(hidden), 1)
    neuron = data.draw(st.integers(0, layout.neurons - 1))
    chance = torch.Generator().manual_seed(0)
    stack = torch.rand(1, 1, layout.parameters, generator=chance, dtype=torch.float64).requires_grad_()
    inputs = torch.rand(1, 1, 1, 2, generator=chance, dtype=torch.float64) + 0.1
    (gradient,) = torch.autograd.grad(activations(layout, stack, inputs)[0, 0, 0, neuron], stack)
    one = np.eye(layout.neurons, dtype=np.float32)[neuron]
    own = torch.from_numpy(layout.spread(one, output=0)) > 0
    fan_in = [2, *hidden][layout.layer_of_neurons()[neuron]]
    assert own.sum() == fan_in + 1
    # All its own weights matter to it (positive weights: nothing is dead); the others only through earlier layers.
    assert (gradient[0, 0][own] > 0).all()
    earlier = torch.from_numpy(layout.spread((layout.layer_of_neurons() < layout.layer_of_neurons()[neuron]).astype(
        np.float32), output=0)) > 0  # fmt: skip
    assert not gradient[0, 0][~own & ~earlier].any()


def test_initial_parameters_are_those_of_torch_linear() -> None:
    layout = Layout(7, (50, 40), 3)
    members = layout.initial(2, np.random.default_rng(0))
    assert members.dtype == np.float32
    assert members.shape == (2, layout.parameters)
    assert not (members[0] == members[1]).any()
    parts = layout.unpack(torch.from_numpy(members)[None])
    for part, into in zip(parts, (7, 7, 50, 50, 40, 40), strict=True):
        bound = 1 / math.sqrt(into)
        largest = part.abs().max().item()
        assert largest <= bound * (1 + 1e-6)
        if part.numel() >= 80:
            assert largest > 0.93 * bound
            assert abs(part.mean().item()) < 0.2 * bound
            assert part.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.15)
    # torch's own default, so that the claim is about torch and not about a formula.
    theirs = nn.Linear(50, 40)
    assert theirs.weight.abs().max().item() <= 1 / math.sqrt(50)
    assert theirs.bias.abs().max().item() <= 1 / math.sqrt(50)
    assert theirs.weight.std().item() == pytest.approx(parts[2].std().item(), rel=0.1)


def test_numpy_mlp_equals_forward_and_shares_its_memory() -> None:
    layout = Layout(5, (16, 8), 4)
    stack = torch.from_numpy(layout.initial(2, np.random.default_rng(1)))[None]
    mlp = NumpyMlp(layout, stack[0, 1].numpy())
    for number in range(3):
        x = np.random.default_rng(number).standard_normal(5, dtype=np.float32)
        expected = forward(layout, stack, torch.from_numpy(x)[None, None, None])[0, 1, 0].numpy()
        np.testing.assert_allclose(mlp(x), expected, rtol=1e-5, atol=1e-6)
        assert mlp(x).dtype == np.float32
        stack.mul_(1.5)  # learnt in place: the same object must act with the new weights
