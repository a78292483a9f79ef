"""Networks as stacks: the same network for many lanes and members, its parameters in one flat tensor.

A stack of parameters is a tensor (L, M, P): L lanes (trials learnt side by side; one by default), M members (one
actor, two critics), P parameters of one network, ordered as `Layout.names`. So the optimizer, the mask, a penalty, the
target update and a checkpoint are each a line on one tensor, and one batched product serves all members. This module
knows layers and neurons, not losses.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from nbsp_ray.layout import Layout

NORM_EPS = 1e-5
"""Of a layer's normalisation (torch's default): a layer that gives one number everywhere is not blown up."""


@dataclass
class Trace:
    """What a forward pass went through, for gradients at the neurons.

    Each entry is (L, M, B, width) of a linear layer, (L, M, B, channels, height, width) of a convolution.
    """

    inputs: list[Tensor] = field(default_factory=list[Tensor])
    """What each layer read."""
    sums: list[Tensor] = field(default_factory=list[Tensor])
    """What each layer gave before the ReLU; the last is the output."""
    activations: list[Tensor] = field(default_factory=list[Tensor])
    """What each hidden layer gave after the ReLU."""
    windows: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """Kernel and stride of each convolution."""


def forward(
    layout: Layout,
    stack: Tensor,
    inputs: Tensor | Sequence[Tensor],
    trace: Trace | None = None,
    *,
    precision: torch.dtype = torch.float32,
) -> Tensor:
    """Outputs (L, M, B, outputs) of a stack (L, M, P); ReLU after hidden layers.

    Args:
        layout: Where the weights lie.
        stack: Parameters (L, M, P).
        inputs: One batch for all members (L, 1, B, I), or one for each (L, M, B, I); I is the length of the vector,
            or (frames, height, width) in bytes, which are divided by 255. A vector may come in parts, and then a
            gradient in one of them does not cost that in the others; what joins frames comes behind them.
        trace: If given, every layer is noted in it, and the result hangs on what was noted.
        precision: Of products and activations; what is traced is computed in that of the stack, and so are outputs.
    """
    lanes, members, _ = stack.shape
    number_type = stack.dtype if trace is not None or precision == torch.float32 else precision
    weights = layout.unpack(stack.flatten(0, 1).to(number_type))
    parts = [inputs] if isinstance(inputs, Tensor) else inputs
    convolved = [_convolve(layout, weights, parts[0], lanes, trace)] if layout.image else []
    vectors = [part.to(number_type).expand(lanes, members, *part.shape[2:]) for part in parts[len(convolved) :]]
    x = [*convolved, *(part.flatten(0, 1) for part in vectors)]
    # From here on a batch is the last dimension, (n, width, B): so the gradient of a weight comes out as the weight
    # lies in memory, and no optimizer has to read it across.
    x = [part.mT for part in x]
    convolutions, last = len(layout.convolutions), len(layout.layers)
    for number, (weight, bias) in enumerate(zip(weights[::2], weights[1::2], strict=True)):
        if number >= convolutions:
            if trace is not None:
                x = [_record_across(torch.cat(x, 1), trace, "inputs", lanes)]
            sums = _record_across(_linear(weight, bias, x), trace, "sums", lanes)
            shown = _normalise(sums) if layout.layer_norm and number < last else sums
            x = [_record_across(torch.relu(shown), trace, "activations", lanes) if number < last else sums]
    outputs: Tensor = x[0].mT.unflatten(0, (lanes, members)).to(stack.dtype)
    return outputs


def _normalise(sums: Tensor) -> Tensor:
    """Sums (n, width, B) with mean 0 and variance 1 over the width, as torch's LayerNorm without weights."""
    centred = sums - sums.mean(1, keepdim=True)
    return centred * (centred.square().mean(1, keepdim=True) + NORM_EPS).rsqrt()


def _linear(weight: Tensor, bias: Tensor, parts: Sequence[Tensor]) -> Tensor:
    """W x + b of n networks, (n, out, B), for an x in parts (n, in, B), each with its own columns of W (n, out, in)."""
    columns = weight.split_with_sizes([part.shape[1] for part in parts], dim=-1)
    products = [torch.bmm(*factors) for factors in zip(columns, parts, strict=True)]
    return sum(products[1:], products[0]) + bias.unsqueeze(-1)


def _convolve(layout: Layout, weights: Sequence[Tensor], inputs: Tensor, lanes: int, trace: Trace | None) -> Tensor:
    """What the convolutions make of frames, flat, (n, B, features) of all n = L x M networks.

    One network after another, as a grouped convolution of few networks is up to five times slower on a CPU; with
    channels innermost, where the gradient of the first layer's filters is three times as fast.
    """
    bytes_ = inputs.flatten(0, 1).to(weights[0].dtype)
    frames = [(one / 255).contiguous(memory_format=torch.channels_last) for one in bytes_.unbind(0)]
    x = [frames[number * len(frames) // len(weights[0])] for number in range(len(weights[0]))]
    for (_, kernel, stride), weight, bias in zip(layout.convolutions, weights[::2], weights[1::2], strict=False):
        if trace is not None:
            trace.windows.append((kernel, stride))
        x = _record_each(x, trace, "inputs", lanes)
        filters = (one.contiguous(memory_format=torch.channels_last) for one in weight)
        x = [functional.conv2d(*one, stride=stride) for one in zip(x, filters, bias, strict=True)]
        x = _record_each(x, trace, "sums", lanes)
        x = _record_each([torch.relu(one) for one in x], trace, "activations", lanes)
    return torch.stack([one.flatten(1) for one in x])


def _record_each(x: list[Tensor], trace: Trace | None, what: str, lanes: int) -> list[Tensor]:
    """`_record` for a tensor of each network."""
    return x if trace is None else list(_record(torch.stack(x), trace, what, lanes).unbind(0))


def _record_across(x: Tensor, trace: Trace | None, what: str, lanes: int) -> Tensor:
    """`_record` for a batch in the last dimension."""
    return x if trace is None else _record(x.mT, trace, what, lanes).mT


def _record(x: Tensor, trace: Trace | None, what: str, lanes: int) -> Tensor:
    """The same values; if they are noted, with lanes and members apart, the result hangs on the note."""
    if trace is None:
        return x
    notes: list[Tensor] = getattr(trace, what)
    notes.append(x.unflatten(0, (lanes, -1)))
    return notes[-1].flatten(0, 1)


def activations(layout: Layout, stack: Tensor, inputs: Tensor | Sequence[Tensor]) -> Tensor:
    """Activations (L, M, B, N) of all hidden neurons, after the ReLU, numbered as in `Layout`.

    That of a convolution's channel is its mean over height and width.
    """
    trace = Trace()
    forward(layout, stack, inputs, trace)
    return torch.cat([layer if layer.ndim == 4 else layer.mean((-2, -1)) for layer in trace.activations], dim=-1)


class NumpyMlp:
    """One member of one lane for a single input at a time, sharing its memory.

    A forward pass of one observation costs about 20 us in NumPy and six times that in torch, and acting is a third of
    the time of an evaluation.
    """

    def __init__(self, layout: Layout, parameters: npt.NDArray[np.float32]) -> None:
        views = list(layout.named(parameters).values())
        self._layers = list(zip(views[::2], views[1::2], strict=True))
        self._layer_norm = layout.layer_norm

    def __call__(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Outputs (outputs,) for one input (inputs,)."""
        for weight, bias in self._layers[:-1]:
            sums = weight @ x + bias
            if self._layer_norm:
                centred = sums - sums.mean()
                sums = centred / np.sqrt(np.square(centred).mean() + np.float32(NORM_EPS))
            x = np.maximum(sums, 0)
        weight, bias = self._layers[-1]
        return weight @ x + bias
