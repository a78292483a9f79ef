"""What is measured on one trial: pure functions of arrays.

Success is a rate in [0, 1], or in its place stands a score with random play at 0 and a human at 1; time is env steps
since the phase began, shapes: E episodes, T evaluations. A metric that is not defined is NaN. Nothing here knows of
stores, plans or frames.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LIMITS: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("first_before", "first_after", "second", "second_scratch", "retention_last_5"), (0.0, 1.0)),
    **dict.fromkeys(("first_before_heldout", "first_after_heldout", "second_heldout"), (0.0, 1.0)),
    **dict.fromkeys(("auc_second", "average_performance"), (0.0, 1.0)),
    **dict.fromkeys(("forgetting", "forgetting_measure"), (-1.0, 1.0)),
    "forward_transfer": (-math.inf, 1.0),
}
"""What each metric can be at least and at most, of success rates."""

LEARNT = 0.5
"""A first task with a lower success rate before the second is learnt counts as not learnt."""
ROLLING_EPISODES = 10
"""Training episodes in a point of the training curve (Table 2, "average environment steps of success rate")."""
RETENTION_EVALUATIONS = 5
"""Evaluations of the first task that retention is the mean of."""


def limits(measure: str, name: str) -> tuple[float, float]:
    """What the metric `name` can be of trials that are judged by `success` or by `score`; a score has no limits."""
    return (-math.inf, math.inf) if measure == "score" else LIMITS[name]


def success_rate(success: Sequence[float] | Floats) -> float:
    """Share of successful episodes, R = 1/|E| sum_e r(e) (Eq. 7). `success`: 0 or 1 per episode (E,)."""
    return float(np.mean(success)) if len(success) else np.nan


def rolling_mean(values: Floats, window: int = ROLLING_EPISODES) -> Floats:
    """Mean of each episode's value and the `window` - 1 before it (E,); NaN before there are `window`."""
    rolled = np.full(len(values), np.nan)
    if len(values) >= window:
        rolled[window - 1 :] = np.lib.stride_tricks.sliding_window_view(values, window).mean(axis=1)
    return rolled


def area_under_curve(env_steps: Floats, heights: Floats, budget: float, carried: float) -> float:
    """Mean height of an evaluation curve over [0, budget]; of success rates in [0, 1].

    Trapezoids between evaluations; from the last one to the budget the height is `carried`. An evaluation beyond the
    budget counts up to it.

    Args:
        env_steps: Increasing (T,), the first 0.
        heights: Success rates, or scores (T,).
        budget: Env steps > 0.
        carried: The final evaluation. Never the last height: a stop rule waits for a high one, so it is too high on
            average (by up to 0.11 for an agent that succeeds in 80 % of episodes).

    Returns:
        The area divided by the budget; NaN if there is no evaluation at 0, or if `carried` is needed and is NaN.
    """
    if not len(env_steps) or env_steps[0] != 0:
        return np.nan
    if env_steps[-1] < budget:
        rest = carried * (budget - env_steps[-1])
        return float((np.trapezoid(heights, env_steps) + rest) / budget)
    inside = env_steps < budget
    x = np.append(env_steps[inside], budget)
    y = np.append(heights[inside], np.interp(budget, env_steps, heights))
    return float(np.trapezoid(y, x) / budget)


def carried_share(env_steps: Floats, budget: float) -> float:
    """Share of [0, budget] after the last evaluation, where `area_under_curve` carries the final one forward."""
    return max(0.0, 1 - float(env_steps[-1]) / budget) if len(env_steps) else np.nan


def env_steps_to_threshold(env_steps: Floats, success: Floats, threshold: float = 0.9, in_a_row: int = 3) -> float:
    """Env steps of the first of `in_a_row` successive evaluations that all reach `threshold`.

    NaN if there are none: censored, the task may be mastered later than the curve goes.
    """
    if len(success) < in_a_row:
        return np.nan
    reached = np.lib.stride_tricks.sliding_window_view(success >= threshold, in_a_row).all(axis=1)
    return float(env_steps[int(reached.argmax())]) if reached.any() else np.nan


def censored_median(env_steps: Floats) -> float:
    """Median of env steps to a threshold (n,), NaN where it was not reached, counted as later than any.

    NaN unless more than half reached it.
    """
    median = float(np.median(np.nan_to_num(env_steps, nan=math.inf))) if len(env_steps) else math.inf
    return median if math.isfinite(median) else np.nan


def forgetting(before: float, after: float) -> float:
    """What the first task lost while later ones were learnt: success before - after, in [-1, 1]."""
    return before - after


def retention(success: Floats, last: int = RETENTION_EVALUATIONS) -> float:
    """Mean of the last few evaluations of the first task (T,); of fewer if there are fewer, NaN if there is none."""
    return float(success[-last:].mean()) if len(success) else np.nan


def forward_transfer(auc: float, auc_scratch: float) -> float:
    """(AUC - AUC_scratch) / (1 - AUC_scratch), at most 1; NaN where learning from scratch left no room."""
    return (auc - auc_scratch) / (1 - auc_scratch) if auc_scratch != 1 else np.nan
