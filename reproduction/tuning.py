"""How the coefficients of EWC and ANCL are chosen: `docs/tuning.md`, from the archives beside this file.

    python reproduction/tuning.py [--archives reproduction] [--to docs/tuning.md]

The criterion stands in `tune_configs/tuning_ewc.yaml` and `tuning_ancl.yaml`: the highest mean of stability and
plasticity (success on the first and on the second task after the second phase) over pairs and seeds; of equals the
smallest coefficient, and of these the fewest parts. `base` is coefficient 0.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from analysis.blocks import Block, Bullets, Heading, Paragraph, TextTable
from analysis.frames.load import load_results
from analysis.pages import markdown
from analysis.tables.cells import number
from nbsp_ray.archives.importing import import_all
from nbsp_ray.specs import PhaseSpec
from nbsp_ray.store import Store

TUNED = {"tuning_ewc": "EWC", "tuning_ancl": "ANCL"}
CONFIGURATIONS = 13
"""Six coefficients on two choices of parts, and none."""
SEEDS = 2
MEASURES = {"first_after": "stability", "second": "plasticity"}


def trials(store: Store, sweep: str) -> pd.DataFrame:
    """A row for each trial of a sweep that is done: coefficient, parts, pair, seed, stability, plasticity."""
    results = load_results(store.root, sweep)
    plan = results.plan
    given = [configuration(plan.phases[trial.phases[-1]].spec) for trial in plan.trials]  # The frame's order is theirs.
    found = results.finals.assign(coefficient=[one for one, _ in given], parts=[parts for _, parts in given])
    return found[found["status"] == "done"].rename(columns=MEASURES)


def configuration(spec: PhaseSpec) -> tuple[float, str]:
    """What a second phase was held by: the coefficient at the first task's weights, and on which parts."""
    anchor = next((one for one in spec.ingredients if one["kind"] == "anchor"), {"coef": 0.0, "parts": ["-"]})
    return float(anchor["coef"]), " and ".join(anchor["parts"])


def table(found: pd.DataFrame) -> pd.DataFrame:
    """A row for each configuration, the chosen one first: means of each pair over seeds, and the mean of these."""
    given = ["coefficient", "parts"]
    means = found.groupby([*given, "pair"])[list(MEASURES.values())].mean().unstack("pair")
    means.columns = [f"{measure}, {pair}" for measure, pair in means.columns]
    counts = found.groupby([*given, "pair"])["seed"].nunique().unstack("pair", fill_value=0).min(axis=1)
    # A configuration that a pair lacks has no mean.
    rows = means.assign(mean=means.mean(axis=1, skipna=False).round(9), seeds=counts).dropna(subset=["mean"])
    return rows.reset_index().sort_values(["mean", *given], ascending=[False, True, True])


def blocks(store: Store) -> Iterator[Block]:
    """The page."""
    yield Heading("Tuning: the coefficients of EWC and ANCL", level=1)
    yield Paragraph(
        "`python reproduction/tuning.py` computes this page from the archives in `reproduction/`. A coefficient is "
        "chosen by the highest mean of stability and plasticity over two pairs and two seeds (100 and 101, which "
        "are reported nowhere else); of equals the smallest, and then the fewest parts. The pairs are those of "
        "`reproduction_1`. Two seeds differ so much that the highest of 13 means is more than its coefficient would "
        "have with others. ANCL's coefficient at the auxiliary network follows, as a thousandth of that at the first "
        "task."
    )
    for sweep, method in TUNED.items():
        yield Heading(f"{method} (`{sweep}`)")
        rows = table(trials(store, sweep))
        if not (rows["coefficient"] > 0).any():
            yield Paragraph("Not run yet.")
            continue
        best, fewest = rows.iloc[0], int(rows["seeds"].min())
        whole = fewest == SEEDS and len(rows) == CONFIGURATIONS
        yield Paragraph(
            f"{'Chosen' if whole else 'The highest so far, and nothing chosen'}: **coefficient "
            f"{best['coefficient']:,g} on {best['parts']}**, mean {number(best['mean'], 3)}."
            f"{_at_an_end(best['coefficient'], rows['coefficient'])}"
        )
        yield TextTable(pd.DataFrame([_cells(row) for _, row in rows.iterrows()]))
        if not whole:
            known = f"{len(rows)} of {CONFIGURATIONS} configurations, {fewest} of {SEEDS} seeds"
            yield Bullets([f"So far {known}: not the last word."])


def _at_an_end(chosen: float, tried: "pd.Series[float]") -> str:
    least, most = tried[tried > 0].min(), tried.max()
    ends = {least: " No smaller one was tried, but none at all.", most: " No greater one was tried."}
    return ends.get(chosen, "")


def _cells(row: "pd.Series[Any]") -> dict[str, str]:
    measured = {name: number(value) for name, value in row.items() if ", " in str(name)}
    head = {"coefficient": f"{row['coefficient']:,g}", "parts": str(row["parts"]), "mean": number(row["mean"], 3)}
    return head | {str(name): text for name, text in measured.items()} | {"seeds": str(row["seeds"])}


def write(archives: Path, page: Path) -> None:
    """Write the page."""
    with TemporaryDirectory(prefix="nbsp-ray-tuning-") as folder:
        store = import_all(archives, Path(folder) / "results")
        page.write_text(markdown.render(list(blocks(store))))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archives", type=Path, default=Path("reproduction"))
    parser.add_argument("--to", type=Path, default=Path("docs/tuning.md"))
    given = parser.parse_args()
    write(given.archives, given.to)


if __name__ == "__main__":
    main()
