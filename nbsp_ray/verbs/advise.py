"""`nbsp-ray advise`: which number of skill neurons serves a weighting best."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nbsp_ray.store import DEFAULT_ROOT
from nbsp_ray.terminal.output import Column, Rows, plain_console, print_prose
from nbsp_ray.verbs._common import AsJson, Overrides, Root, Sweep, check_begun, existing_store, load_plan, print_json

if TYPE_CHECKING:
    from analysis import Advice, Results


def command(
    sweep: Sweep,
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
    weight_stability: Annotated[
        float, typer.Option(help="What stability counts, of 1; plasticity counts the rest.")
    ] = 0.5,
    as_json: AsJson = False,
) -> None:
    """Name the number of skill neurons that serves a weighting best, and say whether the data can tell."""
    import analysis

    loaded, planned = load_plan(sweep, overrides, root)
    store = existing_store(root, loaded)
    check_begun(store, planned, loaded, root)
    results = analysis.load(store.address, planned)
    advice = analysis.advise(results, weight_stability)
    if as_json:
        print_json(advice_json(advice, weight_stability))
    else:
        print_advice(advice, results, weight_stability)


def advice_json(advice: "Sequence[Advice]", weight_stability: float) -> dict[str, Any]:
    """The advice for scripts; what the seeds do not allow is null."""

    def known(number: float) -> float | None:
        return None if math.isnan(number) else number

    return {
        "weight_stability": weight_stability,
        "advice": [
            {
                "of": one.label,
                "seeds": one.seeds,
                "best": one.best.label,
                "cannot_tell_apart": [count.label for count in one.ties],
                "counts": [
                    {
                        "skill_neurons": count.label,
                        "neurons": count.neurons,
                        "value": known(count.value.mean),
                        "interval": [known(count.value.low), known(count.value.high)],
                        "behind_best": known(count.behind_best.mean),
                        "behind_best_interval": [known(count.behind_best.low), known(count.behind_best.high)],
                        "best_in": known(count.best_share),
                    }
                    for count in one.counts
                ],
                "left_out": list(one.left_out),
            }
            for one in advice
        ],
    }


def print_advice(advice: "Sequence[Advice]", results: "Results", weight_stability: float) -> None:
    """A table of each pair's counts, and what it comes to."""
    from analysis.advise import advice_notes
    from analysis.tables.cells import of_summary

    console = plain_console()
    for one in advice:
        print_prose(console, one.label, style="italic")
        rows: list[list[str]] = []
        for count in one.counts:
            value, behind = (of_summary(found, error=False) for found in (count.value, count.behind_best))
            best_in = "-" if math.isnan(count.best_share) else f"{count.best_share:.0%}"
            mark = "* " if count is one.best else ""
            rows.append([mark + count.label, str(count.neurons), value, behind, best_in])
        others = "per network", f"value (n={one.seeds})", "behind the best", "best in"
        console.print(
            Rows(
                [Column("skill neurons", whole=True, right=True), *(Column(name, right=True) for name in others)], rows
            )
        )
        print_prose(console, one.sentence())
        if one.left_out:
            print_prose(console, f"Left out, without a finished seed in common: {', '.join(one.left_out)}.")
        console.print()
    for note in (*advice_notes(results, weight_stability), f"Read from {results.store.address}."):
        print_prose(console, note, indent=2)
