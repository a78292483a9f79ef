"""What each method comes to in each pair, whatever claim it belongs to: the tables that one reads first."""

from collections.abc import Iterator, Sequence

import pandas as pd

from analysis.blocks import Block, Heading, Paragraph, TextTable
from analysis.claims.verdicts import Outcome
from analysis.tables.cells import number
from nbsp_ray.methods import get_method

MEANS = {
    "first_after": "first task kept (stability)",
    "second": "second task learnt (plasticity)",
}


def methods_blocks(outcomes: Sequence[Outcome]) -> Iterator[Block]:
    """A table for each pair at each scale and setting, a row for each method, with the claims' number of neurons."""
    parts = [_trials(outcome) for outcome in outcomes if outcome.values and outcome.claim.stop is None]
    if not parts:
        return
    trials = pd.concat(parts).drop_duplicates(["scope", "pair", "method", "seed", "keys"])
    yield Heading("What each method comes to")
    yield Paragraph(
        "Success rates of the final evaluations, means over n seeds. While it was learnt: the mean height of the "
        "second task's evaluation curve over the whole budget. A second task is not always learnt by the end of its "
        "budget, so what it ends at is a moment of a curve that goes up and down."
    )
    for (scope, pair, _), own in trials.groupby(["scope", "pair", "setting"], sort=False):
        setting, scale = own[["setting_words", "scale"]].iloc[0]
        other = [f"; {what}" for what in scale if what.startswith("another")]
        title = f"{pair}, {scope if scope != 'paper' else 'as in the paper'}: {setting}{''.join(other)}"
        yield Heading(title, level=3)
        yield TextTable(pd.DataFrame(_row(str(method), of_it) for method, of_it in own.groupby("method", sort=False)))
        scratch = own.dropna(subset="second_scratch").drop_duplicates("seed")["second_scratch"]
        if len(scratch):
            yield Paragraph(
                f"A new agent learns the second task to {number(scratch.mean())} in as many env steps "
                f"(n = {len(scratch)}): the ceiling of plasticity, where the first task is of no help."
            )


def _trials(outcome: Outcome) -> pd.DataFrame:
    given = outcome.trials["skill_neurons_given"]
    wanted = given.isna() | (given == outcome.claim.skill_neurons)
    return outcome.trials[wanted].assign(scope=outcome.scope)


def _row(method: str, trials: pd.DataFrame) -> dict[str, str]:
    row = {"method": method, "n": str(trials["seed"].nunique())}
    for column, name in MEANS.items():
        row[name] = f"{number(trials[column].mean())}, worst seed {number(trials[column].min())}"
    return row | {
        "while it was learnt": number(trials["auc_second"].mean()),
        "what it does": get_method(method).summary,
    }
