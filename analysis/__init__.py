"""From a store of results to tables, figures and pages: pandas, no torch, no Ray.

    load (store + plan -> tidy frames) -> metrics, statistics -> tables, figures -> report | explorer | console

`analysis.load(root, plan)` is the way in, `write_report` and `write_explorer` are the ways out;
`analysis.frames.columns` describes every column. Whatever a sweep has not done yet is a missing value, never a
missing row.
"""

from analysis.advise import Advice, advise
from analysis.explorer import write_explorer
from analysis.export import export_agent
from analysis.frames.load import Results, load
from analysis.pages.report import write_report, write_tables

__all__ = [
    "Advice",
    "Results",
    "advise",
    "export_agent",
    "load",
    "write_explorer",
    "write_report",
    "write_tables",
]
