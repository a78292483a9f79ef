"""From a store of results to tables: pandas only, no torch, no Ray.

    load (store + plan -> tidy frames) -> metrics, statistics -> tables -> show -> report | console

`analysis.load(root, plan)` is the way in, `analysis.write_report` the way out; `analysis.columns` describes every
column. Whatever a sweep has not done yet is a missing value, never a missing row.
"""

from analysis.load import Results, load
from analysis.report import write_report

__all__ = ["Results", "load", "write_report"]
