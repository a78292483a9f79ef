"""Acting on one observation at a time, with the actor's weights as they are and as they will be."""

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
import torch

from nbsp_ray.benchmarks import Action, Continuous, Discrete, Observation
from nbsp_ray.layout import Layout
from nbsp_ray.learning.networks import NumpyMlp, forward

Noise = npt.NDArray[np.float32]


class Policy(ABC):
    """An actor at work. Its chance is handed in, so that an episode is a function of its number.

    Args:
        layout: The actor's.
        actor: Its parameters (1, 1, P), shared where the device allows.
        actions: Length of an action, or number of actions.
    """

    def __init__(self, layout: Layout, actor: torch.Tensor, actions: int) -> None:
        self.layout, self._actor, self._actions = layout, actor, actions
        small = actor.device.type == "cpu" and layout.image is None
        self._mlp = NumpyMlp(layout, actor[0, 0].numpy()) if small else None

    @abstractmethod
    def random(self, rng: np.random.Generator) -> Action:
        """A uniformly random action."""

    @abstractmethod
    def noise(self, rng: np.random.Generator) -> Noise:
        """What makes one action random."""

    @abstractmethod
    def action(self, output: npt.NDArray[np.float32], noise: Noise | None) -> Action:
        """An action, from what the actor gives for an observation; the most likely one without `noise`.

        Of several lanes at once, with leading axes.
        """

    def __call__(self, observation: Observation, noise: Noise | None) -> Action:
        """An action; the most likely one without `noise`."""
        return self.action(self._output(observation), noise)

    def weights(self) -> npt.NDArray[np.float32]:
        """A copy of the actor's parameters (P,) as they are now."""
        return self._actor[0, 0].cpu().numpy().copy()

    def _output(self, observation: Observation) -> npt.NDArray[np.float32]:
        return self._mlp(observation) if self._mlp else self._on_device(observation)

    @torch.no_grad()
    def _on_device(self, observation: Observation) -> npt.NDArray[np.float32]:
        batch = torch.from_numpy(observation).to(self._actor.device)[None, None, None]
        return forward(self.layout, self._actor, batch)[0, 0, 0].cpu().numpy()


class GaussianPolicy(Policy):
    """tanh(mean + std noise), or tanh(mean)."""

    def random(self, rng: np.random.Generator) -> Action:
        """Uniform in [-1, 1]^A."""
        return rng.uniform(-1, 1, self._actions).astype(np.float32)

    def noise(self, rng: np.random.Generator) -> Noise:
        """Standard normal (A,)."""
        return rng.standard_normal(self._actions, dtype=np.float32)

    def action(self, output: npt.NDArray[np.float32], noise: Noise | None) -> Action:
        """An action in (-1, 1)^A; the mean action without `noise`."""
        mean = output[..., : self._actions]
        if noise is None:
            return np.tanh(mean)
        log_std = -5 + 3.5 * (np.tanh(output[..., self._actions :]) + 1)
        return np.tanh(mean + np.exp(log_std) * noise)


class CategoricalPolicy(Policy):
    """The action of the greatest logit plus Gumbel noise, which is a draw of the softmax; or of the greatest logit."""

    def random(self, rng: np.random.Generator) -> Action:
        """Any action."""
        return rng.integers(self._actions)

    def noise(self, rng: np.random.Generator) -> Noise:
        """Standard Gumbel (A,)."""
        return rng.gumbel(size=self._actions).astype(np.float32)

    def action(self, output: npt.NDArray[np.float32], noise: Noise | None) -> Action:
        """The number of an action."""
        found: Action = np.argmax(output if noise is None else output + noise, axis=-1)
        return found


def new_policy(layout: Layout, actor: torch.Tensor, action: Continuous | Discrete) -> Policy:
    """The policy for such actions."""
    kind = GaussianPolicy if isinstance(action, Continuous) else CategoricalPolicy
    return kind(layout, actor, action.size)
