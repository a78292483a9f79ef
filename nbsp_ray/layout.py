"""The networks of an agent and the rows of its buffer: names, shapes, sizes, products, and where each number lies.

Stated once, without torch: learning builds its networks from it, `plan` prices them, an export names their weights.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nbsp_ray.spaces import Continuous, Convolutions, Frames, Spaces, Vector

NETWORKS = ("actor", "q1", "q2")
PARTS: Mapping[str, tuple[str, ...]] = {"actor": ("actor",), "critic": ("q1", "q2")}
"""The networks of each part, in the order of their stack."""
Parts = tuple[Literal["actor", "critic"], ...]


Counts = Mapping[str, int]
"""Skill neurons of each network: `actor`, `q1`, `q2`."""


# Networks


@dataclass(frozen=True)
class Image:
    """The convolutions before the fully connected layers of a network that sees frames."""

    frame: tuple[int, int]
    """Height and width."""
    convolutions: Convolutions

    def maps(self) -> Iterator[tuple[int, int]]:
        """Height and width of each convolution's output."""
        height, width = self.frame
        for _, kernel, stride in self.convolutions:
            height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
            yield height, width


@dataclass(frozen=True)
class Layout:
    """The place of each weight of a network in its P parameters: convolutions if it sees frames, then linear layers.

    A neuron is an output unit of a hidden layer, or an output channel of a convolution (method: Section 3.2; output
    layers have none). Neurons are numbered from 0, layer by layer from the input.
    """

    inputs: int
    """Length of the input vector, or frames in the stack."""
    hidden: tuple[int, ...]
    """Units of each hidden fully connected layer."""
    outputs: int
    image: Image | None = None
    joined: int = 0
    """Length of a vector that joins what the convolutions give, behind it, before the first fully connected layer."""
    layer_norm: bool = False
    """Whether what a hidden fully connected layer sums up is normalised before the ReLU; it has no parameters."""

    def __post_init__(self) -> None:
        # Each is computed once, and now: torch.compile cannot follow the lock inside of a cached property.
        _ = self.layers, self.shapes, self.sizes

    @property
    def convolutions(self) -> Convolutions:
        """Convolutions of the network; none where it reads a vector."""
        return self.image.convolutions if self.image else ()

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """Neurons of each hidden layer, input side first."""
        return (*(channels for channels, _, _ in self.convolutions), *self.hidden)

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of weight and bias of each layer, in their order in P: (out, in, k, k) or (out, in), (out,), ..."""
        shapes: list[tuple[int, ...]] = []
        into = self.inputs
        for out, kernel, _ in self.convolutions:
            shapes += [(out, into, kernel, kernel), (out,)]
            into = out
        if self.image:
            into = into * math.prod(list(self.image.maps())[-1]) + self.joined
        for out in (*self.hidden, self.outputs):
            shapes += [(out, into), (out,)]
            into = out
        return tuple(shapes)

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
        return sum(self.layers)

    @property
    def products(self) -> list[int]:
        """Multiplications of each layer for one input; filters are applied at every place of their map."""
        places = [math.prod(one) for one in self.image.maps()] if self.image else []
        return [size * at for size, at in itertools.zip_longest(self.sizes[::2], places, fillvalue=1)]

    @property
    def multiplications(self) -> int:
        """Multiplications of one forward pass of one input."""
        return sum(self.products)

    @property
    def names(self) -> tuple[str, ...]:
        """`conv0.weight`, `conv0.bias`, ..., `hidden0.weight`, `hidden0.bias`, ..., `output.weight`, `output.bias`."""
        convolutions = [f"conv{number}" for number in range(len(self.convolutions))]
        layers = [*convolutions, *(f"hidden{number}" for number in range(len(self.hidden))), "output"]
        return tuple(f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias"))

    def unpack(self, stack: Any) -> list[Any]:
        """Views (..., *shape) of every weight and bias of a stack (..., P), a tensor.

        By torch's plainest calls: `split` and `unflatten` go through Python, which a small network feels.
        """
        networks, parts = stack.shape[:-1], stack.split_with_sizes(self.sizes, dim=-1)
        return [part.view(*networks, *shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def named(self, parameters: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        """Views of every weight and bias of one network (P,), by `names`."""
        pieces = np.split(parameters, np.cumsum(self.sizes)[:-1])
        parts = zip(self.names, pieces, self.shapes, strict=True)
        return {name: piece.reshape(shape) for name, piece, shape in parts}

    def initial(self, members: int, generator: np.random.Generator) -> npt.NDArray[np.float32]:
        """Fresh parameters (members, P), as CleanRL's for either benchmark.

        Networks on vectors: weights and biases uniform in +-1/sqrt(inputs of the layer), as `torch.nn.Linear`'s
        default. Networks on frames: weights Kaiming normal, of variance 2 / inputs; biases 0.
        """
        if self.image is None:
            uniform = generator.uniform(-1, 1, (members, self.parameters))
            return np.asarray(uniform * np.repeat([1 / math.sqrt(n) for n in self._fan_in], self.sizes), np.float32)
        normal = generator.standard_normal((members, self.parameters))
        kaiming = [kind * math.sqrt(2 / n) for n, kind in zip(self._fan_in, itertools.cycle((1, 0)), strict=False)]
        return np.asarray(normal * np.repeat(kaiming, self.sizes), np.float32)

    @property
    def _fan_in(self) -> list[int]:
        """Inputs of the layer that each of `shapes` belongs to."""
        return [math.prod(shape[1:]) for shape in self.shapes[::2] for _ in ("weight", "bias")]

    def spread(self, per_neuron: npt.NDArray[np.float32], *, output: float) -> npt.NDArray[np.float32]:
        """Values (..., N) of neurons on their incoming weights and bias, (..., P); `output` in the last layer."""
        lead = per_neuron.shape[:-1]
        parts: list[npt.NDArray[np.float32]] = []
        start = 0
        for width, weights, _ in zip(self.layers, self.sizes[::2], self.sizes[1::2], strict=False):
            layer = per_neuron[..., start : start + width]
            parts += [np.repeat(layer, weights // width, axis=-1), layer]
            start += width
        rest = sum(self.sizes[-2:])
        return np.concatenate([*parts, np.full((*lead, rest), output, np.float32)], axis=-1, dtype=np.float32)

    def outgoing(self, neurons: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Of each parameter (P,): whether it is a weight by which one of `neurons` (N,) acts on the next layer."""
        parts: list[npt.NDArray[np.bool_]] = []
        seen = np.zeros(self.inputs, dtype=np.bool_)
        of_layers = np.split(neurons, np.cumsum(self.layers))  # the last of them, of no layer, is empty
        for number, (shape, layer) in enumerate(zip(self.shapes[::2], of_layers, strict=True)):
            if self.image and number == len(self.convolutions):  # a column for every place of a map; an action may join
                maps = np.repeat(seen, (shape[1] - self.joined) // len(seen))
                seen = np.concatenate([maps, np.zeros(self.joined, dtype=np.bool_)])
            one = np.broadcast_to(seen.reshape(-1, *(1 for _ in shape[2:])), shape)
            parts += [one.ravel(), np.zeros(shape[0], dtype=np.bool_)]
            seen = layer
        return np.concatenate(parts)

    def layer_of_neurons(self) -> npt.NDArray[np.int64]:
        """The hidden layer (N,) that each neuron is in."""
        return layer_of_neurons(self.layers)


def layer_of_neurons(layers: Sequence[int]) -> npt.NDArray[np.int64]:
    """The hidden layer (N,) that each neuron is in, of a network with so many neurons in each."""
    return np.repeat(np.arange(len(layers)), layers)


def layouts(spaces: Spaces, hidden: tuple[int, ...], *, layer_norm: bool = False) -> dict[str, Layout]:
    """The layout of the networks of each part, `actor` and `critic`.

    Continuous actions: the actor gives mean and log_std of each, a critic reads (s, a) and gives Q(s, a). Discrete
    actions: the actor gives a logit of each, a critic reads s and gives Q(s, a) of each.
    """
    seen, action = spaces.observation, spaces.action
    image = Image(seen.frame, seen.convolutions) if isinstance(seen, Frames) else None
    inputs = seen.size if isinstance(seen, Vector) else seen.stack
    if not isinstance(action, Continuous):
        both = Layout(inputs, hidden, action.size, image, layer_norm=layer_norm)
        return {"actor": both, "critic": both}
    joined = action.size if image else 0
    read = inputs if image else inputs + action.size
    actor = Layout(inputs, hidden, 2 * action.size, image, layer_norm=layer_norm)
    return {"actor": actor, "critic": Layout(read, hidden, 1, image, joined, layer_norm)}


# Rows of a replay buffer


def row_width(spaces: Spaces) -> int:
    """Numbers of one row of a replay buffer: floats where vectors are observed, bytes where frames are.

    Floats: observation | action | next observation | reward | terminated. Bytes: a frame and its `frame_fields`.
    """
    seen = spaces.observation
    if isinstance(seen, Vector):
        return 2 * seen.size + spaces.action.width + 2
    return math.prod(seen.frame) + sum(frame_fields(spaces))


def frame_fields(spaces: Spaces) -> tuple[int, int, int, int]:
    """Bytes behind a frame in its row: action, reward, terminated, flags."""
    return spaces.action.nbytes, 1 if spaces.clipped_rewards else 4, 1, 1
