"""What weights and neurons are worth to what was learnt: diagonal Fisher information, and Taylor importance.

Both are exact and per sample, and neither needs a gradient per sample: for a linear layer the squared gradient of a
weight, summed over samples, is a product of squared gradients at the sums and squared inputs,
sum_b (g_b x_b^T)^2 = (g^2)^T (x^2).
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from nbsp_ray.learning.agent import NETWORKS, Agent
from nbsp_ray.learning.networks import Trace
from nbsp_ray.learning.replay import AnyBatch, AnyReplay

FISHER_FLOOR = 1e-5
"""Least Fisher information of an actor's weight, on the mean over states (Continual World: per state)."""
IMPORTANCE_BATCHES = 100
FISHER_BLOCK = 128
"""Samples whose convolution gradients are held at once, 0.15 MB each."""


def actor_fisher(agent: Agent, batch: AnyBatch) -> Tensor:
    """Diagonal Fisher information of the policy, (L, 1, P): exact, mean over the batch's states, floored."""
    trace = Trace()
    outputs = agent.problem.fisher_outputs(agent.state.actor.detach().requires_grad_(), batch, trace)
    together = torch.stack([_mean_square_gradient(output, trace) for output in outputs]).sum(0)
    return together.clamp_min(FISHER_FLOOR)


def critic_fisher(agent: Agent, batch: AnyBatch) -> Tensor:
    """E (dQ / dw)^2 of both Q, (L, 2, P)."""
    trace = Trace()
    critic = agent.state.critic.detach().requires_grad_()
    return _mean_square_gradient(agent.problem.q_values(critic, batch, trace), trace)


def _mean_square_gradient(output: Tensor, trace: Trace) -> Tensor:
    """Mean over samples of the squared gradient of `output` (..., B) in every parameter, (L, M, P)."""
    gradients = torch.autograd.grad(output.sum(), trace.sums, retain_graph=True)
    parts: list[Tensor] = []
    for number, (gradient, inputs) in enumerate(zip(gradients, trace.inputs, strict=True)):
        if gradient.ndim > 4:
            parts.append(_convolution_squares(gradient, inputs.detach(), *trace.windows[number]))
            parts.append(gradient.sum((-2, -1)).square().sum(-2))
        else:
            square = gradient.square()
            parts += [(square.mT @ inputs.detach().square()).flatten(-2), square.sum(-2)]
    return torch.cat(parts, dim=-1) / output.shape[-1]


def _convolution_squares(gradient: Tensor, inputs: Tensor, kernel: int, stride: int) -> Tensor:
    """Sum over samples of a convolution's squared weight gradients, (L, M, out x in x k x k).

    A sample's own gradient is a product too: that at the sums with what the kernel saw at each place.
    """
    lanes, members = gradient.shape[:2]
    totals: list[Tensor] = []
    for of_sums, read in zip(gradient.flatten(0, 1), inputs.flatten(0, 1), strict=True):
        blocks = zip(of_sums.split(FISHER_BLOCK), read.split(FISHER_BLOCK), strict=True)
        squares = [(g.flatten(2) @ functional.unfold(x, kernel, stride=stride).mT).square().sum(0) for g, x in blocks]
        totals.append(torch.stack(squares).sum(0).flatten())
    together: Tensor = torch.stack(totals).unflatten(0, (lanes, members))
    return together


def taylor_importance(
    agent: Agent, replay: AnyReplay, generator: torch.Generator, *, batches: int = IMPORTANCE_BATCHES
) -> dict[str, npt.NDArray[np.float64]]:
    """Importance (N,) of every hidden neuron of `actor`, `q1` and `q2` (Paik et al. 2019, Taylor criterion).

    c = E_b |h_b dL_b / dh_b|, h the activation (of a convolution's channel: summed over height and width) and L_b the
    sample's own SAC loss, over `batches` batches; then divided by the quadratic mean over the neuron's layer.
    """
    totals: dict[str, list[npt.NDArray[np.float64]]] = {}
    problem = agent.problem
    for _ in range(batches):
        batch = replay.sample(agent.sac.batch_size, generator)
        shape = (2, 1, agent.sac.batch_size, problem.noise)
        noise = torch.randn(shape, generator=generator, device=generator.device).to(agent.device)
        actor = agent.state.actor.detach().requires_grad_()
        critic = agent.state.critic.detach().requires_grad_()
        traces = {"actor": Trace(), "critic": Trace()}
        losses = {
            "critic": problem.critic_losses(agent.state, critic, batch, noise[0], traces["critic"]),
            "actor": problem.actor_losses(agent.state, actor, batch, noise[1], traces["actor"])[0],
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
    products = (h.detach() * g for h, g in pairs)
    effects = (p if p.ndim == 4 else p.sum((-2, -1)) for p in products)
    return [effect.abs().sum(-2, dtype=torch.float64)[0].cpu().numpy() for effect in effects]


def _quadratic_mean(c: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.sqrt(np.square(c).mean(axis=-1, keepdims=True)))
