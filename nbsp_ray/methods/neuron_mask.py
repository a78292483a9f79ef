"""Freezing neurons (Eq. 5): NBSP, its two halves, and the controls that differ only in which neurons they freeze."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from nbsp_ray.config.schema import Rate
from nbsp_ray.layout import NETWORKS, PARTS, Counts, Parts
from nbsp_ray.learning.hooks import Arrays, Ingredient, Past, Prepared
from nbsp_ray.learning.scores import (
    NeuronStatistics,
    first_of_each_layer,
    measure_network,
    rank,
    rank_at_random,
    score,
)
from nbsp_ray.methods import Look, Method, replay
from nbsp_ray.methods.replay import PastReplay

if TYPE_CHECKING:
    from nbsp_ray.learning.agent import Agent
    from nbsp_ray.learning.sac import UpdateRule

Select = Literal["skill", "random", "important"]
Score = Literal["paper", "balanced", "dormant"]
DRIFT_STATES = 2048
"""First-task states on which the drift of frozen neurons is measured."""


class Options(replay.Options):
    """What a sweep may set of them."""

    replay_parts: Literal["both", "masked"] = "both"
    """What `nbsp_actor` and `nbsp_critic` replay into: both parts, or only the one whose neurons they freeze (the other
    reading of Section 4.3)."""
    mask_strength: Rate = 1.0
    """1 freezes the selected neurons (Eq. 5); s in (0, 1) scales their update by 1 - s."""
    score: Literal["paper", "balanced", "dormant"] = "paper"
    """`paper`: Eq. 4; `balanced`: balanced accuracy in its place, as `nbsp_balanced` always; `dormant`: the least
    active neurons first."""
    random_among: Literal["active", "all"] = "active"
    """Neurons that `random_nbsp` draws from: those that are not constant on the scoring steps (constant ones only where
    a layer or network has too few others), or all."""
    random_match: Literal["layer", "network"] = "layer"
    """What has as many random neurons as skill neurons in `random_nbsp`: each layer, and so the same share of frozen
    weights, or each network as a whole. By layer it reads `score`, and where that is undefined it is by network."""


class NeuronMask(Ingredient):
    """Selected neurons keep their incoming weights and bias; output layers, targets and log_alpha are free.

    Selection: all hidden neurons of one network compete, the first `counts[network]` of the ranking are taken. Random
    ones that are to `match` by `layer` are as many in each layer as the skill neurons there would be, so that both
    freeze the same share of the weights; where the score is undefined there is nothing to match.
    """

    kind: Literal["mask"] = "mask"
    select: Select
    score: Score | None = None
    """Of skill neurons: those selected, or those matched by layer."""
    among: Literal["active", "all"] | None = None
    match: Literal["layer", "network"] | None = None
    """Of random neurons, as the two above; None is `network`."""
    strength: float = Field(ge=0, le=1)
    counts: Mapping[str, Annotated[int, Field(ge=0)]]

    needs_rollouts = True

    @property
    def scores_neurons(self) -> bool:
        """Whether neurons are compared with q: not where they are chosen by importance or by how little they do."""
        return (self.select == "skill" or self.match == "layer") and self.score != "dormant"

    def prepare(self, past: Past) -> Prepared:
        """Score the neurons of each network on the rollouts, and choose."""
        if past.rollouts is None:
            raise ValueError("a neuron mask needs the rollouts of the phase before")
        arrays: dict[str, npt.NDArray[Any]] = {}
        report: dict[str, Any] = {}
        undefined = False
        importance = _importance(past) if self.select == "important" else {}
        # A stream for each network, so that one's draw does not depend on which others are masked.
        rngs = dict(zip(NETWORKS, past.generator.spawn(len(NETWORKS)), strict=True))
        for network, count in self.counts.items():
            agreement = measure_network(past.agent, network, past.rollouts)
            undefined |= self._undefined(agreement)
            layer = past.agent.layout(network).layer_of_neurons()
            frozen = np.zeros(len(layer), dtype=np.bool_)
            frozen[self._choose(count, agreement, layer, importance.get(network), rngs[network])] = True
            # After several tasks, each has chosen among all neurons, and what any of them chose stays frozen.
            frozen |= past.carried.get(f"{network}.frozen", False)
            arrays[f"{network}.frozen"] = frozen
            arrays[f"{network}.score"] = score(agreement.accuracy)
            report[network] = _describe(past.agent, network, frozen, agreement)
        positive_share = agreement.positive_share if self.counts else None
        return Prepared(arrays, {"neurons": report, "positive_share": positive_share, "score_undefined": undefined})

    def _undefined(self, agreement: NeuronStatistics) -> bool:
        """Whether the score is asked for and means nothing, so that neurons are drawn at random instead."""
        return self.scores_neurons and not agreement.defined

    def _choose(
        self,
        count: int,
        agreement: NeuronStatistics,
        layer: npt.NDArray[np.int64],
        importance: npt.NDArray[np.float64] | None,
        generator: np.random.Generator,
    ) -> npt.NDArray[np.int64]:
        skill = rank(
            "importance" if self.select == "important" else self.score or "paper", agreement, layer, importance
        )
        if skill is not None and self.select != "random":
            return skill[:count]
        ranking = rank_at_random(agreement.constant, self.among or "active", generator)
        if skill is None or self.match != "layer":
            return ranking[:count]
        return first_of_each_layer(ranking, layer, np.bincount(layer[skill[:count]], minlength=layer.max() + 1))

    def restraints(self, arrays: Arrays, agent: Agent) -> Mapping[str, UpdateRule]:
        """0 (or 1 - strength) on the rows of frozen neurons, 1 elsewhere: Eq. 5, on the update."""
        import torch

        from nbsp_ray.learning.sac import UpdateRule

        restraints: dict[str, UpdateRule] = {}
        for part, networks in PARTS.items():
            if not any(network in self.counts for network in networks):
                continue
            free = [np.zeros(agent.layout(n).neurons, dtype=np.bool_) for n in networks]
            frozen = np.stack([arrays.get(f"{n}.frozen", none) for n, none in zip(networks, free, strict=True)])
            scale = agent.layout(networks[0]).spread(
                np.where(frozen, 1 - self.strength, 1).astype(np.float32), output=1
            )
            restraints[part] = UpdateRule(update_scale=torch.from_numpy(scale).unsqueeze(0).to(agent.device))
        return restraints

    def finish(self, arrays: Arrays, past: Past, agent: Agent) -> Mapping[str, Any]:
        """How far the frozen neurons' activations moved on first-task states, per layer.

        Relative change |after - before| / |before| in the Frobenius norm. It is 0 in the first layer, unless that is
        normalised and so other neurons of it count; in the next a frozen neuron still sees other inputs.
        """
        assert past.rollouts is not None
        states = past.generator.permutation(len(past.rollouts.criterion))[:DRIFT_STATES]
        drift: dict[str, list[float | None]] = {}
        for network in self.counts:
            before, after = (
                np.concatenate([one.neuron_activations(network, *block) for block in past.rollouts.take(states)])
                for one in (past.agent, agent)
            )
            frozen, layer = arrays[f"{network}.frozen"], agent.layout(network).layer_of_neurons()
            drift[network] = [
                _relative_change(before[:, frozen & (layer == number)], after[:, frozen & (layer == number)])
                for number in range(layer.max() + 1)
            ]
        return {"drift": drift}


def _importance(past: Past) -> Mapping[str, npt.NDArray[np.float64]]:
    import torch

    from nbsp_ray.learning.importance import taylor_importance

    rng = torch.Generator()
    rng.manual_seed(int(past.generator.integers(2**63)))
    return taylor_importance(past.agent, past.replay, rng)


def _describe(agent: Agent, network: str, frozen: npt.NDArray[np.bool_], agreement: NeuronStatistics) -> dict[str, Any]:
    layout = agent.layout(network)
    layer = layout.layer_of_neurons()
    scores = score(agreement.accuracy)[frozen]
    return {
        "selected": int(frozen.sum()),
        "selected_per_layer": np.bincount(layer[frozen], minlength=len(layout.layers)).tolist(),
        "selected_constant": int((frozen & agreement.constant).sum()),
        "selected_near_constant": int((frozen & agreement.near_constant).sum()),
        # By Eq. 4's accuracy, whatever the neurons were selected by; of a criterion that never varies it says nothing.
        "selected_below_constant": int((frozen & agreement.below_constant).sum()) if agreement.defined else None,
        "constant_per_layer": np.bincount(layer[agreement.constant], minlength=len(layout.layers)).tolist(),
        "frozen_parameters": float(layout.spread(frozen.astype(np.float32), output=0).mean()),
        "score_lowest": float(scores.min()) if len(scores) else None,
        "score_highest": float(scores.max()) if len(scores) else None,
    }


def _relative_change(before: npt.NDArray[np.float32], after: npt.NDArray[np.float32]) -> float | None:
    size = float(np.linalg.norm(before))
    return float(np.linalg.norm(after - before)) / size if size > 0 else None


def _mask(
    options: Options, counts: Counts, *parts: str, select: Select = "skill", score: Score | None = None
) -> tuple[Ingredient, ...]:
    """A mask on the networks of `parts`, by `score` or else by that of the options; none if it would freeze nothing."""
    wanted = {network: counts[network] for part in parts for network in PARTS[part]}
    if not any(wanted.values()) or options.mask_strength == 0:
        return ()
    at_random = select == "random"
    match = options.random_match if at_random else None
    mask = NeuronMask(
        select=select,
        score=(score or options.score) if select == "skill" or match == "layer" else None,
        among=options.random_among if at_random else None,
        match=match,
        strength=options.mask_strength,
        counts=wanted,
    )
    return (mask,)


def _replay(options: Options, *masked: Literal["actor", "critic"]) -> tuple[Ingredient, ...]:
    """Replay into both parts, or into the `masked` ones alone if the options say so."""
    parts: Parts = masked if options.replay_parts == "masked" else ("actor", "critic")
    return (PastReplay(interval=options.replay_interval, parts=parts),)


METHODS = (
    Method(
        "nbsp",
        "replay, and freeze the skill neurons of actor and critics (Algorithm 1)",
        lambda options, counts: _replay(options, "actor", "critic") + _mask(options, counts, "actor", "critic"),
        Options,
        "paper",
        selects_neurons=True,
        look=Look("#0072b2", "o"),
    ),
    Method(
        "nbsp_actor",
        "NBSP with the actor's skill neurons frozen only (Section 4.3)",
        lambda options, counts: _replay(options, "actor") + _mask(options, counts, "actor"),
        Options,
        "paper",
        selects_neurons=True,
        look=Look("#56b4e9", "^"),
    ),
    Method(
        "nbsp_critic",
        "NBSP with the critics' skill neurons frozen only (Section 4.3)",
        lambda options, counts: _replay(options, "critic") + _mask(options, counts, "critic"),
        Options,
        "paper",
        selects_neurons=True,
        look=Look("#009e73", "v"),
    ),
    Method(
        "importance_nbsp",
        "NBSP with the neurons that matter to the loss (Taylor importance) in place of skill neurons",
        lambda options, counts: (
            _replay(options, "actor", "critic") + _mask(options, counts, "actor", "critic", select="important")
        ),
        Options,
        "paper",
        selects_neurons=True,
        look=Look("#999933", "D", "-."),
    ),
    Method(
        "mask_only",
        "freeze the skill neurons, replay nothing",
        lambda options, counts: _mask(options, counts, "actor", "critic"),
        Options,
        "control",
        selects_neurons=True,
        look=Look("#cc79a7", "D"),
    ),
    Method(
        "nbsp_balanced",
        "NBSP with neurons scored by balanced accuracy, which gives a constant neuron no credit",
        lambda options, counts: (
            _replay(options, "actor", "critic") + _mask(options, counts, "actor", "critic", score="balanced")
        ),
        Options,
        "control",
        selects_neurons=True,
        look=Look("#7a5cd6", "h"),
    ),
    Method(
        "random_nbsp",
        "NBSP with neurons drawn at random, as many in each layer as NBSP would freeze there",
        lambda options, counts: (
            _replay(options, "actor", "critic") + _mask(options, counts, "actor", "critic", select="random")
        ),
        Options,
        "control",
        selects_neurons=True,
        look=Look("#c2a93d", "X"),
    ),
)
