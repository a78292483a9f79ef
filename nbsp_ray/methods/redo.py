"""ReDo: neurons that hardly fire any more are given new incoming weights, again and again while a task is learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from nbsp_ray.config.schema import Count, Settings
from nbsp_ray.layout import NETWORKS, PARTS
from nbsp_ray.learning.hooks import Arrays, Ingredient, Prepared
from nbsp_ray.methods import Look, Method

if TYPE_CHECKING:
    from nbsp_ray.layout import Layout
    from nbsp_ray.learning.agent import Agent
    from nbsp_ray.learning.replay import AnyReplay

TRANSITIONS = 256
"""That activity is measured on (the paper's SAC)."""


class Options(Settings):
    """What a sweep may set of it."""

    redo_tau: float = Field(0.025, ge=0)
    """`redo` recycles neurons whose mean activation is at most this share of their layer's mean (the paper's default
    for DQN; 0, those that never fire, for SAC)."""
    redo_period: Count = 1_000
    """Updates of the critics between two recyclings, which fall on the next end of an episode (the paper's for DQN;
    200,000 for SAC, which a phase that stops early never reaches)."""


class RecycledNeurons(Ingredient):
    """s_i = E|h_i| / mean_j E|h_j| <= tau: neuron i of the layer is dormant (Sokar et al. 2023, Equation 1).

    A dormant neuron is recycled (Algorithm 1): its incoming weights and bias are drawn anew, its outgoing weights are
    0, so that nothing changes at once, and Adam's moments of all of these are 0 (as in the authors' code). The targets
    follow by themselves.
    """

    kind: Literal["redo"] = "redo"
    tau: float = Field(ge=0)
    period: int = Field(ge=1)

    def between(self, arrays: Arrays, agent: Agent, replay: AnyReplay, rng: np.random.Generator) -> Prepared:
        """Recycle, if a period has ended since it was last looked."""
        recycled = arrays.get("recycled", np.zeros(len(NETWORKS), np.int64))
        before, now = int(arrays.get("updates", 0)), agent.updates.critic
        if now // self.period > before // self.period:
            recycled = recycled + [self._recycle(agent, network, replay, rng) for network in NETWORKS]
        report: dict[str, Any] = {"redo_recycled": dict(zip(NETWORKS, recycled.tolist(), strict=True))}
        return Prepared({"recycled": recycled, "updates": np.array(now, np.int64)}, report)

    def _recycle(self, agent: Agent, network: str, replay: AnyReplay, rng: np.random.Generator) -> int:
        import torch

        draws = torch.Generator()
        draws.manual_seed(int(rng.integers(2**63)))
        batch = replay.sample(TRANSITIONS, draws)
        observations, actions = (one[0].cpu().numpy() for one in (batch.observations, batch.actions))
        layout = agent.layout(network)
        dormant = is_dormant(agent.neuron_activations(network, observations, actions), layout, self.tau)
        part = next(part for part, networks in PARTS.items() if network in networks)
        member = PARTS[part].index(network)
        into = torch.from_numpy(layout.spread(dormant.astype(np.float32), output=0) > 0).to(agent.device)
        out_of = torch.from_numpy(layout.outgoing(dormant)).to(agent.device)
        fresh = torch.from_numpy(layout.initial(1, rng)[0]).to(agent.device)
        weights, moments = getattr(agent.state, part)[:, member], agent.state.moments[part]
        # In place: a captured update holds on to these very tensors.
        weights.copy_(torch.where(out_of, 0.0, torch.where(into, fresh, weights)))
        for moment in (moments.mean, moments.square):
            moment[:, member].masked_fill_(into | out_of, 0.0)
        return int(dormant.sum())


def is_dormant(activations: npt.NDArray[np.float32], layout: Layout, tau: float) -> npt.NDArray[np.bool_]:
    """Of each neuron (N,): whether its mean activation is at most `tau` of its layer's mean; `activations` (B, N)."""
    activity = np.abs(activations).mean(0, dtype=np.float64)
    layer = layout.layer_of_neurons()
    means = np.bincount(layer, activity) / np.bincount(layer)
    return np.asarray(activity <= tau * means[layer], np.bool_)


METHODS = (
    Method(
        "redo",
        "dormant neurons are recycled every so many updates (Sokar et al. 2023)",
        lambda options, counts: (RecycledNeurons(tau=options.redo_tau, period=options.redo_period),),
        Options,
        look=Look("#b03060", "*", "--"),
    ),
)
