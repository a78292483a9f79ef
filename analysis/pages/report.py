"""A sweep's report: a page as HTML and as Markdown, its tables and figures, and the data they were made from.

    <folder>/report.html                  everything in one file that opens anywhere, for reading and printing
            /report.md                    the same as Markdown: what ran, tables, figures, definitions, cost, versions
            /tables/<name>.csv, .tex      each table, unrounded, and as LaTeX with booktabs
            /tables/paper.tex             the main numbers in the shape of a paper's table: methods by pairs
            /tables/tables.tex            a LaTeX document of all tables
            /tables/README.md             every column of every table
            /figures/<name>.svg .pdf .png each figure; captions.md has what each shows
            /data/<frame>.csv, .parquet   curves, finals, phases, episodes
            /data/README.md               every column: type, unit, meaning

Everything is made before the first file is written, and each file is written whole, so a report is never half of one.
"""

import io
import os
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from analysis.blocks import Block, Heading, Paragraph
from analysis.figures import all_figures
from analysis.frames.columns import describe
from analysis.frames.load import Results
from analysis.pages import html, latex, markdown
from analysis.pages.contents import report_blocks
from analysis.tables import all_tables
from analysis.tables.columns import dictionary
from analysis.tables.paper_shape import paper_table
from analysis.tables.table import Shown
from nbsp_ray.errors import NbspError
from nbsp_ray.store import Files
from nbsp_ray.sweepfile.scope import Scope

Contents = dict[str, bytes | memoryview]
"""Files by name."""


def write_report(
    results: Results, folder: str | Path, *, name: str, title: str, scope: Scope | None = None
) -> list[Path]:
    """Write the report of sweep `name` into `folder`; the paths of its files, `report.md` and `report.html` first.

    `scope` says with which overrides it was asked for; without it the page is of the whole sweep.

    Raises:
        NbspError: the results root has nothing of the sweep yet.
    """
    shown = _tables(results, name)
    pictures = all_figures(results)
    scope = scope or Scope.of_all(name, title, results.store.address, len(results.plan.trials))
    root = quote(Path(os.path.relpath(results.root, folder)).as_posix())
    blocks = list(report_blocks(results, shown, pictures, title=title, scope=scope, root=root))
    pages = {"report.md": markdown.render(blocks), "report.html": html.document(title, blocks)}
    contents: Contents = {file: text.encode(errors="surrogateescape") for file, text in pages.items()}
    for picture in pictures:
        contents |= {f"figures/{picture.name}.{kind}": getattr(picture, kind) for kind in ("svg", "pdf", "png")}
    captions: list[Block] = []
    for picture in pictures:
        captions += [Heading(picture.title), Paragraph(" ".join(picture.caption))]
    contents["figures/captions.md"] = markdown.render(captions).encode()
    tables = {f"tables/{file}": content for file, content in _table_files(results, shown).items()}
    return _write(folder, contents | tables | _data_files(results))


def write_tables(results: Results, folder: str | Path, *, name: str) -> list[Path]:
    """Write the report's tables alone into `folder`: CSV (unrounded), Markdown and LaTeX (as shown).

    Raises:
        NbspError: the results root has nothing of the sweep yet.
    """
    shown = _tables(results, name)
    pages: Contents = {}
    for table in shown:
        parts = [f"## {table.title}", markdown.table(table.text), markdown.bullets(table.caption)]
        pages[f"{table.name}.md"] = ("\n\n".join(parts) + "\n").encode()
    return _write(folder, _table_files(results, shown) | pages)


def _tables(results: Results, name: str) -> list[Shown]:
    if not results.any_begun:
        raise NbspError(f"{results.store.address} has nothing of {name} yet: start it with `nbsp-ray run {name}`")
    return all_tables(results)


def _write(folder: str | Path, contents: Contents) -> list[Path]:
    files = Files(Path(folder))
    for name, content in contents.items():
        files.write(name, content)
    return [files.path(name) for name in contents]


def _table_files(results: Results, shown: list[Shown]) -> Contents:
    found: Contents = {f"{table.name}.csv": _csv(table.data) for table in shown}
    found |= {f"{table.name}.tex": latex.table(table).encode() for table in shown}
    papers = {f"paper{part.words.suffix}": paper_table(part) for part in results.parts().values()}
    found |= {f"{name}.tex": latex.paper(table, name).encode() for name, table in papers.items()}
    found["tables.tex"] = latex.document(shown, papers=papers).encode()
    return found | {"README.md": dictionary(shown).encode()}


def _data_files(results: Results) -> Contents:
    found: Contents = {}
    for name in results.columns():
        data: pd.DataFrame = getattr(results, name)
        parquet = io.BytesIO()
        data.to_parquet(parquet, index=False)
        found[f"data/{name}.parquet"] = parquet.getvalue()
        found[f"data/{name}.csv"] = _long_csv(data) if name in ("curves", "episodes") else _csv(data)
    return found | {"data/README.md": _dictionary(results).encode()}


def _long_csv(data: pd.DataFrame) -> memoryview:
    """The same as `_csv`, twenty times as fast; it writes flags otherwise, so only for frames without.

    Not copied: there may be half a gigabyte of it.
    """
    from pyarrow import Table, csv

    file = io.BytesIO()
    table = Table.from_pandas(data, preserve_index=False)
    csv.write_csv(table, file, csv.WriteOptions(quoting_style="needed"))
    return file.getbuffer()


def _csv(data: pd.DataFrame) -> bytes:
    return data.to_csv(index=False, lineterminator="\n").encode()


DICTIONARY = """\
# Data dictionary

Empty cells are missing values: not done yet, not evaluated, or meaningless in that row. Every file is there as CSV and
as Parquet; Parquet keeps the types (a CSV reader may take the text `1.0` in `skill_neurons_given`, which is all
neurons, for the number 1, which is one).

## finals

One row per trial of the plan, whether it has run or not.

{finals}

## curves

One row per evaluation, per training episode and per task finally evaluated. A first phase is shared by trials of
several methods and pairs: its curve stands once per `key`, with `pair`, `second_task`, `method`, `variant` and the
columns of skill neurons missing; `finals.key_first` joins it to its trials. Curves that stop early are not carried
forward here; the rows of kind `final` are what is carried.

{curves}

## phases

One row per phase of the plan.

{phases}

## episodes

One row per episode of every final evaluation: what a success rate in `finals` is the mean of.

{episodes}

The columns of the tables are in `tables/README.md`.
"""


def _dictionary(results: Results) -> str:
    return DICTIONARY.format(**{name: describe(columns) for name, columns in results.columns().items()})
