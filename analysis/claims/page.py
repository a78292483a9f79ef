"""The page of the reproduction: every claim's verdict at a glance, then each with its numbers, seed by seed.

In a folder: `reproduction.md` for reading in the repository, `reproduction.html` (the same in one file, with its
figures inside), `figures/claim-<id>.svg` (every seed as a dot; of a claim on numbers of skill neurons also `-curve`),
and `data/claim-<id>.csv` (the rows that the claim rests on, with the keys of their phases).
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.blocks import Block, Bullets, Heading, Paragraph, Picture, TextTable
from analysis.claims.curve import curve_blocks
from analysis.claims.loader import MEASURES, Claim
from analysis.claims.measures import Value, frame
from analysis.claims.methods import methods_blocks
from analysis.claims.notes import OVER_PAIRS, notes, what_was_found, without_room
from analysis.claims.rules import Decided
from analysis.claims.verdicts import Outcome, Part, evaluate
from analysis.frames.load import Known
from analysis.pages import html, markdown
from analysis.statistics import Summary, clopper_pearson
from analysis.tables.cells import digits_of, number, within
from analysis.tables.table import LEFT_OUT, UNDEFINED
from nbsp_ray.store import Files, Store

TITLE = "Reproduction: what is claimed, and what the results say"
GOOD = 0.9
"""Success rate from which a seed counts as good (Table 2)."""
NONE = "-"


def write_reproduction(claims: Sequence[Claim], store: Store, folder: Path) -> list[Path]:
    """Evaluate all claims on a results root and write the page; the paths of its files, `reproduction.md` first."""
    known: Known = {}
    outcomes = [outcome for claim in claims for outcome in evaluate(claim, store, known)]
    blocks = list(_blocks(claims, outcomes, store))
    contents = {
        "reproduction.md": markdown.render(blocks).encode(),
        "reproduction.html": html.document(TITLE, blocks).encode(),
    }
    contents |= {f"figures/{block.name}.svg": block.svg for block in blocks if isinstance(block, Picture)}
    for claim in claims:
        rows = frame(one for outcome in outcomes if outcome.claim is claim for one in _numbers(outcome))
        if len(rows):
            contents[f"data/claim-{claim.id}.csv"] = rows.to_csv(index=False, lineterminator="\n").encode()
    files = Files(folder)
    for name, content in contents.items():
        files.write(name, content)
    for own in ("figures/claim-*.svg", "data/claim-*.csv"):
        for path in folder.glob(own):
            if path.relative_to(folder).as_posix() not in contents:
                path.unlink()  # of a claim that has no numbers any more
    return [files.path(name) for name in contents]


def _numbers(outcome: Outcome) -> Iterator[Value]:
    yield from outcome.values
    for _, shown in outcome.shown:
        yield from shown


def _blocks(claims: Sequence[Claim], outcomes: Sequence[Outcome], store: Store) -> Iterator[Block]:
    yield Heading(TITLE, level=1)
    yield Paragraph(
        "This page is computed from results by rules that were fixed before any run at the paper's settings, in "
        "`reproduction/claims.yaml`, where each change since has its date; `make reproduction-page` makes it anew from "
        "the archives in `reproduction/`. No verdict is written by hand."
    )
    keys = {key for outcome in outcomes for key in outcome.keys}
    yield Heading("What was found")
    yield Bullets(list(what_was_found(outcomes)))
    begun = [outcome for outcome in outcomes if outcome.values]
    if begun:
        yield TextTable(pd.DataFrame([_glance(outcome, store) for outcome in begun]))
    yield from methods_blocks(outcomes)
    yield Heading("How to read it")
    yield Bullets(
        [
            "An effect is confirmed where its 95 % interval lies on the claimed side of 0 and the effect is at least "
            "0.05, refuted where the interval lies on the other side or wholly within -0.05 and 0.05, else "
            "inconclusive. What is said not to be lower is confirmed above -0.05 and refuted below; what is said to "
            "reach a level, or to stay below one, is refuted where its interval lies on the other side. A claim of "
            "several tests is confirmed if all are, and refuted if one is.",
            "No verdict falls before all seeds of a pair that the sweeps ask for are there, nor one at the paper's "
            "scale before all pairs are; at reduced scale, pairs that are not begun hold up no other.",
            "The unit is one seed of one pair: two methods are compared where they share the first phase. Of one pair "
            "the interval is Student's t, of several a bootstrap of the mean of their means that draws seeds jointly "
            "and is widened for few seeds (Hesterberg, 2015: plain percentiles of five would cover 85 %).",
            "What is decided in each pair has its means over pairs in this table, and the pairs in its section.",
            "Where seeds end at 0 or 1, Student's t is too narrow: the interval of five covers 83 % at a true share of "
            "0.7 and 41 % at 0.9. So the section of a claim has every seed, and exact intervals of their shares.",
            "Fewer than three seeds have no interval. Of equal seeds, and where a level is to be reached of seeds "
            "within 0.05 of one another, it rests on the exact interval for the share of seeds that are as these. "
            "After Holm's correction p is that of a t test of the seeds' means over pairs.",
            "No room: the method that is compared with is so close to the limit that no effect of 0.05 can be seen.",
            "Beyond: not the paper's claim. Exploratory: added when some of the numbers that decide it were known.",
            "At reduced scale: another pair than the paper's, a smaller budget, another stop rule, learner or "
            "evaluation. Such a verdict stands beside the paper's own and never counts for it.",
            "Hours are those that training took, times its threads, with whatever else ran beside it; final "
            "evaluations and probes are not counted, and a phase counts for each claim that rests on it. "
            f"All phases together, each once: {_cost(sorted(keys), store)[0]}.",
        ]
    )
    for claim in claims:
        yield Heading(_heading(claim))
        where = "not the paper's claim" if claim.beyond else claim.where
        yield Paragraph(f"{where[0].upper()}{where[1:]}. Decided by: {claim.decided_by}.")
        for place, outcome in enumerate(outcomes):
            if outcome.claim is claim:
                yield from _outcome_blocks(outcome, outcomes[:place])


def _heading(claim: Claim) -> str:
    return f"{claim.id}: {claim.claim}"


def _glance(outcome: Outcome, store: Store) -> dict[str, str]:
    claim = outcome.claim
    hours, hardware = _cost(outcome.keys, store)
    marks = [name for name in ("beyond", "exploratory") if getattr(claim, name)]
    effects = [f"{part.comparison}: {_interval(part.over_pairs.found, part.seeds)}" for part in outcome.parts]
    full = any(OVER_PAIRS in without_room(part, outcome) for part in outcome.parts)
    whole, asked = outcome.blocks
    return {
        "claim": f"[{claim.id}](#{html.anchor(_heading(claim))})" + f" ({', '.join(marks)})" * bool(marks),
        "what": claim.claim,
        "scale": outcome.scope,
        "verdict": f"{outcome.verdict}{', no room' if full and outcome.verdict == 'inconclusive' else ''}",
        "effect, 95 % interval": "; ".join(effects),
        "seeds x pairs": f"{outcome.seeds} x {outcome.pairs}" if whole == asked else f"{whole} of {asked} blocks",
        "hours": hours,
        "hardware": hardware,
    }


def _cost(keys: Iterable[str], store: Store) -> tuple[str, str]:
    """CPU and GPU hours of phases, final evaluations and probes not counted; and where they ran."""
    hours: dict[str, float] = {}
    hardware: dict[str, None] = {}
    for key in keys:
        folder = store.phase(key)
        result, manifest = folder.result() or {}, folder.manifest() or {}
        cpu = manifest.get("device") == "cpu"
        cores = int(manifest.get("threads") or 1) if cpu else 1
        kind = "CPU" if cpu else "GPU"
        hours[kind] = hours.get(kind, 0.0) + float(result.get("seconds") or 0) * cores / 3_600
        hardware[str((manifest.get("processor") if cpu else None) or manifest.get("device"))] = None
    found = ", ".join(f"{number(spent, 1)} {kind}" for kind, spent in sorted(hours.items()))
    return found or NONE, ", ".join(sorted(hardware)) or NONE


def _interval(found: Summary, seeds: str = "") -> str:
    """A mean with its interval; without one, with how many seeds it has (`seeds`, if these differ between pairs)."""
    if not found.n:
        return NONE
    if math.isnan(found.low):
        seeds = seeds or str(found.n)
        return f"{number(found.mean)} (no interval, {seeds} seed{'s' * (seeds != '1')})"
    # As many as it takes to tell on which side of 0 it lies.
    digits = max(digits_of(*sorted(both)) for both in combinations((found.low, 0.0, found.high), 2))
    return f"{number(found.mean, digits)} {within(found.low, found.high, digits)}"


def _outcome_blocks(outcome: Outcome, before: Sequence[Outcome]) -> Iterator[Block]:
    claim = outcome.claim
    yield Heading(f"{claim.id}, {outcome.scope}: {outcome.verdict}", level=3)
    if not outcome.values:
        sweeps = ", ".join(f"`{given}`" for given in claim.sweeps)
        yield Paragraph(
            f"Not run. {_sentence(claim.lacks) if claim.lacks else f'The sweeps that decide it: {sweeps}.'}"
        )
        return
    yield Bullets(list(notes(outcome, before)))
    rows = [row for part in outcome.parts for row in _rows(part, outcome)]
    rows += [row for part in outcome.parts_defined for row in _rows(part, outcome, defined=True)]
    unwanted = [] if outcome.undefined else [UNDEFINED]
    for table in (rows, list(_seeds(outcome)), list(_drops(outcome))):
        if table:
            yield TextTable(pd.DataFrame(table).drop(columns=unwanted, errors="ignore"))
    yield _picture(outcome)
    yield from curve_blocks(outcome, f"{_name(outcome)}-curve")
    yield Paragraph(f"Every row with the keys of its phases: [data/claim-{claim.id}.csv](data/claim-{claim.id}.csv).")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}."


def _rows(part: Part, outcome: Outcome, *, defined: bool = False) -> Iterator[dict[str, str]]:
    """A row for each pair, and one over all; `defined`: those that undefined scores are left out of."""
    pairs = {pair: (decided, _places(list(part.values[pair].values()))) for pair, decided in part.pairs.items()}
    rows = pairs | ({OVER_PAIRS: (part.over_pairs, NONE)} if len(part.pairs) > 1 else {})
    full = without_room(part, outcome)
    for pair, (decided, places) in rows.items():
        undefined = _undefined(part, pair, outcome)
        if undefined or not defined:
            mark = {UNDEFINED: LEFT_OUT if defined else undefined}
            row = _row(part, pair, decided, mark)
            row["by the rule"] += ", no room" * (pair in full)
            yield row | {"lowest, median, highest": places}


def _places(numbers: Sequence[float]) -> str:
    places = min(numbers), float(np.median(numbers)), max(numbers)
    return ", ".join(number(place, digits_of(places[0], places[-1])) for place in places)


def _seeds(outcome: Outcome) -> Iterator[dict[str, str]]:
    """The seeds of each method behind the numbers: a mean of 0.6 may be three ones and two zeros."""
    found: dict[tuple[str, str, str], dict[int, tuple[float, bool]]] = {}
    tests = {part.comparison: part.test for part in outcome.parts if part.test.rule != "probe"}
    deciding = [(tests[one.comparison], one) for one in outcome.values if one.comparison in tests]
    for test, one in [*deciding, *((test, one) for test, shown in outcome.shown for one in shown)]:
        if MEASURES[test.measure][1] == (0, 1) or test.rule == "shown":
            for method, value, undefined in one.of:
                found.setdefault((test.measure, method, one.pair), {})[one.seed] = (value, undefined)
    for (measure, method, pair), of_seed in found.items():
        every = [value for value, _ in of_seed.values()]
        defined = [value for value, undefined in of_seed.values() if not undefined]
        left = len(every) - len(defined)
        scopes = [(every, f"{left} of {len(every)}" if left else "")]
        for numbers, mark in [*scopes, (defined, LEFT_OUT)] if left and defined else scopes:
            good = sum(number >= GOOD - 1e-9 for number in numbers)
            share = f"{good} of {len(numbers)} {within(*clopper_pearson(good, len(numbers)))}"
            yield {
                "measure": measure,
                "method": method,
                "pair": pair,
                UNDEFINED: mark,
                "mean": number(float(np.mean(numbers))),
                "worst, median, best seed": _places(numbers),
                f"seeds >= {GOOD:g}, exact 95 % interval": share if MEASURES[measure][1] == (0, 1) else NONE,
            }


def _drops(outcome: Outcome) -> Iterator[dict[str, str]]:
    """What silenced neurons cost, of each share: the best of a score, the mean of random draws, and the worst."""
    for part in (part for part in outcome.parts if part.test.rule == "probe"):
        own = [one for one in outcome.values if one.comparison == part.comparison]
        for task in part.pairs:
            for silenced in ("best", "random", "worst"):
                drops = [drop for one in own if one.pair == task for name, drop, _ in one.of if name == silenced]
                if drops:
                    yield {
                        "task": task,
                        "silenced": f"{silenced} {part.test.count:.0%}",
                        "n": str(len(drops)),
                        "mean drop of success": number(float(np.mean(drops))),
                        "lowest, median, highest": _places(drops),
                    }


def _undefined(part: Part, pair: str, outcome: Outcome) -> str:
    """Of how many of a row's numbers the score was undefined."""
    own = [one for one in outcome.values if one.comparison == part.comparison and pair in (one.pair, OVER_PAIRS)]
    found = sum(one.undefined for one in own)
    return f"{found} of {len(own)}" if found else ""


def _row(part: Part, pair: str, decided: Decided, mark: dict[str, str]) -> dict[str, str]:
    return {
        "comparison": part.comparison,
        "pair": pair,
        **mark,
        "n": part.seeds if pair == OVER_PAIRS else str(decided.found.n),
        "mean, 95 % interval": _interval(decided.found, part.seeds if pair == OVER_PAIRS else ""),
        "by the rule": decided.verdict,
    }


def _name(outcome: Outcome) -> str:
    """Of its figures' files."""
    return f"claim-{outcome.claim.id}{'' if outcome.scope == 'paper' else '-reduced'}"


def _picture(outcome: Outcome) -> Picture:
    """A row for each comparison and pair: a dot for every seed, the mean as a stroke, the interval as a bar."""
    import matplotlib
    from matplotlib.figure import Figure

    from analysis.figures.palette import BLUE, GREY, INK, VERMILLION
    from analysis.figures.style import STYLE, WIDTH, render

    rows = [(part, pair, decided) for part in outcome.parts for pair, decided in part.pairs.items()]
    looks = {"confirmed": BLUE, "refuted": VERMILLION}
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(WIDTH, 0.7 + 0.3 * len(rows)))
        axes = canvas.add_subplot()
        for row, (part, pair, decided) in enumerate(rows):
            colour, found = looks.get(decided.verdict, GREY), decided.found
            if not math.isnan(found.low):
                axes.barh(
                    row, found.high - found.low, left=found.low, height=0.6, color=colour, alpha=0.25, linewidth=0
                )
            axes.plot([found.mean] * 2, [row - 0.3, row + 0.3], color=INK, linewidth=1.6)
            numbers = list(part.values[pair].values())
            axes.plot(numbers, row + np.linspace(-0.2, 0.2, len(numbers)), "o", color=colour, markersize=3.6)
        names = [f"{part.comparison}\n{pair}" for part, pair, _ in rows]
        axes.set_yticks(range(len(rows)), names, fontsize=6.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.axvline(0, color=INK, linewidth=0.7)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        caption = [
            "A dot is one seed, the stroke their mean, the bar its 95 % interval;",
            "blue: confirmed, red: refuted, grey: neither.",
        ]
        return render(_name(outcome), f"{outcome.claim.id}: {outcome.claim.claim}", caption, canvas)
