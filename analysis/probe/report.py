"""What a probe found, as tables and a page.

`show_probe` makes the tables, `write_probe` the files:

    <folder>/probe.md                  the page
            /tables/probe.csv          every measurement, unrounded
                   _contrasts.csv      best and worst minus random neurons, by first phase, score and share
            /tables/probe_<table>.csv  the tables on the page
            /figures/probe.svg .pdf .png
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from analysis.blocks import Block, Bullets, Heading, Paragraph, Picture, TextTable
from analysis.metrics import LEARNT
from analysis.pages import markdown
from analysis.probe.frames import GROUP, Probe, Row, ambiguous, effects
from analysis.tables.cells import NONE, Cells, from_row, number, of_summary
from analysis.tables.table import Shown
from analysis.words import words_of
from nbsp_ray.store import Files

# Tables


def show_probe(probe: Probe) -> list[Shown]:
    """Every table that has rows."""
    found = effects(probe.cells)
    shown = [_show_effects(found, probe, what) for what in EFFECTS] + [_show_scores(probe), _show_overlap(probe)]
    return [table for table in shown if len(table.data)]


@dataclass(frozen=True)
class Effect:
    """A table of what silencing breaks."""

    title: str
    value: str
    """The measure in its cells."""
    change: str
    """The measure in brackets behind it."""
    words: str
    """The effect, for people."""
    note: str
    """What the cells are; `{played}` is how much the agent played, `{task}` and `{normalised}` as `Words` has them."""
    differences: Mapping[str, str]
    """Best and worst against random neurons: the statistic of `effects`, and what stands behind the heading."""


DIFFERENCE = {"minus_random": ""}
PLAYED = "stochastic policy; not the episodes on which the neurons were scored, and the same ones in every row"
EFFECTS: Mapping[str, Effect] = {
    "actor": Effect(
        "Silencing neurons of the actor", "success", "drop", "drop",
        f"Success rate on the first {{task}} ({{played}}, {PLAYED}), in brackets the drop against the whole network.",
        DIFFERENCE,
    ),
    "actor_score": Effect(
        "Silencing neurons of the actor (by score)", "env_return", "drop", "drop of the raw score",
        f"Mean raw score on the first {{task}} ({{played}}, {PLAYED}), in brackets the drop against the whole network. "
        "{normalised}",
        DIFFERENCE | {"minus_random_normalised": ", normalised"},
    ),
    "critics": Effect(
        "Silencing neurons of the critics", "value_change", "td_change", "change of Q",
        "Silencing neurons of a critic cannot change how the agent acts, so this is what the critic loses: mean "
        "|Q' - Q| over transitions of the first task's buffer, Q' the silenced network, in standard deviations of Q; "
        "in brackets the change of the mean TD error |Q - y|, in the same unit, targets y from the whole networks.",
        DIFFERENCE,
    ),
}  # fmt: skip


def _tables(data: pd.DataFrame) -> "pd.Series[str]":
    """Which of `EFFECTS` each row belongs to."""
    actor = data["measure"].map({"success": "actor", "score": "actor_score"})
    return actor.where(data["network"] == "actor", "critics")


def _show_effects(found: pd.DataFrame, probe: Probe, name: str) -> Shown:
    effect, data = EFFECTS[name], found[_tables(found) == name].reset_index(drop=True)
    many = ambiguous(probe.cells)
    lines: list[Row] = []
    for names, group in data.groupby([*GROUP, "count"], sort=False):
        identity = dict(zip([*GROUP, "count"], names, strict=True))
        by_choice = {str(row["choice"]): row for row in _records(group)}
        line: Row = {"task": _task(identity, many)} | ({"network": identity["network"]} if name == "critics" else {})
        line["silenced"] = f"{identity['count']} of {identity['neurons']}"
        line["seeds"] = max(row["seeds"] for row in by_choice.values())
        for choice in ("best", "random", "worst"):
            row = by_choice.get(choice) or by_choice.get("none")
            line[choice] = (
                NONE if row is None else f"{_mean(row, effect.value)} ({number(row[f'{effect.change}_mean'])})"
            )
            if row is not None and row["seeds"] < line["seeds"]:
                line[choice] += f" (n={row['seeds']})"
        for statistic, which in effect.differences.items():
            for choice in ("best", "worst"):
                heading = f"{choice} minus random{which}"
                line[heading] = _difference(by_choice[choice], statistic) if choice in by_choice else NONE
        lines.append(line)
    return Shown(f"probe_{name}", effect.title, data, _frame(lines), _effect_notes(probe, name))


def _frame(lines: Sequence[Row]) -> pd.DataFrame:
    return pd.DataFrame(lines).astype(str)


def _effect_notes(probe: Probe, name: str) -> list[str]:
    effect, cells = EFFECTS[name], probe.cells[_tables(probe.cells) == name]
    episodes, env_steps = " or ".join(map(str, sorted(set(cells["episodes"])))), cells["env_steps"].mean()
    played = (
        f"{episodes} whole episodes, {env_steps:,.0f} env steps" if name == "actor_score" else f"{episodes} episodes"
    )
    words = words_of(cells["benchmark"])
    notes = [
        effect.note.format(played=played, task=words.task, normalised=words.normalised).strip(),
        f"Silenced: activation set to 0. Best and worst: by score. Random: {probe.request.draws} draws, averaged "
        "within a seed. Random and worst neurons are taken from those that are not constant; where there are too few, "
        "constant ones follow.",
        f"Minus random: difference of the {effect.words}, paired by seed; above 0, these neurons matter more than "
        "random ones.",
    ]
    if int(probe.cells.groupby(GROUP)["seed"].nunique().max()) > 1:
        notes.append(
            "Mean ± standard error over seeds; in square brackets Student's 95 % interval, of three seeds or more that "
            "are not all equal."
        )
    else:
        notes.append("One seed: no interval, and nothing is said about others.")
    return notes


def _difference(row: Cells, name: str) -> str:
    return of_summary(from_row(row, name), error=False)


def _mean(row: Cells, name: str) -> str:
    return of_summary(from_row(row, name), interval=False)


def _show_scores(probe: Probe) -> Shown:
    columns: dict[str, Callable[[Cells], str]] = {
        "task": partial(_task, many=ambiguous(probe.cells)),
        "seed": lambda row: str(row["seed"]),
        "network": lambda row: str(row["network"]),
        "p": lambda row: number(row["positive_share"]),
        "constant": lambda row: f"{_plus(row['constant_per_layer'])} of {_plus(row['layers'])}",
        "dead": lambda row: _plus(row["dead_per_layer"]),
        "selected": lambda row: str(row["selected"]),
        "per layer": lambda row: "score undefined" if row["score_undefined"] else _plus(row["selected_per_layer"]),
        "of these constant": lambda row: NONE if row["score_undefined"] else f"{row['selected_constant']:.0f}",
        "split-half": _reliability,
    }
    kinds = ", ".join(f"`{kind}`" for kind in dict.fromkeys(probe.scores["score"]))
    caption = [
        f"How each first phase's neurons score ({kinds}). p: share of the scoring steps with q above its mean; q is "
        "the success flag, or the score of the whole episode. Layers from the input. Constant: the same "
        "activation at all scoring steps; dead: 0 at all. Selected: what the sweep's methods take (`skill_neurons`), "
        "best scores first.",
        "Split-half: Spearman's rank correlation of the score on odd and on even episodes, over the n "
        "neurons that are constant in neither half. Odd and even episodes have different goals, so it also asks for a "
        "score that does not depend on the goal.",
    ]
    lines = [{title: cell(row) for title, cell in columns.items()} for row in _records(probe.scores)]
    return Shown("probe_scores", "The scores", probe.scores, _frame(lines), caption)


def _show_overlap(probe: Probe) -> Shown:
    columns: dict[str, Callable[[Cells], str]] = {
        "task": partial(_task, many=ambiguous(probe.cells)),
        "network": lambda row: str(row["network"]),
        "selected": lambda row: f"{row['selected']} of {row['neurons']}",
        "seeds": lambda row: str(row["seeds"]),
        "shared": lambda row: number(row["shared"]),
        "by chance": lambda row: number(row["shared_chance"]),
        "by chance, layer by layer": lambda row: number(row["shared_chance_in_layers"]),
        "Jaccard": lambda row: number(row["jaccard"]),
        "Jaccard by chance": lambda row: number(row["jaccard_chance"]),
    }
    caption = [
        "How many selected neurons two seeds share by their number in the network, over all pairs of seeds: share of "
        "the selected, and Jaccard index (shared of all that either selects). By chance: k / N, as of two independent "
        "draws; layer by layer, as of draws with the same number in each layer.",
        "Networks of different seeds start from different weights, so a neuron's number says nothing by itself: chance "
        "level is what to expect, and the same number is not the same neuron.",
    ]
    lines = [{title: cell(row) for title, cell in columns.items()} for row in _records(probe.overlap)]
    return Shown("probe_overlap", "The same neurons in every seed?", probe.overlap, _frame(lines), caption)


def _records(data: pd.DataFrame) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in data.to_dict("records")]


def _reliability(row: Cells) -> str:
    return NONE if pd.isna(row["split_half"]) else f"{number(row['split_half'])} (n={row['split_half_neurons']})"


def _plus(counts: Sequence[int]) -> str:
    return " + ".join(map(str, counts))


def _task(row: Cells, many: Sequence[str]) -> str:
    return ", ".join([str(row["task"]), *(str(row[name]) for name in many)])


# The page


def cautions(probe: Probe) -> list[str]:
    """What to beware of, and what is missing."""
    notes: list[str] = []
    whole = probe.cells[(probe.cells["choice"] == "none") & (probe.cells["network"] == "actor")]
    weak = whole[whole["success"] < LEARNT]
    if len(weak):
        notes.append(
            f"Not learnt (success below {LEARNT} with nothing silenced; there is little to break): {_which(weak)}."
        )
    undefined = probe.scores[probe.scores["score_undefined"]].drop_duplicates("key")
    if len(undefined):
        notes.append(
            f"Score undefined, as q is the same at all scoring steps: {_which(undefined)}. There is no "
            "best or worst; only random neurons were silenced, and its seeds are missing from the other columns."
        )
    if probe.unfinished:
        notes.append(f"Not trained yet, and so missing: {'; '.join(probe.unfinished)}.")
    return notes


def _which(rows: pd.DataFrame) -> str:
    return "; ".join(f"{row['task']}, seed {row['seed']}" for row in rows.to_dict("records"))


def probe_blocks(probe: Probe, shown: Sequence[Shown], picture: Picture, title: str) -> Iterator[Block]:
    """The whole page."""
    yield Heading(f"{title}: what the neurons do", level=1)
    yield Paragraph(
        "Each trained first phase has neurons of one network silenced, and is measured again without further learning: "
        "if the score finds the neurons that carry the skill, silencing the best-scored ones must break more than "
        "silencing as many random ones, and the worst-scored ones less."
    )
    if notes := cautions(probe):
        yield Bullets(notes)
    yield picture
    for table in shown:
        yield Heading(table.title)
        yield TextTable(table.text)
        yield Bullets(table.caption)
    yield Paragraph(
        "Every measurement is in `tables/probe.csv`, unrounded; the effect of each first phase alone is in "
        "`tables/probe_contrasts.csv`."
    )


def write_probe(probe: Probe, folder: str | Path, *, title: str) -> list[Path]:
    """Write the page, tables and figure of a probe into `folder`; the paths of its files, the page first."""
    from analysis.probe.figure import probe_figure

    shown, picture = show_probe(probe), probe_figure(probe.cells)
    page = markdown.render(probe_blocks(probe, shown, picture, title))
    contents = {"probe.md": page.encode(errors="surrogateescape"), "tables/probe.csv": _csv(probe.cells)}
    contents["tables/probe_contrasts.csv"] = _csv(probe.contrasts)
    contents |= {f"tables/{table.name}.csv": _csv(table.data) for table in shown}
    contents |= {f"figures/{picture.name}.{kind}": getattr(picture, kind) for kind in ("svg", "pdf", "png")}
    files = Files(Path(folder))
    for name, content in contents.items():
        files.write(name, content)
    return [files.path(name) for name in contents]


def _csv(data: pd.DataFrame) -> bytes:
    return data.to_csv(index=False, lineterminator="\n").encode()
