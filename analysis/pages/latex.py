r"""Tables for a paper: `tabular`s with booktabs rules, each in a `table` with its caption.

They ask for `\usepackage{booktabs}`, and those longer than a page for `longtable`; `tables.tex` is a document of all.
"""

import re
from collections.abc import Iterable

import pandas as pd

from analysis.tables.table import Shown

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
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
\usepackage{booktabs,longtable}
\begin{document}
%s
\end{document}
"""


def table(shown: Shown) -> str:
    """One table with its caption and the label `tab:<name>`."""
    columns = [str(name) for name in shown.text.columns]
    rows = [columns, *shown.text.astype(str).to_numpy().tolist()]
    head, *body = (" & ".join(map(escape, row)) + r" \\" for row in rows)
    body = _with_space_between_pairs(shown.text, body)
    words = escape(" ".join([f"{shown.title}.", *shown.caption]))
    caption, label = rf"\caption{{{words}}}", rf"\label{{tab:{shown.name.replace('_', '-')}}}"
    form = f"{{@{{}}{'l' * len(columns)}@{{}}}}"
    size = r"\scriptsize\setlength{\tabcolsep}{3pt}"
    if len(body) > LONG:
        top = [rf"{{{size}", rf"\begin{{longtable}}{form}", rf"{caption}{label}\\", r"\toprule", head, r"\midrule"]
        head_again = [r"\endfirsthead", r"\toprule", head, r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot"]
        lines = [*top, *head_again, *body, r"\end{longtable}", "}"]
    else:
        top = [r"\begin{table}[htbp]", caption, label, rf"\centering{size}", rf"\begin{{tabular}}{form}", r"\toprule"]
        lines = [*top, head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def document(tables: Iterable[Shown]) -> str:
    """A document that takes in `<name>.tex` of each table, to be compiled beside them."""
    return DOCUMENT % "\n\\clearpage\n".join(f"\\input{{{table.name}.tex}}" for table in tables)


def escape(text: str) -> str:
    r"""Text for LaTeX; code between backticks becomes `\texttt`."""
    plain = "".join(SPECIAL.get(character, character) for character in text)
    return re.sub(r"`([^`]*)`", r"\\texttt{\1}", plain)


def _with_space_between_pairs(text: pd.DataFrame, body: list[str]) -> list[str]:
    if "pair" not in text:
        return body
    pairs = text["pair"].tolist()
    new = [one != before for one, before in zip(pairs[1:], pairs, strict=False)]
    return [line if not i or not new[i - 1] else rf"\addlinespace{chr(10)}{line}" for i, line in enumerate(body)]
