"""Small stores with numbers made up by hand, and the plans they belong to."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from nbsp_ray.config.schema import Sweep
from nbsp_ray.plan.build import make_plan
from nbsp_ray.specs import Plan, Trial
from nbsp_ray.store import Store

FIRST, SECOND = "reach", "avoid"
EPISODES = 10
BUDGET = 400
"""Env steps of each phase; evaluations every 100."""

SETTINGS: Mapping[str, Any] = {
    "benchmark": "toy",
    "pairs": ((FIRST, SECOND),),
    "methods": ("base", "nbsp"),
    "seeds": (0, 1),
    "sac": {"hidden": (8, 8)},
    "first": {"env_steps": BUDGET, "eval_every": 100},
    "second": {"env_steps": BUDGET, "eval_every": 100},
    "evaluation": {"episodes": EPISODES},
}

GAMES: Mapping[str, Any] = {
    **SETTINGS,
    "benchmark": "atari",
    "pairs": (("Pong", "Bowling"), ("DemonAttack", "Carnival")),
    "first": {"env_steps": BUDGET, "eval_every": 100, "stop": "fixed"},
    "second": {"env_steps": BUDGET, "eval_every": 100, "stop": "fixed"},
    "evaluation": {"env_steps": 1_000},
}
"""Pong is won at 21 and lost at -21, random play gets -20.7 and a human 9.3; Carnival has no reference scores."""

MANIFEST = {"host": "box", "device": "cpu", "git_commit": "abc", "versions": {"python": "3.11.8", "torch": "2.11"}}
AGENT = {"w": np.zeros(1, dtype=np.float32)}
NEURONS = {
    "selected": 3,
    "selected_per_layer": [2, 1],
    "selected_constant": 1,
    "constant_per_layer": [4, 0],
    "frozen_parameters": 0.25,
    "score_lowest": 0.6,
    "score_highest": 0.9,
}
NBSP_REPORT: Mapping[str, Any] = {
    "neurons": {network: NEURONS for network in ("actor", "q1", "q2")},
    "positive_share": 0.4,
    "score_undefined": False,
    "drift": {network: [0.0, None] for network in ("actor", "q1", "q2")},
}


def plan_of(**changes: Any) -> Plan:
    """The plan of `SETTINGS` with some of them changed."""
    return make_plan("x", [Sweep.model_validate({**SETTINGS, **changes})])


def games_of(**changes: Any) -> Plan:
    """The plan of `GAMES` with some settings changed."""
    return make_plan("x", [Sweep.model_validate({**GAMES, **changes})])


def both_of(**changes: Any) -> Plan:
    """Tasks and games in one plan."""
    return make_plan("x", [Sweep.model_validate({**settings, **changes}) for settings in (SETTINGS, GAMES)])


def find(plan: Plan, method: str, seed: int, pair: tuple[str, ...] = (FIRST, SECOND)) -> Trial:
    """The one trial of that method and seed."""
    (trial,) = [t for t in plan.trials if (t.method, t.seed, t.tasks) == (method, seed, pair)]
    return trial


def evaluations(task: str, success: Sequence[float], every: int = 100) -> list[dict[str, Any]]:
    """Evaluations of `task` at 0, `every`, ...; updates begin after the first."""
    return [
        {"kind": "evaluation", "env_steps": every * i, "updates": 50 * i, "task": task, "success": rate, "episodes": 10}
        for i, rate in enumerate(success)
    ]


def training(task: str, success: Sequence[int]) -> list[dict[str, Any]]:
    """One training episode each 25 env steps."""
    return [
        {"kind": "training", "env_steps": 25 * (i + 1), "episode": i, "task": task, "success": s, "env_return": -1.5}
        for i, s in enumerate(success)
    ]


def learn(
    store: Store,
    plan: Plan,
    key: str,
    curve: Sequence[Mapping[str, Any]],
    env_steps: int = BUDGET,
    **result: Any,
) -> None:
    """Commit a phase as if it had learnt."""
    known = {"key": key, "task": plan.phases[key].spec.task, "env_steps": env_steps, "updates": 200, "seconds": 36.0}
    known |= {"stop_reason": "budget", "env_steps_per_second": env_steps / 36, "digest": "0"}
    store.phase(key).commit(
        result=known | {"replay_share": {"actor": 0.0, "critic": 0.0}} | result,
        manifest=MANIFEST,
        curve=curve,
        agent=AGENT,
        prepared={},
        replay=None,
        sample=None,
    )


def evaluate(
    store: Store, plan: Plan, key: str, task: str, successes: int, *, deterministic: int | None = None
) -> None:
    """Write final evaluations of `task` with so many successes of `EPISODES`."""
    for record in plan.phases[key].evaluations.values():
        if record.task != task:
            continue
        wins = successes if record.mode != "deterministic" else deterministic
        if wins is not None:
            success = [1] * wins + [0] * (record.episodes - wins)
            data = record.model_dump() | {"success": success, "env_return": [None] * record.episodes}
            store.phase(key).write_evaluation(record.id, data | {"success_rate": wins / record.episodes}, None)


def learn_first(
    store: Store, plan: Plan, trial: Trial, first_before: int, curve: Sequence[float] = (0, 0, 1, 1, 1)
) -> None:
    """A first phase with `first_before` successes of `EPISODES`."""
    key = trial.phases[0]
    learn(store, plan, key, evaluations(trial.tasks[0], curve) + training(trial.tasks[0], [0] * 6 + [1] * 10))
    evaluate(store, plan, key, trial.tasks[0], first_before, deterministic=first_before)


def learn_second(
    store: Store,
    plan: Plan,
    trial: Trial,
    first_after: int,
    second: int,
    curve: Sequence[float] = (0, 0.5, 1, 1, 1),
    first_curve: Sequence[float] = (1, 0.8, 0.6, 0.4, 0.2),
    **result: Any,
) -> None:
    """A second phase with so many successes of `EPISODES` on both tasks."""
    key, (first, last) = trial.phases[1], trial.tasks
    of_both = zip(evaluations(first, first_curve), evaluations(last, curve), strict=False)
    rows = [row for both in of_both for row in both]
    learn(store, plan, key, rows, env_steps=100 * (len(curve) - 1), **result)
    evaluate(store, plan, key, first, first_after, deterministic=first_after)
    evaluate(store, plan, key, last, second, deterministic=second)


def scores(task: str, means: Sequence[float], every: int = 100) -> list[dict[str, Any]]:
    """Evaluations of a game, as `evaluations` of a task."""
    rows = evaluations(task, means, every)
    return [row | {"success": None, "env_return": row["success"], "episodes": 3} for row in rows]


def played(task: str, returns: Sequence[float]) -> list[dict[str, Any]]:
    """One training game each 25 env steps."""
    return [
        {"kind": "training", "env_steps": 25 * (i + 1), "episode": i, "task": task, "success": None, "env_return": one}
        for i, one in enumerate(returns)
    ]


def score(store: Store, plan: Plan, key: str, task: str, returns: Sequence[float]) -> None:
    """Write all final evaluations of a game, with these returns of its games."""
    for record in plan.phases[key].evaluations.values():
        if record.task == task:
            data = record.model_dump() | {"env_return": list(returns), "success": [], "success_rate": None}
            data |= {"mean_return": float(np.mean(returns)), "episodes": len(returns), "env_steps": 1_000}
            store.phase(key).write_evaluation(record.id, data, None)


def play_first(store: Store, plan: Plan, trial: Trial, returns: Sequence[float]) -> None:
    """A first game whose final evaluation had these returns."""
    key, game = trial.phases[0], trial.tasks[0]
    mean = float(np.mean(returns))
    learn(store, plan, key, scores(game, (0, mean / 2, mean, mean, mean)) + played(game, [mean] * 16))
    score(store, plan, key, game, returns)


def play_second(
    store: Store, plan: Plan, trial: Trial, first: Sequence[float], second: Sequence[float], **result: Any
) -> None:
    """A second game, and what is left of the first."""
    key, (game, other) = trial.phases[1], trial.tasks
    of_both = zip(scores(game, (9, 8, 7, 6, 5)), scores(other, (0, 10, 20, 30, 40)), strict=True)
    rows = [row for both in of_both for row in both]
    learn(store, plan, key, rows + played(other, [float(np.mean(second))] * 16), **result)
    score(store, plan, key, game, first)
    score(store, plan, key, other, second)


def play_all(store: Store, plan: Plan) -> None:
    """Every trial on games: first games alike, later ones better with every trial, seed 1 better than seed 0."""
    for number, trial in enumerate(one for one in plan.trials if one.benchmark == "atari"):
        play_first(store, plan, trial, [9.3, 9.3 + 2 * trial.seed])
        report = NBSP_REPORT if trial.method == "nbsp" else {}
        play_second(store, plan, trial, [-20.7 + number, -5.7], [23.1 + 10 * number], **report)


def row_of(table: pd.DataFrame, method: str) -> dict[Any, Any]:
    """The one row of a method."""
    (row,) = table[table["method"] == method].to_dict("records")
    return row
