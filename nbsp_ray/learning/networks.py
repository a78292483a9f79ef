"""Networks as stacks: the same network for many lanes and members, its parameters in one flat tensor.

A stack of parameters is a tensor (L, M, P): L lanes (trials learnt side by side; one by default), M members (one
actor, two critics), P parameters of one network, ordered as `Layout.names`. So the optimizer, the mask, a penalty, the
target update and a checkpoint are each a line on one tensor, and one batched product serves all members. This module
knows layers and neurons, not losses.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Where each weight of a fully connected network lies in its P parameters.

    A neuron is an output unit of a hidden layer (method: Section 3.2; output layers have none). Neurons are numbered
    from 0, layer by layer from the input.
    """

    inputs: int
    hidden: tuple[int, ...]
    outputs: int

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of weight and bias of each layer, in their order in P: (out, in), (out,), ..."""
        widths = (self.inputs, *self.hidden, self.outputs)
        return tuple(shape for into, out in pairwise(widths) for shape in ((out, into), (out,)))

    @cached_property
    def sizes(self) -> list[int]:
        """Number of parameters of each of `shapes`."""
        return [math.prod(shape) for shape in self.shapes]

    @property
    def parameters(self) -> int:
        """P."""
        return sum(self.sizes)

    @property
    def neurons(self) -> int:
        """N, the hidden neurons of one network."""
        return sum(self.hidden)

    @property
    def names(self) -> tuple[str, ...]:
        """`hidden0.weight`, `hidden0.bias`, ..., `output.weight`, `output.bias`."""
        layers = [f"hidden{number}" for number in range(len(self.hidden))] + ["output"]
        return tuple(f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias"))

    def unpack(self, stack: Tensor) -> list[Tensor]:
        """Views (L, M, *shape) of every weight and bias of a stack (L, M, P)."""
        return [
            part.unflatten(-1, shape) for part, shape in zip(stack.split(self.sizes, dim=-1), self.shapes, strict=True)
        ]

    def initial(self, members: int, generator: np.random.Generator) -> npt.NDArray[np.float32]:
        """Fresh parameters (members, P): uniform in +-1/sqrt(inputs of the layer), as `torch.nn.Linear`'s default."""
        bounds = np.repeat(
            [1 / math.sqrt(shape[1]) for shape in self.shapes[::2] for _ in ("weight", "bias")], self.sizes
        )
        uniform = generator.uniform(-1, 1, (members, self.parameters))
        return np.asarray(uniform * bounds, dtype=np.float32)

    def spread(self, per_neuron: npt.NDArray[np.float32], *, output: float) -> npt.NDArray[np.float32]:
        """Values (..., N) of neurons on their incoming weights and bias, (..., P); `output` in the last layer."""
        lead = per_neuron.shape[:-1]
        parts: list[npt.NDArray[np.float32]] = []
        start = 0
        for width, weights, _ in zip(self.hidden, self.sizes[::2], self.sizes[1::2], strict=False):
            layer = per_neuron[..., start : start + width]
            parts += [np.repeat(layer, weights // width, axis=-1), layer]
            start += width
        rest = sum(self.sizes[-2:])
        return np.concatenate([*parts, np.full((*lead, rest), output, np.float32)], axis=-1, dtype=np.float32)

    def layer_of_neurons(self) -> npt.NDArray[np.int64]:
        """The hidden layer (N,) that each neuron is in."""
        return np.repeat(np.arange(len(self.hidden)), self.hidden)


@dataclass
class Trace:
    """What a forward pass went through, for gradients at the neurons; each entry is (L, M, B, width) of a layer."""

    inputs: list[Tensor] = field(default_factory=list[Tensor])
    """What each layer read: the inputs, then the activations of each hidden layer after the ReLU."""
    sums: list[Tensor] = field(default_factory=list[Tensor])
    """What each layer gave before the ReLU; the last is the output."""

    @property
    def activations(self) -> list[Tensor]:
        """Of each hidden layer."""
        return self.inputs[1:]


def forward(layout: Layout, stack: Tensor, inputs: Tensor, trace: Trace | None = None) -> Tensor:
    """Outputs (L, M, B, outputs) of a stack (L, M, P) on inputs (L, 1 or M, B, inputs); ReLU after hidden layers.

    Args:
        layout: Where the weights lie.
        stack: Parameters (L, M, P).
        inputs: One batch for all members (L, 1, B, I), or one for each (L, M, B, I).
        trace: If given, every layer is noted in it, and the result hangs on what was noted.
    """
    lanes, members, _ = stack.shape
    batch = inputs.shape[2]
    x = inputs.expand(lanes, members, batch, layout.inputs).reshape(lanes * members, batch, layout.inputs)
    weights = layout.unpack(stack)
    last = len(layout.hidden)
    for number, (weight, bias) in enumerate(zip(weights[::2], weights[1::2], strict=True)):
        if trace is not None:
            trace.inputs.append(x.unflatten(0, (lanes, members)))
            x = trace.inputs[-1].flatten(0, 1)
        x = torch.baddbmm(bias.flatten(0, 1).unsqueeze(1), x, weight.flatten(0, 1).transpose(1, 2))
        if trace is not None:
            trace.sums.append(x.unflatten(0, (lanes, members)))
            x = trace.sums[-1].flatten(0, 1)
        if number < last:
            x = torch.relu(x)
    return x.view(lanes, members, batch, layout.outputs)


def activations(layout: Layout, stack: Tensor, inputs: Tensor) -> Tensor:
    """Activations (L, M, B, N) of all hidden neurons, after the ReLU, numbered as in `Layout`."""
    trace = Trace()
    forward(layout, stack, inputs, trace)
    return torch.cat(trace.activations, dim=-1)


class NumpyMlp:
    """One member of one lane for a single input at a time, sharing its memory.

    A forward pass of one observation costs about 20 us in NumPy and six times that in torch, and acting is a third of
    the time of an evaluation.
    """

    def __init__(self, layout: Layout, parameters: npt.NDArray[np.float32]) -> None:
        offsets = np.cumsum([0, *layout.sizes])
        views: Sequence[npt.NDArray[np.float32]] = [
            parameters[start:end].reshape(shape)
            for start, end, shape in zip(offsets[:-1], offsets[1:], layout.shapes, strict=True)
        ]
        self._layers = list(zip(views[::2], views[1::2], strict=True))

    def __call__(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Outputs (outputs,) for one input (inputs,)."""
        for weight, bias in self._layers[:-1]:
            x = np.maximum(weight @ x + bias, 0)
        weight, bias = self._layers[-1]
        return weight @ x + bias
