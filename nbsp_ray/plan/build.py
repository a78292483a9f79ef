"""From sweeps to a plan: the trials, and the phases they share, as a graph with a content key for each phase.

The key of a phase is a digest of everything that changes its numbers and of nothing else, so that "the same phase" is
a fact and not a convention: a first phase serves every method, a sweep that overlaps another runs only what is new,
and running again is running what is left. This module starts nothing and knows neither torch nor Ray.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nbsp_ray.benchmarks import Benchmark, get_benchmark
from nbsp_ray.config.schema import Resources, Sweep
from nbsp_ray.errors import ConfigError
from nbsp_ray.layout import NETWORKS
from nbsp_ray.learning.hooks import Ingredient
from nbsp_ray.methods import Method, get_method, ingredients_of
from nbsp_ray.plan.counts import resolve_counts
from nbsp_ray.specs import EvaluationSpec, FinalEvaluations, PhaseSpec, Plan, PlannedPhase, Trial, alike, arrows


def check_benchmarks(plan: Plan, keys: Collection[str]) -> None:
    """Every task of some phases can be played here, and gives what it is judged by.

    Raises:
        ConfigError: it cannot, or does not.
    """
    specs = [plan.phases[key].spec for key in keys]
    for benchmark, task in dict.fromkeys((one.benchmark, task) for one in specs for task in one.tasks):
        get_benchmark(benchmark).check(task)


def make_plan(name: str, sweeps: Sequence[Sweep]) -> Plan:
    """All trials of `sweeps` and their phases, each once.

    Raises:
        ConfigError: an unknown benchmark, task or method, a pair that one network cannot serve, too many neurons, a
            search that `nbsp_ray.plan.search.resolve_searches` has not put numbers in place of.
    """
    if any(sweep.search.trials for sweep in sweeps):
        raise ConfigError(f"{name} searches its numbers of skill neurons: plan resolve_searches(sweeps, store)")
    phases: dict[str, PlannedPhase] = {}
    trials: dict[tuple[object, ...], Trial] = {}
    for sweep in sweeps:
        for trial in _Builder(sweep, phases).trials():
            trials.setdefault((trial.method, trial.phases, trial.finals), trial)
    titles = {sweep.title for sweep in sweeps}
    return Plan(name, titles.pop() if len(titles) == 1 else "", phases, tuple(trials.values()))


class _Builder:
    """Builds the phases of one sweep into a graph that other sweeps share."""

    def __init__(self, sweep: Sweep, phases: dict[str, PlannedPhase]) -> None:
        self.sweep = sweep
        self.phases = phases
        self.benchmark: Benchmark = get_benchmark(sweep.benchmark)
        for pair in sweep.pairs:
            self.benchmark.check_sequence(pair)
        if self.benchmark.judged_by.kind == "score" and {sweep.first.stop, sweep.second.stop} != {"fixed"}:
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
        self.counts = [(value, resolve_counts(value, layers)) for value in sweep.skill_neurons]
        self._firsts: dict[tuple[str, int, str], str] = {}
        self._moulds: dict[tuple[tuple[str, ...], str, int], _Mould] = {}
        judged = sweep.evaluation
        self.finals = FinalEvaluations(judged.episodes, judged.env_steps, judged.goals, self.benchmark.variations)

    def trials(self) -> Iterator[Trial]:
        for tasks in self.sweep.pairs:
            for method in self.methods:
                axis = self.counts if method.selects_neurons else [(None, dict.fromkeys(NETWORKS, 0))]
                for skill_neurons, counts in axis:
                    ingredients = ingredients_of(method, self.sweep.method, counts)
                    self._check_scores(method, ingredients)
                    several = skill_neurons is not None and len(self.counts) > 1
                    name = f"{method.name} {skill_neurons}" if several else method.name
                    for seed in self.sweep.seeds:
                        phases = self._chain(tasks, name, ingredients, seed)
                        yield Trial(self.sweep.benchmark, tasks, method.name, seed, skill_neurons, phases, self.finals)

    def _chain(
        self, tasks: tuple[str, ...], name: str, ingredients: tuple[Ingredient, ...], seed: int
    ) -> tuple[str, ...]:
        """Plan the phases of one trial; the keys, first task first."""
        # One first phase serves all methods, but for those that act in it too: it is built once.
        own = name if any(one.from_first for one in ingredients) else ""
        if (first := (tasks[0], seed, own)) not in self._firsts:
            self._firsts[first] = self._phase(tasks, 0, seed, ingredients, (), name)
        keys = [self._firsts[first]]
        for index in range(1, len(tasks)):
            keys.append(self._phase(tasks, index, seed, ingredients, tuple(keys), name))
        return tuple(keys)

    def _check_scores(self, method: Method, ingredients: tuple[Ingredient, ...]) -> None:
        """q can vary: where it is the score of an episode, there must be two of them.

        Raises:
            ConfigError: there is one.
        """
        wanted, scored = self.sweep.evaluation, self.benchmark.judged_by.kind == "score"
        single = wanted.env_steps is None and wanted.episodes == 1
        if scored and single and any(ingredient.scores_neurons for ingredient in ingredients):
            raise ConfigError(
                f"{method.name} scores neurons by the scores of whole episodes of {self.benchmark.name}, which one "
                "episode cannot tell apart: set evaluation.episodes to 2 or more"
            )

    def _phase(
        self,
        tasks: tuple[str, ...],
        index: int,
        seed: int,
        ingredients: tuple[Ingredient, ...],
        before: tuple[str, ...],
        method: str,
    ) -> str:
        # By identity, as to compare ingredients takes longer than all the rest; each mould keeps its own alive.
        if (made := (tasks[: index + 1], method, id(ingredients))) not in self._moulds:
            self._moulds[made] = self._mould(tasks[: index + 1], ingredients, method)
        mould = self._moulds[made]
        auxiliary = {
            needed: self._phase(tasks, index, seed, helper, before, name)
            for needed, (helper, name) in mould.helpers.items()
        }
        previous = before[-1] if before else None
        key = mould.key(seed, previous, auxiliary)
        if key not in self.phases:
            own = {"seed": seed, "previous": previous, "auxiliary": auxiliary}
            spec = mould.spec.model_copy(update=own)
            self.phases[key] = PlannedPhase(key, spec, mould.resources, label=f"{mould.label}, seed {seed}")
        phase = self.phases[key]
        phase.keep_buffer |= index == 0
        if mould.spec.rollouts is not None:
            self.phases[before[-1]].evaluations.setdefault(mould.spec.rollouts.id, mould.spec.rollouts)
        if mould.needs_buffers:
            for earlier in before:
                self.phases[earlier].keep_buffer = True
        for name, record in mould.records.items():
            phase.evaluations.setdefault(name, record)
        return key

    def _mould(self, tasks: tuple[str, ...], ingredients: tuple[Ingredient, ...], method: str) -> "_Mould":
        """What the phases of a method that learn the last of `tasks` have in common."""
        sweep, index = self.sweep, len(tasks) - 1
        first = index == 0
        active = tuple(one for one in ingredients if one.from_first or not first)
        needed = sorted({ingredient.needs_method for ingredient in active if ingredient.needs_method})
        reads_rollouts = not first and any(ingredient.needs_rollouts for ingredient in active)
        spec = PhaseSpec(
            benchmark=sweep.benchmark,
            revision=self.benchmark.revision,
            task=tasks[index],
            earlier_tasks=tasks[:index],
            seed=0,
            sac=sweep.sac,
            learning=sweep.first if first else sweep.second,
            ingredients=tuple(ingredient.model_dump(mode="json") for ingredient in active),
            rollouts=self.finals.rollouts(tasks[index - 1]) if reads_rollouts else None,
        )
        own = f" of {method}" if active else ""
        resources = sweep.resources
        if first and resources.first_labels:
            resources = resources.model_copy(update={"labels": resources.first_labels})
        scored = [self.finals.rollouts(tasks[0])] if first else []
        judged = self.finals.after(tasks, deterministic=sweep.evaluation.deterministic)
        none = dict.fromkeys(NETWORKS, 0)
        return _Mould(
            ingredients,
            spec,
            alike(spec),
            resources,
            f"{tasks[0]}, first phase{own}" if first else f"{arrows(tasks)}, {method}",
            # From the third task on, the past of a helper is this method's, and no trial's own.
            {
                one: (
                    ingredients_of(get_method(one), sweep.method, none),
                    one if index == 1 else f"{one} after {method}",
                )
                for one in needed
            },
            any(ingredient.needs_buffers for ingredient in active),
            {record.id: record for record in (*scored, *judged)},
        )


@dataclass(frozen=True)
class _Mould:
    """What phases have in common that differ in their seed, and in the phases that they rest on, alone."""

    ingredients: tuple[Ingredient, ...]
    """Of the method, at work in them or not."""
    spec: PhaseSpec
    """Of one of them."""
    key: Callable[[int, str | None, Mapping[str, str]], str]
    resources: Resources
    label: str
    helpers: Mapping[str, tuple[tuple[Ingredient, ...], str]]
    """Of each auxiliary phase, by the method that trains it: its ingredients and its name."""
    needs_buffers: bool
    records: Mapping[str, EvaluationSpec]
    """Final evaluations of each, by their id."""
