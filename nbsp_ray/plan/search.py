"""Searches for the number of skill neurons: what they have tried, what it was worth, and what is left of their budget.

One number is one trial of a search: the sweep's method with it on all pairs and seeds, which are ordinary trials and
phases in the store, and its value is their mean. The store keeps which numbers were chosen, in their order; all else
follows from the results. So running again repeats nothing, and whoever reads the store sees the search as a grid of
what it has tried. How the next number is chosen is `nbsp_ray.orchestration.choose_count`'s business: this module knows
neither Ray nor torch nor pandas.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.config.schema import Search, Sweep
from nbsp_ray.layout import NETWORKS
from nbsp_ray.methods import get_method
from nbsp_ray.plan.build import make_plan
from nbsp_ray.plan.counts import resolve_counts
from nbsp_ray.plan.replicates import on_replicates
from nbsp_ray.specs import Trial, canonical
from nbsp_ray.store import Store

APART = 0.02
"""Share of the range: numbers nearer to one another than this give the same, as far as a few seeds can tell."""


@dataclass(frozen=True)
class CountSearch:
    """One search, as far as it is in a store."""

    sweep: Sweep
    """The sweep that it belongs to."""
    store: Store | None
    """None: nothing is chosen yet."""

    @cached_property
    def id(self) -> str:
        """A digest of what is searched: the trials, the range, the weights.

        More seeds or a larger budget are the same search: its numbers are then tried with those seeds too.
        """
        low, high = searched(self.sweep)
        one = self.grid([high]).model_copy(update={"seeds": (0,), "methods": (self.method,)})
        trials = [
            [*trial.phases, trial.finals.episodes, trial.finals.env_steps, trial.finals.goals]
            for trial in make_plan("", [one]).trials
        ]
        data = {"trials": trials, "range": [low, high], "weight_stability": self.sweep.search.weight_stability}
        return hashlib.sha256(canonical(data)).hexdigest()[:20]

    @property
    def method(self) -> str:
        """The method whose number of skill neurons is searched."""
        return next(name for name in self.sweep.methods if get_method(name).selects_neurons)

    @property
    def budget(self) -> int:
        """Numbers that may be tried."""
        return self.sweep.search.trials

    @property
    def tried(self) -> tuple[int, ...]:
        """Neurons per network chosen so far, in their order; those it begins with are fixed."""
        found = self.store.read_search(self.id) if self.store else None
        counts = found["counts"] if found else spread(self.sweep, min(self.sweep.search.start, self.budget))
        return tuple(counts[: self.budget])

    @property
    def left(self) -> int:
        """Numbers that may yet be chosen."""
        return self.budget - len(self.tried)

    @property
    def untried(self) -> list[int]:
        """Numbers that may be chosen next: such as tell something new, or if those do not suffice, any others."""
        (low, high), tried = searched(self.sweep), self.tried
        others = sorted({*range(low, high + 1)} - {*tried})
        apart = [count for count in others if min(abs(count - one) for one in tried) >= APART * (high - low)]
        return apart if len(apart) >= self.left else others

    def add(self, counts: Sequence[int]) -> None:
        """Remember what was chosen."""
        assert self.store is not None
        known = {"benchmark": self.sweep.benchmark, "method": self.method, "search": self.sweep.search.model_dump()}
        self.store.write_search(self.id, known | {"counts": [*self.tried, *counts]})

    def grid(self, counts: Sequence[int]) -> Sweep:
        """The sweep with these numbers in place of the search."""
        return self.sweep.model_copy(update={"skill_neurons": tuple(counts), "search": Search()})

    def value(self, count: int) -> float | None:
        """Mean over pairs and seeds of w x stability + (1 - w) x plasticity; None while a trial is missing."""
        assert self.store is not None
        one = self.grid([count]).model_copy(update={"methods": (self.method,)})
        values = [self._value(trial) for trial in on_replicates(make_plan("", [one]), self.store).trials]
        known = [value for value in values if value is not None]
        return fmean(known) if len(known) == len(values) else None

    def _value(self, trial: Trial) -> float | None:
        weight = self.sweep.search.weight_stability
        stability, plasticity = (self._final(trial, task) for task in (trial.tasks[0], trial.tasks[-1]))
        if stability is None or plasticity is None:
            return None
        return weight * stability + (1 - weight) * plasticity

    def _final(self, trial: Trial, task: str) -> float | None:
        """The final evaluation of `task` after the last phase: success rate, or normalised score."""
        assert self.store is not None
        folder = self.store.phase(trial.phases[-1])
        record = trial.finals.evaluation(task, len(trial.phases) - 1)
        found = folder.evaluation(record.id) if folder.done() else None
        if found is None:
            return None
        benchmark = get_benchmark(trial.benchmark)
        if benchmark.judged_by.kind == "score":
            return benchmark.normalised(task, float(found["mean_return"]))
        return float(found["success_rate"])


def searches(sweeps: Sequence[Sweep], store: Store) -> list[CountSearch]:
    """The searches among `sweeps`."""
    return [CountSearch(sweep, store) for sweep in sweeps if sweep.search.trials]


def rounds_left(sweeps: Sequence[Sweep], store: Store | None = None) -> int:
    """How often numbers will yet be chosen, each time when all that was chosen before is done."""
    left = [math.ceil(CountSearch(one, store).left / one.search.at_once) for one in sweeps if one.search.trials]
    return max(left, default=0)


def resolve_searches(sweeps: Sequence[Sweep], store: Store | None = None, *, rounds: int = 0) -> list[Sweep]:
    """The sweeps, each search as the grid of what it has chosen so far: a plan knows grids only.

    Args:
        sweeps: With or without a search.
        store: Where it is kept what was chosen; None: nothing is yet.
        rounds: With others in place of what will be chosen in so many rounds: any number costs as much.
    """
    found: list[Sweep] = []
    for sweep in sweeps:
        search = CountSearch(sweep, store)
        if sweep.search.trials:
            more = search.untried[: min(search.left, rounds * sweep.search.at_once)] if rounds else []
            sweep = search.grid([*sorted(search.tried), *more])
        found.append(sweep)
    return found


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
