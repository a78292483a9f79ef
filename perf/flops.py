"""What an update must compute: its multiplications and additions in matrix products, and the machine's rate at these.

The floor of an update is its needed FLOPs over the measured rate of a 256 x 256 x 256 product on one thread of the same
machine in the same run. Everything pointwise (ReLU, tanh, Adam, targets) is left out: a floor is what cannot be had for
less, so a ratio of 1.0 is not to be reached.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from nbsp_ray.layout import layouts
from nbsp_ray.spaces import Continuous, Discrete, Frames, Spaces, Vector

SIZE = 256


@dataclass(frozen=True)
class Products:
    """FLOPs of one update, 2 per multiply-add."""

    needed: float
    """What the published schedule cannot do without."""
    executed: float
    """What the CleanRL-style reference makes of it."""


def continuous(observations: int, actions: int, batch: int, hidden: Sequence[int]) -> Products:
    """One update of SAC, averaged over `policy_frequency` (2 actor steps in every second update are 1 in each).

    Needed, in forward passes of one network: the actor on s' and on s (its backward pass needs the weights' gradients
    of every layer and the inputs' of all but the first); 2 critics on (s', a'), (s, a) and (s, a drawn), with one
    backward pass like the actor's, and one to the drawn actions alone: inputs' gradients, no weights', and of the first
    layer those of the actions' columns.
    Executed by the reference beside these: log pi once more for alpha, the critics' weight gradients in the actor's
    step, which are thrown away, and the gradients of the first layer's other columns.
    """
    spaces = Spaces(Vector(observations), Continuous(actions))
    actor, critic = (one.products for one in layouts(spaces, tuple(hidden)).values())
    forwards = 2 * sum(actor) + 3 * 2 * sum(critic)
    backward = 2 * sum(actor) - actor[0] + 2 * (2 * sum(critic) - critic[0])
    to_actions = 2 * (sum(critic) - critic[0] + actions * hidden[0])
    needed = forwards + backward + to_actions
    wasted = sum(actor) + 2 * sum(critic) + 2 * observations * hidden[0]
    return Products(2.0 * batch * needed, 2.0 * batch * (needed + wasted))


def discrete(actions: int, batch: int) -> Products:
    """One update of discrete SAC on 84 x 84 x 4 frames with the usual three convolutions and 512 units.

    Forward: the actor on s' and s, 2 critics on s' (targets), on s, and on s again for the actor after their step.
    Backward: the 2 critics and the actor, without the gradients of the frames. The reference wastes nothing.
    """
    network = layouts(Spaces(Frames(), Discrete(actions)), (512,))["critic"].products
    total = (2 + 3 * 2) * sum(network) + 3 * (2 * sum(network) - network[0])
    return Products(2.0 * batch * total, 2.0 * batch * total)


class Gemm:
    """Measures the rate of two 256^3 products at once (as of twin critics), on one thread."""

    def __init__(self, precision: str) -> None:
        import torch

        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        self._left, self._right = (torch.randn(2, SIZE, SIZE).to(dtype) for _ in range(2))
        self._out = torch.empty(2, SIZE, SIZE, dtype=dtype)
        self._product = torch.bmm
        self.updates(0.1)

    def updates(self, seconds: float) -> tuple[float, float]:
        """(GFLOP done, seconds it took)."""
        done, start = 0, time.perf_counter()
        while (taken := time.perf_counter() - start) < seconds:
            for _ in range(10):
                self._product(self._left, self._right, out=self._out)
            done += 10
        return done * 2 * 2 * SIZE**3 / 1e9, taken
