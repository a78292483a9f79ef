"""Choosing numbers of skill neurons: Tune's Optuna search, with a Gaussian process over the numbers tried so far.

A search goes in rounds. In each the numbers chosen so far are run as a plan like any other (`launch.run_plan`), and
then the next are chosen by what all of them gave. A choice is a function of the results in the store alone: Optuna's
state is not kept but made anew, told of every number and its value. So a search that was killed anywhere goes on as if
it had not been.
"""

import logging
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence

from nbsp_ray.config.schema import Sweep
from nbsp_ray.orchestration.cluster import home_for_ray
from nbsp_ray.orchestration.launch import Outcome
from nbsp_ray.plan.build import make_plan
from nbsp_ray.plan.replicates import on_replicates
from nbsp_ray.plan.search import CountSearch, resolve_searches, searches
from nbsp_ray.specs import Plan
from nbsp_ray.store import Store

log = logging.getLogger(__name__)
COUNT, VALUE = "skill_neurons", "value"


def run_search(
    name: str, sweeps: Sequence[Sweep], store: Store, run: Callable[[Plan], Outcome], say: Callable[[str], None]
) -> Outcome:
    """Run the sweeps until the budgets of their searches are spent; what became of the last plan, which holds all.

    A number with a failed trial has no value, and the search goes on without it; if no number has one, it ends.

    Args:
        name: Of the plan.
        sweeps: With or without a search; those without are run once.
        store: Where results are, and what was chosen.
        run: Runs all that is left of a plan.
        say: Told what is chosen, and why.
    """
    while True:
        outcome = run(on_replicates(make_plan(name, resolve_searches(sweeps, store)), store))
        if outcome.left or not [search for search in searches(sweeps, store) if extend(search, say)]:
            return outcome


def extend(search: CountSearch, say: Callable[[str], None]) -> bool:
    """Choose the next numbers of a search, if its budget allows any and something is known; whether it did."""
    values = {count: search.value(count) for count in search.tried}
    known = {count: value for count, value in values.items() if value is not None}
    wanted = min(search.left, search.sweep.search.at_once)
    if not known or wanted < 1:
        return False
    chosen = choose(known, search.untried, wanted)
    best = max(known, key=lambda count: (known[count], -count))
    say(
        f"search: {len(values)} of {search.budget} numbers of skill neurons tried, the best so far {best} with "
        f"{known[best]:.3f}; next {', '.join(map(str, chosen))}"
    )
    search.add(chosen)
    return True


def choose(values: Mapping[int, float], untried: Collection[int], wanted: int) -> list[int]:
    """The next numbers to try, none of them tried before; a function of its arguments.

    Args:
        values: What the numbers tried so far gave, the more the better.
        untried: Numbers to choose from, more than `wanted`; what the search suggests is moved to the nearest of them.
        wanted: How many.
    """
    import optuna

    with home_for_ray():
        from ray.tune.search.optuna import OptunaSearch

    low, high = min((*untried, *values)), max((*untried, *values))
    told = sorted(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is experimental in Optuna
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            searcher = OptunaSearch(
                space={COUNT: optuna.distributions.IntDistribution(low, high)},
                metric=VALUE,
                mode="max",
                # Seeds give chance outcomes: the process must not go through every value.
                sampler=optuna.samplers.GPSampler(seed=len(told), n_startup_trials=0, deterministic_objective=False),
                points_to_evaluate=[{COUNT: count} for count in told],
                evaluated_rewards=[values[count] for count in told],
            )
            suggested = [int((searcher.suggest(f"next-{number}") or {})[COUNT]) for number in range(wanted)]
        finally:
            optuna.logging.set_verbosity(before)
    free, chosen = set(untried), list[int]()
    for count in suggested:
        nearest = min(free, key=lambda one: (abs(one - count), one))
        free.remove(nearest)
        chosen.append(nearest)
    return chosen
