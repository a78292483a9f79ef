"""What is to be learnt, as data: phases with a content key, trials, plans.

The key of a phase is a digest of everything that changes its numbers and of nothing else, so that "the same phase" is
a fact and not a convention. This module knows neither torch nor Ray, and nothing of how a plan is made.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field

from nbsp_ray.benchmarks import Benchmark, get_benchmark
from nbsp_ray.config.schema import Learning, Resources, Sac, Settings, SkillNeurons

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
    """In place of `episodes`: whole episodes until at least so many env steps."""

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
    def tasks(self) -> tuple[str, ...]:
        """All tasks that it plays: the earlier ones, and its own."""
        return (*self.earlier_tasks, self.task)

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

    def check_benchmarks(self, keys: Collection[str]) -> None:
        """Every task of some phases can be played here, and gives what it is judged by.

        Raises:
            ConfigError: it cannot, or does not.
        """
        specs = [self.phases[key].spec for key in keys]
        for benchmark, task in dict.fromkeys((one.benchmark, task) for one in specs for task in one.tasks):
            get_benchmark(benchmark).check(task)

    def env_steps(self, keys: Sequence[str] | None = None) -> int:
        """The most env steps that learning the given phases (default: all) can take."""
        return sum(self.phases[key].spec.learning.env_steps for key in (self.phases if keys is None else keys))


def _arrows(tasks: Sequence[str]) -> str:
    """`a > b > c`; of more than three tasks the ends, and how many they are: `a > ... > b (4 tasks)`."""
    return " > ".join(tasks) if len(tasks) <= 3 else f"{tasks[0]} > ... > {tasks[-1]} ({len(tasks)} tasks)"
