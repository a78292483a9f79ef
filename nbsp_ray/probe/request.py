"""What a probe asks and keeps.

A trained first phase has neurons of one network silenced (their activation is 0): the best-scored ones, as many at
random, or the worst-scored ones; then it is measured again. This module says which neurons these are, and what an
answer is called in the store. It knows neither torch nor pandas.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from nbsp_ray.benchmarks import Frames, get_benchmark
from nbsp_ray.config.schema import Settings, SkillNeurons, Sweep
from nbsp_ray.errors import ConfigError, did_you_mean
from nbsp_ray.layout import NETWORKS, PARTS, layer_of_neurons
from nbsp_ray.learning.scores import Kind as Kind
from nbsp_ray.learning.scores import rank_at_random
from nbsp_ray.learning.seeding import Stream, generator
from nbsp_ray.plan.build import make_plan
from nbsp_ray.plan.counts import resolve_counts
from nbsp_ray.specs import EvaluationSpec, PlannedPhase, canonical
from nbsp_ray.store import Store

PROBE_VERSION = 2
"""Raise it by hand when the same probe gives other numbers than before; older records are then left unread."""
EPISODES = {"success": 50, "score": 5}
"""Episodes of the first task for each choice of neurons, by the task's judge: a game takes thousands of env steps."""
TRANSITIONS = {"vectors": 10_000, "frames": 1_000}
"""Transitions of D_pre on which a critic's values are compared (all, if it has fewer)."""
Choice = Literal["none", "best", "random", "worst"]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Request:
    """A probe: the neurons to silence, and how long to look."""

    networks: tuple[str, ...]
    counts: tuple[SkillNeurons, ...]
    """Skill neurons of each network: a count, or a fraction of its hidden neurons."""
    episodes: int | None
    """None: as many as `EPISODES` says."""
    draws: int
    """Random choices of each count."""
    scores: tuple[Kind, ...] = ()
    """Scores that neurons are ranked by, each in turn; none given: each sweep's own `method.score`."""


def read_networks(words: Sequence[str]) -> tuple[str, ...]:
    """Networks from `actor`, `q1`, `q2` and `critic` (both Q), also with commas between; none given: all.

    Raises:
        ConfigError: a word that is none of these.
    """
    known = (*NETWORKS, *PARTS)
    wanted = _read_words("--network", "network", words, known, f"{', '.join(NETWORKS)}, and critic for both Q")
    found = {network for word in wanted or NETWORKS for network in PARTS.get(word, (word,))}
    return tuple(network for network in NETWORKS if network in found)


def read_scores(words: Sequence[str]) -> tuple[Kind, ...]:
    """Ways to rank neurons, also with commas between, each once; none given: none.

    Raises:
        ConfigError: a word that is no way to rank them.
    """
    known: tuple[Kind, ...] = get_args(Kind)
    wanted = _read_words("--score", "score", words, known, ", ".join(known))
    return tuple(kind for kind in known if kind in wanted)


def _read_words(option: str, what: str, words: Sequence[str], known: Sequence[str], there_are: str) -> list[str]:
    wanted = [word.strip() for text in words for word in text.split(",")]
    for word in wanted:
        if word not in known:
            raise ConfigError(f"{option}: no {what} {word!r}{did_you_mean(word, known)}; there are {there_are}")
    return wanted


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
    """A first phase, and how its neurons are ranked."""

    phase: PlannedPhase
    kind: Kind
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
    def measure(self) -> Literal["success", "score"]:
        """The measure that judges an episode of its task: `success` or the score."""
        return get_benchmark(self.phase.spec.benchmark).judged_by.kind

    @property
    def transitions(self) -> int:
        """Transitions of D_pre on which its critics are compared."""
        spaces = get_benchmark(self.phase.spec.benchmark).task_spaces(self.phase.spec.task)
        return TRANSITIONS["frames" if isinstance(spaces.observation, Frames) else "vectors"]

    @property
    def neurons(self) -> int:
        """N, the hidden neurons of one network."""
        return sum(self.layers)

    @property
    def layer_of_neurons(self) -> Ints:
        """The hidden layer (N,) that each neuron is in."""
        return layer_of_neurons(self.layers)


def find_targets(name: str, sweeps: Iterable[Sweep], request: Request) -> list[Target]:
    """Every first phase of the sweeps, once for each way of ranking its neurons; those of one phase in a row.

    Raises:
        ConfigError: more neurons are to be silenced than a network has.
    """
    found: dict[tuple[str, str], dict[Kind, Target]] = {}
    for sweep in sweeps:
        layers = get_benchmark(sweep.benchmark).layers(sweep.sac)
        selected = [resolve_counts(count, layers)[NETWORKS[0]] for count in sweep.skill_neurons]
        for phase in make_plan(name, [sweep]).phases.values():
            rollouts = phase.own_evaluation
            if phase.spec.index == 0 and rollouts is not None:
                own = found.setdefault((phase.key, rollouts.id), {})
                for kind in request.scores or (sweep.method.score,):
                    before = own[kind].selected if kind in own else ()
                    own[kind] = Target(phase, kind, rollouts, layers, tuple(dict.fromkeys((*before, *selected))))
    targets = [target for own in found.values() for target in own.values()]
    for target in targets:
        resolve(request, target)
    return targets


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
    """The ranking of one network's neurons on the steps of a first phase's final evaluation."""

    steps: int
    """T, its env steps."""
    positive_share: float
    """p, the share of these steps with q(t) > q_bar; 0 if q is constant."""
    ranking: tuple[int, ...] | None
    """All neurons, in the order in which a method would select them; None if the score is undefined."""
    score: tuple[float, ...]
    """By neuron: the higher, the sooner selected. It means nothing where a neuron is constant."""
    constant: tuple[int, ...]
    """Neurons whose activation is the same at all steps."""
    dead: tuple[int, ...]
    """Those of them whose activation is 0 at all steps."""
    split_half: float | None
    """Spearman's rank correlation of the score on the odd and on the even episodes; None if it is undefined, and of
    `importance`, which is measured on D_pre."""
    split_half_neurons: int
    """Neurons that it rests on: those constant in neither half."""


Scores = Mapping[str, NetworkScores]
"""By network."""


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
    effort: int
    """Episodes that the actor plays, or transitions on which a critic's values are compared."""
    version: int = PROBE_VERSION

    @property
    def words(self) -> str:
        """For people."""
        which = {"best": "best-scored ", "worst": "worst-scored ", "random": "random ", "none": ""}[self.choice]
        return f"{len(self.neurons)} {which}neurons of {self.network} silenced"

    @property
    def record(self) -> str:
        """The answer's name in the phase's folder: a digest of what it is a function of, beside the phase."""
        content = {
            "version": self.version, "network": self.network, "neurons": self.neurons, "effort": self.effort
        }  # fmt: skip
        return f"{self.network}.{len(self.neurons)}.{hashlib.sha256(canonical(content)).hexdigest()[:16]}"


class Answer(Settings):
    """A measurement with some neurons silenced."""

    network: str
    neurons: tuple[int, ...]
    success: tuple[int, ...] = ()
    """Actor, on a task judged by success: 1 for each episode that succeeded."""
    env_return: tuple[float, ...] = ()
    """Actor, on a task judged by its score: that of each whole episode."""
    env_steps: int = 0
    """Actor: played in all of them."""
    value_change: float | None = None
    """Critic: mean |Q' - Q| / std Q over transitions of D_pre, Q' the silenced network; None if Q is constant."""
    td_error: float | None = None
    """Critic: mean |Q' - y| / std Q on the same transitions, y from the whole networks; None if Q is constant."""


def scores_record(target: Target, network: str) -> str:
    """The name of the scores of one network in the phase's folder."""
    content = {"version": PROBE_VERSION, "score": target.kind, "rollouts": target.rollouts.id}
    return f"scores.{target.kind}.{network}.{hashlib.sha256(canonical(content)).hexdigest()[:16]}"


def cells(target: Target, scores: Scores, request: Request) -> Iterator[Cell]:
    """Everything to measure: nothing silenced first, then each count's best-scored, random and worst-scored neurons.

    Random and worst-scored ones are taken among those that are not constant; a count above these goes on with the
    constant ones. Random choices of one draw are nested, and the same whatever neurons are ranked by. Where the score
    is undefined, only random ones are left.
    """
    episodes = request.episodes or EPISODES[target.measure]
    # Version 2 zeroed a neuron's own weights, which in a normalised layer does not silence it.
    version = PROBE_VERSION + int(target.phase.spec.sac.layer_norm)
    for network in request.networks:
        found, effort = scores[network], episodes if network == "actor" else target.transitions
        yield Cell(network, "none", None, (), effort, version)
        rankings = [*_scored(found), *_random(target, network, found, request.draws)]
        for count in resolve(request, target):
            for choice, draw, order in rankings:
                neurons = tuple(sorted(int(neuron) for neuron in order[:count]))
                yield Cell(network, choice, draw, neurons, effort, version)


def _scored(found: NetworkScores) -> Iterator[tuple[Choice, None, Sequence[int]]]:
    if found.ranking is not None:
        constant = set(found.constant)
        worst = [neuron for neuron in reversed(found.ranking) if neuron not in constant]
        yield "best", None, found.ranking
        yield "worst", None, [*worst, *found.constant]


def _random(
    target: Target, network: str, found: NetworkScores, draws: int
) -> Iterator[tuple[Choice, int, Sequence[int]]]:
    constant = np.zeros(target.neurons, dtype=np.bool_)
    constant[list(found.constant)] = True
    for draw in range(draws):
        rng = generator(target.phase.spec.seed, 0, Stream.PROBE_NEURONS, NETWORKS.index(network), draw)
        yield "random", draw, rank_at_random(constant, "active", rng).tolist()


@dataclass(frozen=True)
class Probed:
    """A first phase with every answer."""

    target: Target
    scores: Scores
    answers: tuple[tuple[Cell, Answer], ...]
