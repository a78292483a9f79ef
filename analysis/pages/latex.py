r"""Tables for a paper: `tabular`s with booktabs rules, each in a `table` with its caption.

Each names the packages that it needs: `booktabs`, those longer than a page `longtable`, the one in the shape of a paper
(`paper.tex`: methods by pairs) `siunitx`. `tables.tex` is a document of all.
"""

import re
import textwrap
from collections.abc import Iterable

import pandas as pd

from analysis.pages.html import LINK, is_numeric
from analysis.statistics import Summary
from analysis.tables.cells import digits_of
from analysis.tables.paper_shape import Cell, PaperTable
from analysis.tables.table import Shown
from nbsp_ray.units import rounded

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "≥": r"$\geq$",
    ">": r"$>$",
    "<": r"$<$",
    "=": r"$=$",
    "|": r"$|$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
LONG = 40
"""Rows that fit a page."""
DOCUMENT = r"""\documentclass{article}
\usepackage[a4paper,landscape,margin=12mm]{geometry}
\usepackage{booktabs,longtable,siunitx}
\begin{document}
%s
\end{document}
"""


def table(shown: Shown) -> str:
    """One table with its caption and the label `tab:<name>`."""
    columns, rows = [str(name) for name in shown.text.columns], shown.text.astype(str).to_numpy().tolist()
    kinds = ["r" if is_numeric([row[i] for row in rows]) else "l" for i in range(len(columns))]
    heads = [
        _head(name, kind, [row[i] for row in rows]) for i, (name, kind) in enumerate(zip(columns, kinds, strict=True))
    ]
    head = " & ".join(heads) + r" \\"
    body = _with_space_between_pairs(shown.text, [" & ".join(map(escape, row)) + r" \\" for row in rows])
    words = escape(" ".join([f"{shown.title}.", *shown.caption]))
    caption, label = rf"\caption{{{words}}}", rf"\label{{tab:{shown.name.replace('_', '-')}}}"
    form = f"{{@{{}}{''.join(kinds)}@{{}}}}"
    size = r"\scriptsize\setlength{\tabcolsep}{3pt}"
    if len(body) > LONG:
        top = [rf"{{{size}", rf"\begin{{longtable}}{form}", rf"{caption}{label}\\", r"\toprule", head, r"\midrule"]
        head_again = [r"\endfirsthead", r"\toprule", head, r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot"]
        lines = [*top, *head_again, *body, r"\end{longtable}", "}"]
    else:
        top = [r"\begin{table}[htbp]", caption, label, rf"\centering{size}", rf"\begin{{tabular}}{form}", r"\toprule"]
        lines = [*top, head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join([_needs("booktabs", *(["longtable"] if len(body) > LONG else [])), *lines]) + "\n"


def _head(name: str, kind: str, cells: list[str]) -> str:
    """A head on several lines where it is wider than all below it."""
    widest = max(map(len, [*cells, *name.split()]), default=1)
    lines = textwrap.wrap(name, widest) or [name]
    text = r"\\".join(map(escape, lines))
    return text if len(lines) == 1 else rf"\shortstack[{kind}]{{{text}}}"


def _needs(*packages: str) -> str:
    return f"% Needs \\usepackage{{{','.join(packages)}}} in the preamble."


def paper(found: PaperTable, name: str = "paper") -> str:
    """The table in the shape of a paper's: `siunitx` columns, the best of a pair in bold."""
    names = [column for column in range(len(found.names)) if any(row[column] for row, _ in found.rows)]
    columns = len(found.pairs) * len(found.heads)
    form = f"@{{}}{'l' * len(names)}*{{{columns}}}{{S[table-format={_format(found)}]}}@{{}}"
    spans = " & ".join(rf"\multicolumn{{{len(found.heads)}}}{{c}}{{{escape(pair)}}}" for pair in found.pairs)
    first = len(names) + 1
    rules = "".join(
        rf"\cmidrule(lr){{{at}-{at + len(found.heads) - 1}}}" for at in range(first, first + columns, len(found.heads))
    )
    heads = [found.names[column] for column in names]
    heads += [f"{{{head}}}" for head in found.heads] * len(found.pairs)
    body = [
        " & ".join([*(escape(row[column]) for column in names), *map(_cell, cells)]) + r" \\"
        for row, cells in found.rows
    ]
    lines = [
        _needs("booktabs", "siunitx"),
        r"\begin{table}[htbp]",
        rf"\caption{{{escape(' '.join(found.caption))}}}\label{{tab:{name}}}",
        r"\centering\scriptsize\setlength{\tabcolsep}{3pt}",
        r"\sisetup{separate-uncertainty=true,detect-weight=true}",
        rf"\begin{{tabular}}{{{form}}}",
        r"\toprule",
        "& " * len(names) + spans + r" \\",
        rules,
        " & ".join(heads) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _format(found: PaperTable) -> str:
    """What `siunitx` makes room for: `1.2(3)` for rates, more for scores of several digits or below 0."""
    there = [cell.found for _, cells in found.rows for cell in cells if cell and cell.found.n]
    means, errors = [one.mean for one in there], [one.standard_error for one in there if one.standard_error > 0]
    sign = "-" if min(means, default=0) < 0 else ""
    digits, more = (len(f"{max(map(abs, numbers), default=0):.0f}") for numbers in (means, errors))
    behind = max(map(_digits, there), default=2)
    return f"{sign}{digits}.{behind}({more + behind})"


def _digits(found: Summary) -> int:
    return digits_of(found.low, found.high, found.standard_error)


def _cell(cell: Cell | None) -> str:
    if cell is None or not cell.found.n:
        return "{--}"
    found, digits = cell.found, _digits(cell.found)
    text = rounded(found.mean, digits).replace(",", "")
    if found.standard_error > 0:  # Of equal seeds there is none, and 0 would read as certainty.
        text += rf" \pm {rounded(found.standard_error, digits).replace(',', '')}"
    return rf"\bfseries {text}" if cell.best else text


def document(tables: Iterable[Shown], *, papers: Iterable[str] = ()) -> str:
    """A document that takes in `<name>.tex` of each table, those of `papers` first, to be compiled beside them."""
    names = [*papers, *(table.name for table in tables)]
    return DOCUMENT % "\n\\clearpage\n".join(f"\\input{{{name}.tex}}" for name in names)


def escape(text: str) -> str:
    r"""Text for LaTeX; code between backticks becomes `\texttt`."""
    plain = "".join(SPECIAL.get(character, character) for character in LINK.sub(r"\1", text))
    return re.sub(r"\*\*(.+?)\*\*", r"\\textbf{\1}", re.sub(r"`([^`]*)`", r"\\texttt{\1}", plain))


def _with_space_between_pairs(text: pd.DataFrame, body: list[str]) -> list[str]:
    if "pair" not in text:
        return body
    pairs = text["pair"].tolist()
    new = [one != before for one, before in zip(pairs[1:], pairs, strict=False)]
    return [line if not i or not new[i - 1] else rf"\addlinespace{chr(10)}{line}" for i, line in enumerate(body)]
