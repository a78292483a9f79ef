"""Stacked networks against plain `torch.nn.Linear`, one network at a time."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_networks import plain_network as plain_frame_network
from torch import nn

from nbsp_ray.benchmarks import NATURE_CONVOLUTIONS
from nbsp_ray.layout import Image, Layout
from nbsp_ray.learning.networks import NumpyMlp, Trace, activations, forward

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
        norm = [nn.LayerNorm(out, elementwise_affine=False)] if layout.layer_norm else []
        network.extend([linear, *norm, nn.ReLU()])
    assert used == len(parameters)
    return network[: -1 - layout.layer_norm]


@settings(max_examples=25, deadline=None)
@given(
    lanes=st.integers(1, 3),
    members=st.integers(1, 2),
    batch=st.integers(1, 4),
    hidden=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    shared=st.booleans(),
    layer_norm=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_forward_is_one_plain_network_per_lane_and_member(
    lanes: int, members: int, batch: int, hidden: list[int], shared: bool, layer_norm: bool, seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    layout = Layout(3, tuple(hidden), 2, layer_norm=layer_norm)
    stack = torch.randn(lanes, members, layout.parameters, dtype=torch.float64, generator=rng)
    inputs = torch.randn(lanes, 1 if shared else members, batch, 3, dtype=torch.float64, generator=rng)
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


def test_an_input_in_parts_is_the_same_input_and_only_what_needs_a_gradient_has_one() -> None:
    layout, rng = Layout(3, (5, 4), 2), torch.Generator().manual_seed(0)
    stack = torch.randn(1, 2, layout.parameters, dtype=torch.float64, generator=rng)
    inputs = torch.randn(1, 1, 4, 3, dtype=torch.float64, generator=rng)
    first, second = inputs[..., :2].clone(), inputs[..., 2:].clone().requires_grad_()
    whole = inputs.clone().requires_grad_()
    together, apart = forward(layout, stack, whole), forward(layout, stack, (first, second))
    torch.testing.assert_close(apart, together)
    (expected,), (found,) = torch.autograd.grad(together.sum(), whole), torch.autograd.grad(apart.sum(), second)
    torch.testing.assert_close(found, expected[..., 2:])
    trace = Trace()
    torch.testing.assert_close(forward(layout, stack, (first, second), trace), together)
    assert torch.equal(trace.inputs[0][0, 1], inputs[0, 0])


def test_lanes_and_members_never_mix() -> None:
    rng = torch.Generator().manual_seed(0)
    stack = torch.randn(3, 2, SMALL.parameters, generator=rng)
    inputs = torch.randn(3, 1, 5, 2, generator=rng)
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
    rng = torch.Generator().manual_seed(0)
    stack = torch.rand(1, 1, layout.parameters, generator=rng, dtype=torch.float64).requires_grad_()
    inputs = torch.rand(1, 1, 1, 2, generator=rng, dtype=torch.float64) + 0.1
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


def test_outgoing_by_hand() -> None:
    """Of 2 inputs, 3 and 1 neurons, 2 outputs: neuron 1 acts by one weight, neuron 3 by two."""
    assert np.flatnonzero(SMALL.outgoing(np.array([False, True, False, True]))).tolist() == [10, 13, 14]
    assert not SMALL.outgoing(np.zeros(4, dtype=np.bool_)).any()


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


@pytest.mark.parametrize("layer_norm", [False, True])
def test_numpy_mlp_equals_forward_and_shares_its_memory(layer_norm: bool) -> None:
    layout = Layout(5, (16, 8), 4, layer_norm=layer_norm)
    stack = torch.from_numpy(layout.initial(2, np.random.default_rng(1)))[None]
    mlp = NumpyMlp(layout, stack[0, 1].numpy())
    for number in range(3):
        x = np.random.default_rng(number).standard_normal(5, dtype=np.float32)
        expected = forward(layout, stack, torch.from_numpy(x)[None, None, None])[0, 1, 0].numpy()
        np.testing.assert_allclose(mlp(x), expected, rtol=1e-5, atol=1e-6)
        assert mlp(x).dtype == np.float32
        stack.mul_(1.5)  # learnt in place: the same object must act with the new weights


# Networks that see frames

PIXELS = Layout(2, (5,), 3, Image((7, 6), ((3, 3, 2), (4, 2, 1))))
"""2 frames of 7 x 6 -> 3 maps of 3 x 2 -> 4 maps of 2 x 1 -> 5 -> 3."""


def test_layout_of_a_small_network_of_frames_by_hand() -> None:
    assert PIXELS.names == (
        "conv0.weight", "conv0.bias", "conv1.weight", "conv1.bias", "hidden0.weight", "hidden0.bias",
        "output.weight", "output.bias",
    )  # fmt: skip
    assert PIXELS.shapes == ((3, 2, 3, 3), (3,), (4, 3, 2, 2), (4,), (5, 8), (5,), (3, 5), (3,))
    assert PIXELS.sizes == [54, 3, 48, 4, 40, 5, 15, 3]
    assert PIXELS.parameters == 172
    assert PIXELS.layers == (3, 4, 5)
    assert PIXELS.neurons == 12, "a convolution's neurons are its output channels"
    assert PIXELS.layer_of_neurons().tolist() == [0] * 3 + [1] * 4 + [2] * 5
    assert PIXELS.image is not None
    assert list(PIXELS.image.maps()) == [(3, 2), (2, 1)]
    assert [tuple(part.shape[2:]) for part in PIXELS.unpack(torch.zeros(2, 1, 172))] == list(PIXELS.shapes)


def test_the_network_of_the_paper() -> None:
    """Table 2: 32 8x8 4, 64 4x4 2, 64 3x3 1, 512: 1,687,206 parameters with six actions."""
    nature = Layout(4, (512,), 6, Image((84, 84), NATURE_CONVOLUTIONS))
    assert nature.image is not None
    assert list(nature.image.maps()) == [(20, 20), (9, 9), (7, 7)]
    assert nature.parameters == (4 * 64 + 1) * 32 + (32 * 16 + 1) * 64 + (64 * 9 + 1) * 64 + 3137 * 512 + 513 * 6
    assert nature.neurons == 32 + 64 + 64 + 512


@settings(max_examples=15, deadline=None)
@given(
    lanes=st.integers(1, 2),
    members=st.integers(1, 2),
    batch=st.integers(1, 3),
    shared=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_frames_go_through_one_plain_network_per_lane_and_member(
    lanes: int, members: int, batch: int, shared: bool, seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    stack = torch.randn(lanes, members, 172, dtype=torch.float64, generator=rng)
    shape = (lanes, 1 if shared else members, batch, 2, 7, 6)
    inputs = torch.randint(256, shape, dtype=torch.uint8, generator=rng)
    found, neurons = forward(PIXELS, stack, inputs), activations(PIXELS, stack, inputs)
    assert found.shape == (lanes, members, batch, 3)
    assert neurons.shape == (lanes, members, batch, 12)
    for lane in range(lanes):
        for member in range(members):
            x = inputs[lane, 0 if shared else member].double() / 255
            expected = []
            for module in plain_frame_network(PIXELS, stack[lane, member]):
                x = module(x)
                if isinstance(module, nn.ReLU):
                    expected.append(x.mean((2, 3)) if x.ndim == 4 else x)
            torch.testing.assert_close(found[lane, member], x, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(neurons[lane, member], torch.cat(expected, 1), rtol=1e-12, atol=1e-12)


def test_spread_covers_whole_filters() -> None:
    values = np.zeros(12, np.float32)
    values[[1, 3, 11]] = 1, 2, 3  # a filter of each convolution, and the last hidden unit
    spread = PIXELS.unpack(torch.from_numpy(PIXELS.spread(values, output=-7))[None, None])
    first, first_bias, second, second_bias, hidden, hidden_bias, output, output_bias = (part[0, 0] for part in spread)
    assert (first[1] == 1).all()
    assert first_bias.tolist() == [0, 1, 0]
    assert (second[0] == 2).all()
    assert second_bias.tolist() == [2, 0, 0, 0]
    assert (hidden[4] == 3).all()
    assert hidden_bias.tolist() == [0, 0, 0, 0, 3]
    assert first.sum() == 2 * 9
    assert second.sum() == 2 * 3 * 4
    assert hidden.sum() == 3 * 8
    assert (output == -7).all()
    assert (output_bias == -7).all()


@pytest.mark.parametrize("neuron", range(12))
def test_what_spread_marks_is_what_a_channel_is_computed_from(neuron: int) -> None:
    rng = torch.Generator().manual_seed(0)
    stack = torch.rand(1, 1, 172, generator=rng, dtype=torch.float64).requires_grad_()
    inputs = torch.randint(1, 256, (1, 1, 1, 2, 7, 6), generator=rng, dtype=torch.uint8)
    (gradient,) = torch.autograd.grad(activations(PIXELS, stack, inputs)[0, 0, 0, neuron], stack)
    layer = PIXELS.layer_of_neurons()
    own = torch.from_numpy(PIXELS.spread(np.eye(12, dtype=np.float32)[neuron], output=0)) > 0
    earlier = torch.from_numpy(PIXELS.spread((layer < layer[neuron]).astype(np.float32), output=0)) > 0
    assert own.sum() == (2 * 9 + 1, 3 * 4 + 1, 8 + 1)[layer[neuron]]
    assert (gradient[0, 0][own] > 0).all()
    assert not gradient[0, 0][~own & ~earlier].any()


def test_initial_parameters_of_networks_on_frames_are_kaiming_normal() -> None:
    layout = Layout(4, (64,), 6, Image((20, 20), ((32, 8, 4), (64, 3, 1))))
    members = layout.initial(2, np.random.default_rng(0))
    assert members.dtype == np.float32
    parts = layout.unpack(torch.from_numpy(members)[None])
    for weight, bias, into in zip(parts[::2], parts[1::2], (4 * 64, 32 * 9, 64 * 4, 64), strict=True):
        assert not bias.any()
        tolerance = 4 / math.sqrt(2 * weight.numel())  # four standard errors
        assert weight.std().item() == pytest.approx(math.sqrt(2 / into), rel=tolerance)
        assert abs(weight.mean().item()) < 4 * math.sqrt(2 / into / weight.numel())
        assert not (weight[0, 0] == weight[0, 1]).any()
    # torch's own, so that the claim is about torch and not about a formula.
    theirs = nn.Conv2d(32, 64, 3)
    nn.init.kaiming_normal_(theirs.weight)
    assert theirs.weight.std().item() == pytest.approx(parts[2].std().item(), rel=0.03)


def test_a_trace_of_convolutions_knows_their_windows() -> None:
    trace = Trace()
    stack = torch.rand(1, 2, 172, dtype=torch.float64)
    output = forward(PIXELS, stack, torch.zeros(1, 1, 3, 2, 7, 6, dtype=torch.uint8), trace)
    assert trace.windows == [(3, 2), (2, 1)]
    assert [tuple(x.shape[2:]) for x in trace.inputs] == [(3, 2, 7, 6), (3, 3, 3, 2), (3, 8), (3, 5)]
    assert [tuple(x.shape[2:]) for x in trace.sums] == [(3, 3, 3, 2), (3, 4, 2, 1), (3, 5), (3, 3)]
    assert len(trace.activations) == 3
    torch.testing.assert_close(trace.sums[-1], output)


@pytest.mark.parametrize("layout", [Layout(3, (4, 5), 2), PIXELS, replace(PIXELS, joined=3), replace(PIXELS, joined=1)])
def test_a_neuron_without_outgoing_weights_acts_on_nothing(layout: Layout) -> None:
    rng = np.random.default_rng(0)
    stack = torch.from_numpy(layout.initial(1, rng)).unsqueeze(0)
    frames = torch.from_numpy(rng.integers(0, 255, (1, 1, 7, 2, 7, 6), dtype=np.uint8))
    vector = torch.from_numpy(rng.normal(size=(1, 1, 7, layout.joined or layout.inputs)).astype(np.float32))
    inputs = [*([frames] if layout.image else []), *([vector] if layout.joined or not layout.image else [])]
    for neuron in range(layout.neurons):
        one = np.arange(layout.neurons) == neuron
        into = torch.from_numpy(layout.spread(one.astype(np.float32), output=0) > 0)
        cut = stack.masked_fill(torch.from_numpy(layout.outgoing(one)), 0.0)
        loud = torch.where(into, 3.0, cut)
        assert torch.equal(forward(layout, loud, inputs), forward(layout, cut, inputs))
        assert not torch.equal(forward(layout, torch.where(into, 3.0, stack), inputs), forward(layout, stack, inputs))
    # No weight belongs to two, and with the inputs' and what joins the maps none is left over.
    each = [layout.outgoing(np.arange(layout.neurons) == neuron) for neuron in range(layout.neurons)]
    assert np.sum(each, 0).max() == 1
    joined = layout.joined * layout.hidden[0]
    assert np.sum(each) == sum(layout.sizes[2::2]) - joined
