"""What a probe asks and keeps: the causal test of the neuron scores, `nbsp-ray probe`.

A trained first phase has neurons of one network silenced (their activation is 0): the best-scored ones, as many at
random, or the worst-scored ones; then it is measured again. Here stands which neurons these are, what an answer is
called in the store, and when the ranking means something. `nbsp_ray.learning.probe` measures. Knows neither torch nor
pandas.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.config import Settings, SkillNeurons, Sweep
from nbsp_ray.errors import ConfigError, did_you_mean
from nbsp_ray.learning.seeding import Stream, generator
from nbsp_ray.methods import NETWORKS, PARTS
from nbsp_ray.methods._scores import Agreement, rank_at_random, rank_by_dormancy, rank_by_score, score
from nbsp_ray.plan import EvaluationSpec, PlannedPhase, canonical, make_plan, resolve_counts
from nbsp_ray.store import Store

PROBE_VERSION = 1
"""Raise it by hand when the same probe gives other numbers than before; older records are then left unread."""
TRANSITIONS = 10_000
"""Of D_pre, on which a critic's values are compared (all, if it has fewer)."""
Choice = Literal["none", "top", "random", "bottom"]
Kind = Literal["paper", "balanced", "dormant"]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Request:
    """What to silence, and how long to look."""

    networks: tuple[str, ...]
    counts: tuple[SkillNeurons, ...]
    """Of each network: a count, or a fraction of its hidden neurons."""
    episodes: int
    draws: int
    """Random choices of each count."""


def read_networks(words: Sequence[str]) -> tuple[str, ...]:
    """Networks from `actor`, `q1`, `q2` and `critic` (both Q), also with commas between; none given: all.

    Raises:
        ConfigError: a word that is none of these.
    """
    wanted = [word.strip() for text in words for word in text.split(",")]
    known = (*NETWORKS, *PARTS)
    for word in wanted:
        if word not in known:
            raise ConfigError(
                f"--network: no network {word!r}{did_you_mean(word, known)}; there are {', '.join(NETWORKS)}, "
                "and critic for both Q"
            )
    found = {network for word in wanted or NETWORKS for network in PARTS.get(word, (word,))}
    return tuple(network for network in NETWORKS if network in found)


def read_counts(text: str) -> tuple[SkillNeurons, ...]:
    """`0,0.1,13`: fractions have a decimal point, counts have none.

    Raises:
        ConfigError: something else.
    """
    return tuple(_read_count(part.strip()) for part in text.split(","))


def _read_count(text: str) -> SkillNeurons:
    try:
        count: int | float = int(text)
    except ValueError:
        try:
            count = float(text)
        except ValueError as error:
            raise ConfigError(
                f"--counts: {text!r} is not a number; write counts (13) or fractions of a network's hidden neurons "
                "(0.1), such as --counts 0,0.1,0.2"
            ) from error
    if not math.isfinite(count) or count < 0:
        raise ConfigError(f"--counts: {text} is no number of neurons; the least is 0, which silences none")
    if isinstance(count, float) and count > 1:
        raise ConfigError(f"--counts: {text} is more than all; 1.0 is all neurons, a count has no decimal point")
    return count


# Which first phases


@dataclass(frozen=True)
class Target:
    """A first phase, and how a sweep scores its neurons."""

    phase: PlannedPhase
    kind: Kind
    """The sweep's `method.score`."""
    rollouts: EvaluationSpec
    """The evaluation whose steps the neurons are scored on."""
    layers: tuple[int, ...]
    """Neurons of each hidden layer."""
    selected: tuple[int, ...]
    """Neurons per network that the sweep's methods select (`skill_neurons`), each count once."""

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.phase.spec.task}, seed {self.phase.spec.seed}"

    @property
    def neurons(self) -> int:
        """N, the hidden neurons of one network."""
        return sum(self.layers)

    @property
    def layer_of_neurons(self) -> Ints:
        """The hidden layer (N,) that each neuron is in."""
        return np.repeat(np.arange(len(self.layers)), self.layers)


def find_targets(name: str, sweeps: Iterable[Sweep], request: Request) -> list[Target]:
    """Every first phase of the sweeps, once for each way of scoring it.

    Raises:
        ConfigError: more neurons are to be silenced than a network has.
    """
    found: dict[tuple[str, str, str], Target] = {}
    for sweep in sweeps:
        layers = get_benchmark(sweep.benchmark).layers(sweep.sac)
        selected = [resolve_counts(count, layers)[NETWORKS[0]] for count in sweep.skill_neurons]
        for phase in make_plan(name, [sweep]).phases.values():
            if phase.spec.index == 0:
                (rollouts,) = (one for one in phase.evaluations.values() if one.mode == "rollouts")
                place = (phase.key, sweep.method.score, rollouts.id)
                before = found[place].selected if place in found else ()
                counts = tuple(dict.fromkeys((*before, *selected)))
                found[place] = Target(phase, sweep.method.score, rollouts, layers, counts)
    for target in found.values():
        resolve(request, target)
    return list(found.values())


def resolve(request: Request, target: Target) -> list[int]:
    """The counts to silence in each network of `target`, ascending, each once, and not 0.

    Raises:
        ConfigError: more than a network has.
    """
    for count in request.counts:
        if isinstance(count, int) and count > target.neurons:
            raise ConfigError(
                f"--counts: {count} is more than the {target.neurons} hidden neurons of each network of "
                f"{target.phase.spec.task} ({' + '.join(map(str, target.layers))}); give a count up to "
                f"{target.neurons}, or a fraction such as 0.2"
            )
    return sorted({resolve_counts(count, target.layers)[NETWORKS[0]] for count in request.counts} - {0})


def is_ready(target: Target, store: Store) -> bool:
    """Whether the phase is trained and has the rollouts on which it is scored."""
    folder = store.phase(target.phase.key)
    return folder.done() and folder.has_evaluation(target.rollouts.id)


# How neurons are ranked


class NetworkScores(Settings):
    """How the neurons of one network rank on the steps of a first phase's final evaluation."""

    ranking: tuple[int, ...] | None
    """All neurons, in the order in which a method would select them; None if the score is undefined."""
    score: tuple[float, ...]
    """By neuron: the higher, the sooner selected. It means nothing where a neuron is constant."""
    constant: tuple[int, ...]
    """Neurons whose activation is the same at all steps."""
    dead: tuple[int, ...]
    """Those of them whose activation is 0 at all steps."""
    split_half: float | None
    """Spearman's rank correlation of the score on the odd and on the even episodes (where episodes differ in length: on
    odd and even ones of as many equal parts of the steps); None if it is undefined."""
    split_half_neurons: int
    """Neurons that it rests on: those constant in neither half."""


class Scores(Settings):
    """How the neurons of all networks of one first phase rank."""

    kind: Kind
    rollouts: str
    """The evaluation's id."""
    steps: int
    """T, its env steps."""
    success_share: float
    """p, the share of its steps in the success state."""
    networks: dict[str, NetworkScores]


def values(kind: Kind, agreement: Agreement, layer: Ints) -> npt.NDArray[np.floating]:
    """What neurons are ranked by (N,): the higher, the sooner selected."""
    if kind == "dormant":
        layer_mean = (np.bincount(layer, agreement.mean) / np.bincount(layer))[layer]
        return np.asarray(-agreement.mean / np.where(layer_mean > 0, layer_mean, 1))
    return score(agreement.balanced if kind == "balanced" else agreement.accuracy)


def rank(kind: Kind, agreement: Agreement, layer: Ints) -> Ints | None:
    """All neurons as a mask with that score would take them; None if the score is undefined, as q is constant."""
    if kind == "dormant":
        return rank_by_dormancy(agreement.mean, agreement.constant, layer)
    return rank_by_score(values(kind, agreement, layer), agreement.constant) if agreement.defined else None


def spearman(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> float | None:
    """Spearman's rank correlation of two (n,), ties at their mean rank; None where it is undefined."""
    from scipy.stats import rankdata

    # Rounded, as k/T and 1 - (T - k)/T are one score but not always one float.
    ranks = [rankdata(each.round(12)) for each in (one, other)]
    if len(one) < 3 or any(np.ptp(each) == 0 for each in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])


# Which neurons are silenced


@dataclass(frozen=True)
class Cell:
    """Neurons of one network to be silenced together."""

    network: str
    choice: Choice
    draw: int | None
    """The number of a random choice."""
    neurons: tuple[int, ...]
    """In ascending order."""

    @property
    def words(self) -> str:
        """For people."""
        which = {"top": "best-scored ", "bottom": "worst-scored ", "random": "random ", "none": ""}[self.choice]
        return f"{len(self.neurons)} {which}neurons of {self.network} silenced"

    def record(self, episodes: int) -> str:
        """The answer's name in the phase's folder: a digest of what it is a function of, beside the phase."""
        effort = {"episodes": episodes} if self.network == "actor" else {"transitions": TRANSITIONS}
        content = {"version": PROBE_VERSION, "network": self.network, "neurons": self.neurons, **effort}
        return f"{self.network}.{len(self.neurons)}.{hashlib.sha256(canonical(content)).hexdigest()[:16]}"


class Answer(Settings):
    """What was measured with some neurons silenced."""

    network: str
    neurons: tuple[int, ...]
    success: tuple[int, ...] = ()
    """Actor: 1 for each episode of the first task that succeeded."""
    value_change: float | None = None
    """Critic: mean |Q' - Q| / std Q over transitions of D_pre, Q' the silenced network; None if Q is constant."""
    td_error: float | None = None
    """Critic: mean |Q' - y| / std Q on the same transitions, y from the whole networks; None if Q is constant."""


def scores_record(target: Target) -> str:
    """The name of the scores in the phase's folder."""
    content = {"version": PROBE_VERSION, "score": target.kind, "rollouts": target.rollouts.id}
    return f"scores.{target.kind}.{hashlib.sha256(canonical(content)).hexdigest()[:16]}"


def cells(target: Target, scores: Scores, request: Request) -> Iterator[Cell]:
    """Everything to measure: nothing silenced first, then each count's best-scored, random and worst-scored neurons.

    Random and worst-scored ones are taken among those that are not constant; a count above these goes on with the
    constant ones. Random choices of one draw are nested. Where the score is undefined, only random ones are left.
    """
    for network in request.networks:
        found = scores.networks[network]
        yield Cell(network, "none", None, ())
        rankings = [*_scored(found), *_random(target, network, found, request.draws)]
        for count in resolve(request, target):
            for choice, draw, order in rankings:
                yield Cell(network, choice, draw, tuple(sorted(int(neuron) for neuron in order[:count])))


def _scored(found: NetworkScores) -> Iterator[tuple[Choice, None, Sequence[int]]]:
    if found.ranking is not None:
        constant = set(found.constant)
        worst = [neuron for neuron in reversed(found.ranking) if neuron not in constant]
        yield "top", None, found.ranking
        yield "bottom", None, [*worst, *found.constant]


def _random(
    target: Target, network: str, found: NetworkScores, draws: int
) -> Iterator[tuple[Choice, int, Sequence[int]]]:
    constant = np.zeros(target.neurons, dtype=np.bool_)
    constant[list(found.constant)] = True
    for draw in range(draws):
        chance = generator(target.phase.spec.seed, 0, Stream.PROBE_NEURONS, NETWORKS.index(network), draw)
        yield "random", draw, rank_at_random(constant, "active", chance).tolist()


@dataclass(frozen=True)
class Probed:
    """A first phase with every answer."""

    target: Target
    scores: Scores
    answers: tuple[tuple[Cell, Answer], ...]
