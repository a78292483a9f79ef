"""From sweeps to a plan: the trials, and the phases they share, as a graph with a content key for each phase.

The key of a phase is a digest of everything that changes its numbers and of nothing else, so that "the same phase" is
a fact and not a convention: a first phase serves every method, a sweep that overlaps another runs only what is new,
and running again is running what is left. This module starts nothing and knows neither torch nor Ray.
"""

from collections.abc import Collection, Iterator, Sequence

from nbsp_ray.benchmarks import Benchmark, get_benchmark
from nbsp_ray.config.schema import SkillNeurons, Sweep
from nbsp_ray.errors import ConfigError
from nbsp_ray.layout import NETWORKS, Counts
from nbsp_ray.learning.hooks import Ingredient
from nbsp_ray.methods import Method, get_method, ingredients_of
from nbsp_ray.plan.counts import resolve_counts
from nbsp_ray.specs import FinalEvaluations, PhaseSpec, Plan, PlannedPhase, Trial, arrows


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
        judged = sweep.evaluation
        self.finals = FinalEvaluations(judged.episodes, judged.env_steps, judged.goals, self.benchmark.variations)

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
                            self.finals,
                        )

    def _chain(
        self, tasks: tuple[str, ...], method: Method, counts: Counts, seed: int, skill_neurons: SkillNeurons | None
    ) -> tuple[str, ...]:
        """Plan the phases of one trial; the keys, first task first."""
        ingredients = ingredients_of(method, self.sweep.method, counts)
        self._check_scores(method, ingredients)
        several = skill_neurons is not None and len(self.counts) > 1
        name = f"{method.name} {skill_neurons}" if several else method.name
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
        sweep, first = self.sweep, index == 0
        active = tuple(one for one in ingredients if one.from_first or not first)
        auxiliary: dict[str, str] = {}
        for needed in sorted({ingredient.needs_method for ingredient in active if ingredient.needs_method}):
            helper = ingredients_of(get_method(needed), sweep.method, dict.fromkeys(NETWORKS, 0))
            # From the third task on, its past is this method's, and no trial's own.
            name = needed if index == 1 else f"{needed} after {method}"
            auxiliary[needed] = self._phase(tasks, index, seed, helper, before, name)
        reads_rollouts = not first and any(ingredient.needs_rollouts for ingredient in active)
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
            rollouts=self.finals.rollouts(tasks[index - 1]) if reads_rollouts else None,
        )
        own = f" of {method}" if active else ""
        what = f"{tasks[0]}, first phase{own}" if first else f"{arrows(tasks[: index + 1])}, {method}"
        key = spec.key()
        resources = sweep.resources
        if first and resources.first_labels:
            resources = resources.model_copy(update={"labels": resources.first_labels})
        planned = PlannedPhase(key, spec, resources, label=f"{what}, seed {seed}")
        phase = self.phases.setdefault(key, planned)
        phase.keep_buffer |= first
        if spec.rollouts is not None:
            self.phases[before[-1]].evaluations.setdefault(spec.rollouts.id, spec.rollouts)
        if any(ingredient.needs_buffers for ingredient in active):
            for earlier in before:
                self.phases[earlier].keep_buffer = True
        scored = [self.finals.rollouts(tasks[0])] if first else []
        judged = self.finals.after(tasks[: index + 1], deterministic=sweep.evaluation.deterministic)
        for record in (*scored, *judged):
            phase.evaluations.setdefault(record.id, record)
        return phase.key
