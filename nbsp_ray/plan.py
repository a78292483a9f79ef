"""From sweeps to a plan: the trials, and the phases they share, as a graph with a content key for each phase.

The key of a phase is a digest of everything that changes its numbers and of nothing else, so that "the same phase" is
a fact and not a convention: a first phase serves every method, a sweep that overlaps another runs only what is new,
and running again is running what is left. This module starts nothing and knows neither torch nor Ray.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field

from nbsp_ray.benchmarks import Benchmark, get_benchmark
from nbsp_ray.config import Learning, Resources, Sac, Settings, SkillNeurons, Sweep
from nbsp_ray.errors import ConfigError
from nbsp_ray.methods import NETWORKS, Counts, Ingredient, Method, get_method, ingredients_of

ALGORITHM_VERSION = 2
"""Raise it by hand when the same settings give other numbers than before; older results are then run anew.

Not where sums are only rounded otherwise, as they are on another machine: see CONTRIBUTING."""

LATER_SETTINGS: Mapping[str, Any] = {}
"""Settings added after results of this version were stored, as `{"sac.name": value}`: left out of a key while they
have the value that means the old behaviour, so that older results stay valid."""


EvaluationMode = Literal["rollouts", "stochastic", "deterministic"]
Goals = Literal["train", "heldout", "both"]


class EvaluationSpec(Settings):
    """One final evaluation of one task by one phase's agent: a record of its own beside the phase."""

    task: str
    episodes: int
    mode: EvaluationMode
    """`rollouts` is the stochastic policy with every step kept; the others stop an episode at success."""
    goals: Literal["train", "heldout"] = "train"
    env_steps: int | None = None
    """In place of `episodes`: whole games until at least so many env steps."""

    @classmethod
    def of(
        cls, benchmark: Benchmark, task: str, mode: EvaluationMode, goals: Goals, episodes: int, env_steps: int | None
    ) -> "EvaluationSpec":
        """What a sweep's `evaluation` asks for; `both` judges by training's goals, and scoring steps are always theirs.

        Without chance in the policy an episode is its variation's, so that each is played once.
        """
        if mode == "deterministic":
            episodes, env_steps = min(episodes, benchmark.variations), None
        own: Literal["train", "heldout"] = "heldout" if goals == "heldout" and mode != "rollouts" else "train"
        return cls(task=task, episodes=episodes, mode=mode, goals=own, env_steps=env_steps)

    @property
    def id(self) -> str:
        """Its name within the phase."""
        size = self.episodes if self.env_steps is None else f"{self.env_steps}steps"
        return f"{self.task}.{self.mode}.{size}.{self.goals}"


class PhaseSpec(Settings):
    """Everything that changes the numbers of one phase: learning one task, perhaps after others."""

    algorithm_version: int = ALGORITHM_VERSION
    benchmark: str
    revision: str
    task: str
    earlier_tasks: tuple[str, ...] = ()
    """Tasks learnt before, oldest first; evaluated at each evaluation too."""
    seed: int
    sac: Sac
    learning: Learning
    ingredients: tuple[dict[str, Any], ...] = ()
    previous: str | None = None
    """Key of the phase whose weights this one starts from."""
    auxiliary: dict[str, str] = Field(default_factory=dict)
    """Keys of other phases that an ingredient reads, by the method that trains them."""
    rollouts: EvaluationSpec | None = None
    """The record of the previous phase that the ingredients read."""

    @property
    def index(self) -> int:
        """0 for a first phase, 1 for a second, ..."""
        return len(self.earlier_tasks)

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys that must be done before this phase can start."""
        return tuple(key for key in (self.previous, *self.auxiliary.values()) if key)

    def has(self, kind: str) -> bool:
        """Whether an ingredient of that kind is at work."""
        return any(one["kind"] == kind for one in self.ingredients)

    def key(self) -> str:
        """The first 20 hex digits of SHA-256 over the canonical JSON of this spec."""
        return hashlib.sha256(canonical(_without_later_settings(self.model_dump(mode="json")))).hexdigest()[:20]


def canonical(data: Any) -> bytes:
    """JSON with sorted keys, no spaces, and no number that JSON lacks."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True).encode()


def _without_later_settings(data: dict[str, Any]) -> dict[str, Any]:
    for path, old in LATER_SETTINGS.items():
        *parents, name = path.split(".")
        inner = data
        for parent in parents:
            inner = inner[parent] or {}
        if name in inner and inner[name] == old:
            del inner[name]
    return data


@dataclass
class PlannedPhase:
    """A phase, and what this plan wants of it."""

    key: str
    spec: PhaseSpec
    resources: Resources
    evaluations: dict[str, EvaluationSpec] = field(default_factory=dict[str, EvaluationSpec])
    """Records wanted, by id."""
    keep_buffer: bool = False
    """Whether its whole buffer must be kept: that of a first phase, and wherever a later phase replays it."""
    label: str = ""
    """For people: `metaworld drawer-open > drawer-close, nbsp, seed 0`."""


@dataclass(frozen=True)
class Trial:
    """One cell of a sweep: its phases in order, the first of them shared with other trials."""

    benchmark: str
    tasks: tuple[str, ...]
    method: str
    seed: int
    skill_neurons: SkillNeurons | None
    """As it stands in the sweep; None for methods that select none."""
    phases: tuple[str, ...]
    """Keys, one per task."""
    episodes: int
    """Of each final evaluation; of the deterministic ones at most, see `EvaluationSpec.of`."""
    goals: Goals
    env_steps: int | None = None
    """Of each final evaluation, in place of `episodes`."""

    def record(self, task: str, mode: EvaluationMode, goals: Goals | None = None) -> EvaluationSpec:
        """The final evaluation of `task` that its numbers come from; the one that keeps its steps is of training.

        Args:
            task: Of its tasks.
            mode: How the policy acts.
            goals: None: those that the sweep judges by.
        """
        benchmark = get_benchmark(self.benchmark)
        return EvaluationSpec.of(benchmark, task, mode, goals or self.goals, self.episodes, self.env_steps)

    @property
    def name(self) -> str:
        """For a folder."""
        neurons = "" if self.skill_neurons is None else f"-{self.skill_neurons}"
        return f"{'-'.join(self.tasks)}-{self.method}{neurons}-seed{self.seed}"

    @property
    def label(self) -> str:
        """For people."""
        neurons = "" if self.skill_neurons is None else f" {self.skill_neurons}"
        return f"{_arrows(self.tasks)}, {self.method}{neurons}, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """Phases by key, each after those it needs; and the trials that use them."""

    name: str
    title: str
    phases: Mapping[str, PlannedPhase]
    trials: tuple[Trial, ...]

    def dependants(self) -> dict[str, list[str]]:
        """The phases that need each phase directly."""
        found: dict[str, list[str]] = {key: [] for key in self.phases}
        for key, phase in self.phases.items():
            for need in phase.spec.needs:
                found[need].append(key)
        return found

    def env_steps(self, keys: Sequence[str] | None = None) -> int:
        """The most env steps that learning the given phases (default: all) can take."""
        return sum(self.phases[key].spec.learning.env_steps for key in (self.phases if keys is None else keys))


def resolve_counts(skill_neurons: SkillNeurons, layers: Sequence[int]) -> Counts:
    """Neurons to select in each network: an integer is a count, a float a fraction, floor(fraction x neurons + 1/2).

    Raises:
        ConfigError: more neurons than a network has.
    """
    neurons = sum(layers)
    count = skill_neurons if isinstance(skill_neurons, int) else math.floor(skill_neurons * neurons + 0.5)
    if count > neurons:
        raise ConfigError(
            f"skill_neurons: {count} is more than the {neurons} hidden neurons of each network "
            f"({' + '.join(map(str, layers))}); give a count up to {neurons}, or a fraction such as 0.2"
        )
    return dict.fromkeys(NETWORKS, count)


def searched(sweep: Sweep) -> tuple[int, int]:
    """The fewest and the most neurons per network that a sweep's search may select.

    Raises:
        ConfigError: more neurons than a network has.
    """
    layers = get_benchmark(sweep.benchmark).layers(sweep.sac)
    low, high = (resolve_counts(value, layers)[NETWORKS[0]] for value in sweep.search.skill_neurons)
    return low, high


def spread(sweep: Sweep, numbers: int) -> tuple[int, ...]:
    """So many numbers of skill neurons, evenly spread over what a sweep's search may select, both ends among them."""
    low, high = searched(sweep)
    if numbers == 1:
        return ((low + high) // 2,)
    return tuple(math.floor(low + (high - low) * place / (numbers - 1) + 0.5) for place in range(numbers))


def make_plan(name: str, sweeps: Sequence[Sweep]) -> Plan:
    """All trials of `sweeps` and their phases, each once.

    A sweep that searches its number of skill neurons is planned as a grid of as many numbers as it may try: what it has
    tried is in the store, and `nbsp_ray.searching` puts it in place of the search.

    Raises:
        ConfigError: an unknown benchmark, task or method, a pair that one network cannot serve, too many neurons.
    """
    phases: dict[str, PlannedPhase] = {}
    trials: dict[tuple[object, ...], Trial] = {}
    for sweep in sweeps:
        for trial in _Builder(sweep, phases).trials():
            size = (trial.episodes, trial.env_steps)
            trials.setdefault((trial.method, trial.phases, size, trial.goals), trial)
    titles = {sweep.title for sweep in sweeps}
    return Plan(name, titles.pop() if len(titles) == 1 else "", phases, tuple(trials.values()))


def _arrows(tasks: Sequence[str]) -> str:
    """`a > b > c`; of more than three tasks the ends, and how many they are: `a > ... > b (4 tasks)`."""
    return " > ".join(tasks) if len(tasks) <= 3 else f"{tasks[0]} > ... > {tasks[-1]} ({len(tasks)} tasks)"


class _Builder:
    """Builds the phases of one sweep into a graph that other sweeps share."""

    def __init__(self, sweep: Sweep, phases: dict[str, PlannedPhase]) -> None:
        self.sweep = sweep
        self.phases = phases
        self.benchmark: Benchmark = get_benchmark(sweep.benchmark)
        for pair in sweep.pairs:
            self.benchmark.check_sequence(pair)
        if self.benchmark.measure == "score" and {sweep.first.stop, sweep.second.stop} != {"fixed"}:
            raise ConfigError(
                f"{sweep.benchmark} has no success to stop at: set first.stop and second.stop to fixed, "
                "or leave them out"
            )
        if sweep.evaluation.goals != "train" and not self.benchmark.heldout:
            raise ConfigError(
                f"{sweep.benchmark} has no held-out variations: set evaluation.goals to train, or leave it out"
            )
        self.methods = [get_method(name) for name in sweep.methods]
        layers = self.benchmark.layers(sweep.sac)
        # Of a search that has chosen nothing yet: as many numbers as it may try, which cost as much as any.
        wanted = spread(sweep, sweep.search.trials) if sweep.search.trials else sweep.skill_neurons
        self.counts = [(value, resolve_counts(value, layers)) for value in wanted]

    def trials(self) -> Iterator[Trial]:
        for tasks in self.sweep.pairs:
            for method in self.methods:
                axis = self.counts if method.selects_neurons else [(None, dict.fromkeys(NETWORKS, 0))]
                for skill_neurons, counts in axis:
                    for seed in self.sweep.seeds:
                        yield Trial(
                            self.sweep.benchmark,
                            tasks,
                            method.name,
                            seed,
                            skill_neurons,
                            self._chain(tasks, method, counts, seed, skill_neurons),
                            self.sweep.evaluation.episodes,
                            self.sweep.evaluation.goals,
                            self.sweep.evaluation.env_steps,
                        )

    def _chain(
        self, tasks: tuple[str, ...], method: Method, counts: Counts, seed: int, skill_neurons: SkillNeurons | None
    ) -> tuple[str, ...]:
        """Plan the phases of one trial; the keys, first task first."""
        ingredients = ingredients_of(method, self.sweep.method, counts)
        several = skill_neurons is not None and len(self.counts) > 1
        name = f"{method.name} {skill_neurons}" if several else method.name
        keys: list[str] = []
        for index in range(len(tasks)):
            keys.append(self._phase(tasks, index, seed, ingredients, tuple(keys), name))
        return tuple(keys)

    def _phase(
        self,
        tasks: tuple[str, ...],
        index: int,
        seed: int,
        ingredients: tuple[Ingredient, ...],
        before: tuple[str, ...],
        method: str,
    ) -> str:
        sweep, first = self.sweep, index == 0
        active = () if first else ingredients
        auxiliary: dict[str, str] = {}
        for needed in sorted({ingredient.needs_method for ingredient in active if ingredient.needs_method}):
            helper = ingredients_of(get_method(needed), sweep.method, dict.fromkeys(NETWORKS, 0))
            # From the third task on, its past is this method's, and no trial's own.
            own = needed if index == 1 else f"{needed} after {method}"
            auxiliary[needed] = self._phase(tasks, index, seed, helper, before, own)
        reads_rollouts = any(ingredient.needs_rollouts for ingredient in active)
        spec = PhaseSpec(
            benchmark=sweep.benchmark,
            revision=self.benchmark.revision,
            task=tasks[index],
            earlier_tasks=tasks[:index],
            seed=seed,
            sac=sweep.sac,
            learning=sweep.first if first else sweep.second,
            ingredients=tuple(ingredient.model_dump(mode="json") for ingredient in active),
            previous=before[-1] if before else None,
            auxiliary=auxiliary,
            rollouts=self._evaluation(tasks[index - 1], "rollouts") if reads_rollouts else None,
        )
        what = f"{tasks[0]}, first phase" if first else f"{_arrows(tasks[: index + 1])}, {method}"
        key = spec.key()
        planned = PlannedPhase(key, spec, sweep.resources, label=f"{what}, seed {seed}")
        phase = self.phases.setdefault(key, planned)
        phase.keep_buffer |= first
        if spec.rollouts is not None:
            self.phases[before[-1]].evaluations.setdefault(spec.rollouts.id, spec.rollouts)
        if any(ingredient.needs_buffers for ingredient in active):
            for earlier in before:
                self.phases[earlier].keep_buffer = True
        for record in self._records(tasks[: index + 1]):
            phase.evaluations.setdefault(record.id, record)
        return phase.key

    def _records(self, tasks: tuple[str, ...]) -> Iterator[EvaluationSpec]:
        """The final evaluations of the last of `tasks`: that of a first phase keeps its steps, for scoring."""
        first, goals = len(tasks) == 1, self.sweep.evaluation.goals
        if first:
            yield self._evaluation(tasks[0], "rollouts")
        for task in dict.fromkeys(tasks):
            if not first or goals == "heldout":
                yield self._evaluation(task, "stochastic")
            if self.sweep.evaluation.deterministic:
                yield self._evaluation(task, "deterministic")
        for task in dict.fromkeys((tasks[0], tasks[-1])) if goals == "both" else ():
            yield self._evaluation(task, "stochastic", "heldout")

    def _evaluation(self, task: str, mode: EvaluationMode, goals: Goals | None = None) -> EvaluationSpec:
        wanted = self.sweep.evaluation
        return EvaluationSpec.of(self.benchmark, task, mode, goals or wanted.goals, wanted.episodes, wanted.env_steps)
