"""From a store of results to tables, figures and pages: pandas, no torch, no Ray.

    load (store + plan -> tidy frames) -> metrics, statistics -> tables, figures -> report | explorer | console

`analysis.load(root, plan)` and `load_results(root, sweep)` are the ways in, `write_report` and `write_explorer` are the
ways out; `Results.describe` describes every column. Whatever a sweep has not done yet is a missing value, never
a missing row.

Read `frames.load` first (a plan says which rows there are, the store fills them), then `frames.trials`, where a trial
becomes a row, with `metrics` (what a curve comes to) and `statistics` (means, intervals, resampling over seeds).
Tables, figures and pages only choose from these frames and say what they show: `tables` and `figures` list what there
is, `blocks` is what a page is made of, `pages` renders it.
"""

from analysis.advise import Advice, advise
from analysis.explorer import write_explorer
from analysis.export import export_agent
from analysis.frames.load import Results, load, load_results
from analysis.pages.report import write_report, write_tables

__all__ = [
    "Advice",
    "Results",
    "advise",
    "export_agent",
    "load",
    "load_results",
    "write_explorer",
    "write_report",
    "write_tables",
]
