"""From the answers of a probe to tidy frames: what silencing neurons breaks, and how the scores behave.

It knows neither tables nor pages (`analysis.probe.report`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.statistics import paired_difference, summary
from nbsp_ray.benchmarks import get_benchmark

if TYPE_CHECKING:
    from nbsp_ray.probe.request import Answer, Cell, NetworkScores, Probed, Request, Target

Row = dict[str, Any]
GROUP = ["benchmark", "measure", "task", "score", "rollouts", "neurons", "network"]
"""What must agree for seeds to be compared; `neurons` is N, the hidden neurons of the network."""
MEASURES = (
    "success", "env_return", "normalised", "drop", "normalised_drop", "value_change", "td_change", "effect"
)  # fmt: skip


@dataclass(frozen=True)
class Probe:
    """All that was measured, as tidy frames."""

    cells: pd.DataFrame
    """One row per phase, way of scoring, network, share and choice (best, worst, each random draw, or none)."""
    contrasts: pd.DataFrame
    """One row per phase, way of scoring, network and share: the effect of the best and the worst minus random ones."""
    scores: pd.DataFrame
    """One row per phase, network and number of neurons that the sweep selects."""
    overlap: pd.DataFrame
    """One row per network and number of neurons that the sweep selects: how alike the seeds' selections are."""
    request: Request
    unfinished: tuple[str, ...]
    """First phases that are not trained yet, for people."""

    @classmethod
    def of(cls, probed: Sequence[Probed], request: Request, unfinished: Sequence[str] = ()) -> Probe:
        """The frames of what `nbsp_ray.probe.measure` gave."""
        cells = pd.DataFrame([row for one in probed for row in _cell_rows(one)]).astype({"draw": "Int64"})
        scores = pd.DataFrame([row for one in probed for row in _score_rows(one, request)])
        overlap = pd.DataFrame(list(_overlap_rows(probed, request)))
        return cls(cells, contrasts(cells), scores, overlap, request, tuple(unfinished))

    def to_json(self) -> Row:
        """All of it; what is missing is null."""
        frames = {name: getattr(self, name) for name in ("cells", "contrasts", "scores", "overlap")}
        texts = {name: frame.to_json(orient="records", double_precision=15) for name, frame in frames.items()}
        return {
            "draws": self.request.draws,
            "unfinished": list(self.unfinished),
            **{name: json.loads(text) for name, text in texts.items()},
        }


# Frames


def _identity(target: Target) -> Row:
    spec = target.phase.spec
    return {
        "benchmark": spec.benchmark,
        "measure": target.measure,
        "task": spec.task,
        "score": target.kind,
        "rollouts": target.rollouts.id,
        "neurons": target.neurons,
        "seed": spec.seed,
        "key": target.phase.key,
    }


def _cell_rows(one: Probed) -> Iterator[Row]:
    """Drop, changes and effect are against the same network with nothing silenced."""
    measured = [(cell, _measures(one.target, answer)) for cell, answer in one.answers]
    whole = {cell.network: found for cell, found in measured if cell.choice == "none"}
    judged_by = "success" if one.target.measure == "success" else "env_return"
    for cell, now in measured:
        before = whole[cell.network]
        drop = before[judged_by] - now[judged_by]
        yield {
            **_identity(one.target),
            "network": cell.network,
            "choice": cell.choice,
            "draw": cell.draw,
            "count": len(cell.neurons),
            "share": len(cell.neurons) / one.target.neurons,
            "per_layer": _per_layer(one.target.layer_of_neurons, cell.neurons),
            "constant": _constant(cell, one.scores[cell.network]),
            **now,
            "drop": drop,
            "normalised_drop": before["normalised"] - now["normalised"],
            "td_change": now["td_error"] - before["td_error"],
            "effect": drop if cell.network == "actor" else now["value_change"],
        }


def _measures(target: Target, answer: Answer) -> dict[str, float]:
    """`episodes` and `env_steps` are those played; what was not measured is NaN."""
    score = float(np.mean(answer.env_return)) if answer.env_return else None
    normalised = (
        None if score is None else get_benchmark(target.phase.spec.benchmark).normalised(target.phase.spec.task, score)
    )
    found = {
        "episodes": len(answer.success) + len(answer.env_return),
        "env_steps": answer.env_steps,
        "success": float(np.mean(answer.success)) if answer.success else None,
        "env_return": score,
        "normalised": normalised,
        "value_change": answer.value_change,
        "td_error": answer.td_error,
    }
    return {name: math.nan if value is None else value for name, value in found.items()}


def _constant(cell: Cell, scores: NetworkScores) -> int:
    return len(set(cell.neurons) & set(scores.constant))


def _score_rows(one: Probed, request: Request) -> Iterator[Row]:
    layer = one.target.layer_of_neurons
    for network in request.networks:
        found = one.scores[network]
        for count in one.target.selected:
            chosen = None if found.ranking is None else list(found.ranking[:count])
            yield {
                **_identity(one.target),
                "network": network,
                "layers": list(one.target.layers),
                "steps": found.steps,
                "positive_share": found.positive_share,
                "score_undefined": chosen is None,
                "constant_per_layer": _per_layer(layer, found.constant),
                "dead_per_layer": _per_layer(layer, found.dead),
                "selected": count,
                "selected_per_layer": None if chosen is None else _per_layer(layer, chosen),
                "selected_constant": None if chosen is None else len(set(chosen) & set(found.constant)),
                "split_half": found.split_half,
                "split_half_neurons": found.split_half_neurons,
            }


def _per_layer(layer: npt.NDArray[np.int64], neurons: Sequence[int]) -> list[int]:
    return [int(count) for count in np.bincount(layer[list(neurons)], minlength=int(layer.max()) + 1)]


def _overlap_rows(probed: Sequence[Probed], request: Request) -> Iterator[Row]:
    """Where at least two seeds have a score and something is selected."""
    groups: dict[tuple[Any, ...], list[Probed]] = {}
    for one in probed:
        groups.setdefault(tuple(_identity(one.target)[name] for name in GROUP[:-1]), []).append(one)
    for names, members in groups.items():
        target = members[0].target
        for network in request.networks:
            rankings = [one.scores[network].ranking for one in members]
            defined = [ranking for ranking in rankings if ranking is not None]
            for count in filter(None, target.selected if len(defined) > 1 else ()):
                sets = [frozenset(ranking[:count]) for ranking in defined]
                row = dict(zip(GROUP, (*names, network), strict=True))
                yield {**row, "selected": count, "seeds": len(sets), **overlap(sets, target.layers)}


def overlap(sets: Sequence[frozenset[int]], layers: Sequence[int]) -> dict[str, float]:
    """How alike sets of k of N neurons are, over all pairs of them; `rng`: of sets drawn independently.

    Shared |A and B| / k is k / N by chance; if each set keeps its number in each layer, sum_l k_Al k_Bl / N_l / k. The
    Jaccard index of sets that share i is i / (2k - i), with i hypergeometric by chance.
    """
    k, n = len(sets[0]), sum(layers)
    layer = np.repeat(np.arange(len(layers)), layers)
    pairs = list(combinations(sets, 2))
    shared = [len(one & other) for one, other in pairs]
    in_layers = [np.dot(_per_layer(layer, list(a)), np.divide(_per_layer(layer, list(b)), layers)) for a, b in pairs]
    likely = {i: math.comb(k, i) * math.comb(n - k, k - i) / math.comb(n, k) for i in range(k + 1)}
    return {
        "shared": float(np.mean(shared)) / k,
        "shared_chance": k / n,
        "shared_chance_in_layers": float(np.mean(in_layers)) / k,
        "jaccard": float(np.mean([i / (2 * k - i) for i in shared])),
        "jaccard_chance": sum(p * i / (2 * k - i) for i, p in likely.items()),
    }


def contrasts(cells: pd.DataFrame) -> pd.DataFrame:
    """One row per phase, way of scoring, network and share: the effect of each choice, of `random` the mean over draws.

    `best_minus_random` of the actor is the drop of the first task's success (or of its raw score) when the best
    neurons are silenced, minus the mean drop of as many random ones. NaN where the score is undefined.
    """
    silenced = cells[cells["choice"] != "none"]
    by_choice = silenced.groupby([*GROUP, "seed", "key", "count", "share", "choice"])["effect"].mean().unstack("choice")
    found = by_choice.reindex(columns=["best", "random", "worst"]).add_prefix("effect_")
    for choice in ("best", "worst"):
        found[f"{choice}_minus_random"] = found[f"effect_{choice}"] - found["effect_random"]
    return found.rename_axis(columns=None).reset_index()


def effects(cells: pd.DataFrame) -> pd.DataFrame:
    """One row per group, count and choice: each measure over seeds (`x_n`, `x_mean`, `x_se`, `x_low`, `x_high`).

    Draws are averaged within a seed first. `minus_random_*` is the effect against that of random neurons, paired by
    seed, with Student's t interval; `minus_random_normalised_*` the same of normalised scores.
    """
    rows: list[Row] = []
    for names, group in cells.groupby([*GROUP, "count"], sort=False):
        by_choice = {
            str(choice): found.groupby("seed")[list(MEASURES)].mean() for choice, found in group.groupby("choice")
        }
        for choice, found in by_choice.items():
            row: Row = dict(zip([*GROUP, "count"], names, strict=True)) | {"choice": choice, "seeds": len(found)}
            for measure in MEASURES:
                row |= summary(found[measure].to_numpy(dtype=np.float64)).columns(measure)
            if choice != "random" and "random" in by_choice:
                for measure, name in (("effect", "minus_random"), ("normalised_drop", "minus_random_normalised")):
                    own, random = (_by_seed(by_choice[one][measure]) for one in (choice, "random"))
                    row |= paired_difference(own, random).columns(name)
            rows.append(row)
    return pd.DataFrame(rows)


def _by_seed(values: pd.Series[float]) -> dict[str, float]:
    return {str(seed): float(value) for seed, value in values.items() if not pd.isna(value)}


def ambiguous(cells: pd.DataFrame) -> list[str]:
    """What must be said beside the task's name to tell groups apart."""
    return [name for name in ("benchmark", "score", "rollouts", "neurons") if cells[name].nunique() > 1]
