"""The work as data: phases with a content key, trials, plans.

The key of a phase is a digest of everything that changes its numbers and of nothing else, so that "the same phase" is
a fact and not a convention. This module knows neither torch nor Ray, and nothing of how a plan is made.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar

from pydantic import Field

from nbsp_ray.config.schema import Learning, Resources, Sac, Settings, SkillNeurons

Answer = TypeVar("Answer")

ALGORITHM_VERSION = 2
"""Raise it by hand when the same settings give other numbers than before; older results are then run anew.

Not where sums are only rounded otherwise, as they are on another machine: see CONTRIBUTING."""

LATER_SETTINGS: Mapping[str, Any] = {"replicate": None, "sac.layer_norm": False, "sac.reward_scale": "none"}
"""Settings added after results of this version were stored, as `{"sac.name": value}`: left out of a key while they
have the value that means the old behaviour, so that older results stay valid."""

LANES_MAY_DIFFER = ("learning_starts", "buffer_size")
"""Settings of SAC that are no part of the update: phases that differ in them alone can be lanes of one pack."""

SAMPLE_TRANSITIONS = 2_560
"""Transitions that a later phase keeps of its buffer, and that Fisher information and importance are a mean over: 10
batches of 256 (Continual World)."""

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
    replicate: int | None = None
    """The number of a retraining of a phase whose imported result cannot be built on; None for the phase itself."""

    @property
    def index(self) -> int:
        """0 for a first phase, 1 for a second, ..."""
        return len(self.earlier_tasks)

    def number_of(self, task: str) -> int:
        """The number, from 0, of the phase that learnt a task last, this one included."""
        return len(self.tasks) - 1 - self.tasks[::-1].index(task)

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
        return _digest(self.model_dump(mode="json"))


def alike(spec: PhaseSpec) -> Callable[[int, str | None, Mapping[str, str]], str]:
    """Gives the keys of phases that are `spec` but for their seed, previous phase and auxiliary ones.

    They are those of `PhaseSpec.key`; but what the phases have in common is made JSON once, and not tens of thousands
    of times.
    """
    data = _without_later_settings(spec.model_dump(mode="json"))
    parts = {name: f'"{name}":{canonical(value).decode()}' for name, value in sorted(data.items())}

    def key(seed: int, previous: str | None, auxiliary: Mapping[str, str]) -> str:
        own = {
            "seed": f'"seed":{seed}',
            "previous": f'"previous":"{previous}"' if previous else '"previous":null',
            "auxiliary": f'"auxiliary":{canonical(dict(auxiliary)).decode()}' if auxiliary else '"auxiliary":{}',
        }
        text = ",".join((parts | own).values())
        return hashlib.sha256(f"{{{text}}}".encode()).hexdigest()[:20]

    return key


def canonical(data: Any) -> bytes:
    """JSON with sorted keys, no spaces, and no number that JSON lacks."""
    return _CANONICAL.encode(data).encode()


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def _without_later_settings(data: dict[str, Any]) -> dict[str, Any]:
    for path, old in LATER_SETTINGS.items():
        *parents, name = path.split(".")
        inner = data
        for parent in parents:
            inner = inner.get(parent) or {}
        if name in inner and inner[name] == old:
            del inner[name]
    return data


def key_of(spec: Mapping[str, Any]) -> str:
    """The key of a phase from its spec as JSON, as any version of this program has stored it."""
    return _digest(copy.deepcopy(dict(spec)))


def _digest(spec: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(_without_later_settings(spec))).hexdigest()[:20]


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

    @property
    def own_evaluation(self) -> EvaluationSpec | None:
        """The record of its own task, acting as in training; of a first phase, the one that keeps its steps."""
        wanted = (one for one in self.evaluations.values() if one.task == self.spec.task)
        return next((one for one in wanted if one.mode != "deterministic"), None)


@dataclass(frozen=True)
class FinalEvaluations:
    """The final evaluations of a trial's agents: the one place that says which record holds which number."""

    episodes: int
    """Episodes of each evaluation; of the deterministic ones, at most so many."""
    env_steps: int | None
    """Env steps of each evaluation, in place of `episodes`."""
    goals: Goals
    """`both` judges by training's goals, with the others beside them."""
    variations: int
    """Variations of each task. Each is played once where the policy leaves nothing to chance."""

    def evaluation(
        self, task: str, phase: int, *, deterministic: bool = False, goals: Goals | None = None
    ) -> EvaluationSpec:
        """The final evaluation of `task` after phase `phase` (0 for the first) that its numbers come from.

        After a first phase, training's goals are judged by the evaluation that keeps its steps for scoring.

        Args:
            task: A task learnt by then.
            phase: Which agent of the trial.
            deterministic: The most likely actions, in place of drawn ones.
            goals: None: those that the sweep judges by.
        """
        heldout = (goals or self.goals) == "heldout"
        if phase == 0 and not heldout and not deterministic:
            return self.rollouts(task)
        return EvaluationSpec(
            task=task,
            episodes=min(self.episodes, self.variations) if deterministic else self.episodes,
            mode="deterministic" if deterministic else "stochastic",
            goals="heldout" if heldout else "train",
            env_steps=None if deterministic else self.env_steps,
        )

    def rollouts(self, task: str) -> EvaluationSpec:
        """The evaluation of `task` that keeps its steps, for scoring neurons: always on training's goals."""
        return EvaluationSpec(task=task, episodes=self.episodes, mode="rollouts", env_steps=self.env_steps)

    def after(self, tasks: Sequence[str], *, deterministic: bool = True) -> Iterator[EvaluationSpec]:
        """All evaluations of an agent that has learnt `tasks`; `deterministic`: those without chance too."""
        phase = len(tasks) - 1
        for task in dict.fromkeys(tasks):
            yield self.evaluation(task, phase)
            if deterministic:
                yield self.evaluation(task, phase, deterministic=True)
        for task in dict.fromkeys((tasks[0], tasks[-1])) if self.goals == "both" else ():
            yield self.evaluation(task, phase, goals="heldout")


@dataclass(frozen=True)
class Trial:
    """One cell of a sweep: its phases in order, the first of them shared with other trials."""

    benchmark: str
    tasks: tuple[str, ...]
    method: str
    seed: int
    skill_neurons: SkillNeurons | None
    """Skill neurons as the sweep gives them; None for methods that select none."""
    phases: tuple[str, ...]
    """Keys, one per task."""
    finals: FinalEvaluations
    """The final evaluations of its agents."""

    @property
    def name(self) -> str:
        """For a folder."""
        neurons = "" if self.skill_neurons is None else f"-{self.skill_neurons}"
        return f"{'-'.join(self.tasks)}-{self.method}{neurons}-seed{self.seed}"

    @property
    def label(self) -> str:
        """For people."""
        neurons = "" if self.skill_neurons is None else f" {self.skill_neurons}"
        return f"{arrows(self.tasks)}, {self.method}{neurons}, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """Phases by key, each after those it needs; and the trials that use them."""

    name: str
    title: str
    phases: Mapping[str, PlannedPhase]
    trials: tuple[Trial, ...]

    @cached_property
    def alike(self) -> Mapping[str, int]:
        """A number for each phase, equal for those that differ in seed and keys alone: they have one size and price.

        Parts are told by their identity: tens of thousands of phases share them, and to compare them takes long.
        """
        numbers: dict[tuple[object, ...], int] = {}
        found: dict[str, int] = {}
        for key, phase in self.phases.items():
            spec = phase.spec
            parts = id(spec.sac), id(spec.learning), id(spec.ingredients), id(phase.resources)
            tasks = spec.benchmark, spec.earlier_tasks, spec.task, found.get(spec.previous or "")
            own = (*parts, *tasks, phase.keep_buffer, *phase.evaluations)
            found[key] = numbers.setdefault(own, len(numbers))
        return found

    def once_for_alike(self, of: Callable[[PlannedPhase], Answer]) -> Callable[[str], Answer]:
        """`of` the phase of a key, which is asked once for phases that are alike."""
        answers: dict[int, Answer] = {}

        def ask(key: str) -> Answer:
            number = self.alike[key]
            if number not in answers:
                answers[number] = of(self.phases[key])
            return answers[number]

        return ask

    def env_steps(self, keys: Sequence[str] | None = None) -> int:
        """The most env steps that learning the given phases (default: all) can take."""
        return sum(self.phases[key].spec.learning.env_steps for key in (self.phases if keys is None else keys))


def arrows(tasks: Sequence[str]) -> str:
    """`a > b > c`; of more than three tasks the ends, and how many they are: `a > ... > b (4 tasks)`."""
    return " > ".join(tasks) if len(tasks) <= 3 else f"{tasks[0]} > ... > {tasks[-1]} ({len(tasks)} tasks)"
