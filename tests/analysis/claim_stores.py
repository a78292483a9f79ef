"""Stores as the trials of claims would leave them, with numbers made up by hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthetic_store import evaluate as write_evaluations
from synthetic_store import evaluations, learn

from analysis.claims import Claim
from analysis.claims.loader import ClaimTest
from nbsp_ray.plan.build import make_plan
from nbsp_ray.specs import Plan, Trial
from nbsp_ray.store import Store

SEEDS = 5
SMALL = "first: {env_steps: 20_000}\nsecond: {env_steps: 20_000, stop: fixed}\n"


def claim_test(rule: str, *methods: str, **more: Any) -> ClaimTest:
    return ClaimTest.model_validate({"rule": rule, "methods": methods, **more})


def sweep_file(tmp_path: Path, text: str, *, methods: str = "base, replay_only, nbsp", name: str = "one") -> str:
    path = tmp_path / f"{name}.yaml"
    path.write_text(f"benchmark: metaworld\nmethods: [{methods}]\nseeds: 0-{SEEDS - 1}\nskill_neurons: 0.2\n{text}\n")
    return str(path)


def claim_of(sweep: str, *tests: ClaimTest, **more: Any) -> Claim:
    data = {"id": "C4", "claim": "x", "where": "y", "decided_by": "z", "sweeps": (sweep,), "tests": tests}
    return Claim.model_validate(data | more)


Rates = Mapping[str, Sequence[float]]
"""By method: success on the first task after the second phase, one per seed."""


def fill(
    store: Store,
    claim: Claim,
    rates: Mapping[str, Rates],
    first_before: Sequence[float] = (1.0,) * SEEDS,
    undefined: int | None = None,
) -> Plan:
    """Trials by pair and method with success on the first task as given, and 0.9 on the second.

    Of nbsp the score of seed `undefined` was so.
    """
    plan = make_plan("x", claim.loaded)
    for trial in plan.trials:
        pair = " > ".join(trial.tasks)
        found = rates.get(pair, {}).get(trial.method, ())
        if trial.seed < len(found):
            report = {} if trial.method != "nbsp" else {"score_undefined": trial.seed == undefined}
            commit(store, plan, trial, first_before[trial.seed], found[trial.seed], **report)
    return plan


def commit(
    store: Store,
    plan: Plan,
    trial: Trial,
    first_before: float,
    first_after: float,
    second_after: float = 0.9,
    **result: Any,
) -> None:
    (first, second), (one, other) = trial.phases, trial.tasks
    if not store.phase(first).done():
        learn(store, plan, first, evaluations(one, (0, 0.5, 0.95, 1, 1), every=5_000), env_steps=20_000)
        write_evaluations(store, plan, first, one, round(first_before * 200), deterministic=0)
    learn(store, plan, second, evaluations(other, (0, 0.5, 1, 1, 1), every=5_000), env_steps=20_000, **result)
    write_evaluations(store, plan, second, one, round(first_after * 200), deterministic=0)
    write_evaluations(store, plan, second, other, round(second_after * 200), deterministic=0)


EASY, PAPER = "drawer-close > door-close", "window-open > window-close"
GOOD = {"replay_only": (0.5, 0.6, 0.4, 0.5, 0.5), "nbsp": (0.9, 1.0, 0.8, 0.95, 0.85)}
"""Differences 0.4, 0.4, 0.4, 0.45, 0.35."""
BAD = {"replay_only": GOOD["nbsp"], "nbsp": GOOD["replay_only"]}


def some(rates: Rates, seeds: int) -> Rates:
    return {method: found[:seeds] for method, found in rates.items()}
