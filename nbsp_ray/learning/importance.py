"""What weights and neurons are worth to what was learnt: diagonal Fisher information, and Taylor importance.

Both are exact and per sample, and neither needs a gradient per sample: for a linear layer the squared gradient of a
weight, summed over samples, is a product of squared gradients at the sums and squared inputs,
sum_b (g_b x_b^T)^2 = (g^2)^T (x^2).
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nbsp_ray.learning.agent import NETWORKS, Agent
from nbsp_ray.learning.networks import Trace
from nbsp_ray.learning.replay import Batch, Replay
from nbsp_ray.learning.sac import actor_losses, critic_losses, distribution, q_values

FISHER_FLOOR = 1e-5
"""Least Fisher information of an actor's weight, on the mean over states (Continual World: per state)."""
IMPORTANCE_BATCHES = 100


def actor_fisher(agent: Agent, batch: Batch) -> Tensor:
    """Diagonal Fisher information of the Gaussian before tanh, (L, 1, P), floored.

    F = E_s sum_d [ (d mu_d / dw)^2 / sigma_d^2 + 2 (d log sigma_d / dw)^2 ]: exact, and equal to that of the squashed
    policy, as tanh is a bijection.
    """
    trace = Trace()
    mean, log_std = distribution(agent.shape, agent.state.actor.detach().requires_grad_(), batch.observations, trace)
    scaled = mean / log_std.detach().exp()
    outputs = [*scaled.unbind(-1), *(2**0.5 * log_std).unbind(-1)]
    return torch.stack([_mean_square_gradient(output, trace) for output in outputs]).sum(0).clamp_min(FISHER_FLOOR)


def critic_fisher(agent: Agent, batch: Batch) -> Tensor:
    """E (dQ / dw)^2 of both Q, (L, 2, P)."""
    trace = Trace()
    critic = agent.state.critic.detach().requires_grad_()
    return _mean_square_gradient(q_values(agent.shape, critic, batch.observations_actions, trace), trace)


def _mean_square_gradient(output: Tensor, trace: Trace) -> Tensor:
    """Mean over samples of the squared gradient of `output` (..., B) in every parameter, (L, M, P)."""
    gradients = torch.autograd.grad(output.sum(), trace.sums, retain_graph=True)
    parts: list[Tensor] = []
    for gradient, inputs in zip(gradients, trace.inputs, strict=True):
        square = gradient.square()
        parts += [(square.mT @ inputs.detach().square()).flatten(-2), square.sum(-2)]
    return torch.cat(parts, dim=-1) / output.shape[-1]


def taylor_importance(
    agent: Agent, replay: Replay, generator: torch.Generator, *, batches: int = IMPORTANCE_BATCHES
) -> dict[str, npt.NDArray[np.float64]]:
    """Importance (N,) of every hidden neuron of `actor`, `q1` and `q2` (Paik et al. 2019, Taylor criterion).

    c = E_b |h_b dL_b / dh_b|, h the activation and L_b the sample's own SAC loss, over `batches` batches; then divided
    by the quadratic mean over the neuron's layer.
    """
    totals: dict[str, list[npt.NDArray[np.float64]]] = {}
    for _ in range(batches):
        batch = replay.sample(agent.sac.batch_size, generator)
        shape = (2, 1, agent.sac.batch_size, agent.spaces.actions)
        noise = torch.randn(shape, generator=generator, device=generator.device).to(agent.device)
        actor = agent.state.actor.detach().requires_grad_()
        critic = agent.state.critic.detach().requires_grad_()
        traces = {"actor": Trace(), "critic": Trace()}
        losses = {
            "critic": critic_losses(agent.shape, agent.state, critic, batch, noise[0], traces["critic"]),
            "actor": actor_losses(agent.shape, agent.state, actor, batch, noise[1], traces["actor"])[0],
        }
        for part, trace in traces.items():
            effects = _effects(losses[part], trace)
            before = totals.get(part)
            totals[part] = [a + b for a, b in zip(before, effects, strict=True)] if before else effects
    normal = {part: [c / np.maximum(_quadratic_mean(c), 1e-300) for c in layers] for part, layers in totals.items()}
    return {name: np.concatenate([layer[m] for layer in normal[part]]) for name, (part, m) in NETWORKS.items()}


def _effects(losses: Tensor, trace: Trace) -> list[npt.NDArray[np.float64]]:
    """Sum over samples of |h dL/dh| for each hidden layer, (M, width) of the first lane."""
    gradients = torch.autograd.grad(losses.sum(), trace.activations)
    pairs = zip(trace.activations, gradients, strict=True)
    return [(h.detach() * g).abs().sum(-2, dtype=torch.float64)[0].cpu().numpy() for h, g in pairs]


def _quadratic_mean(c: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.sqrt(np.square(c).mean(axis=-1, keepdims=True)))
