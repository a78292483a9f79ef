from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from synthetic_store import NBSP_REPORT, find, learn_first, learn_second, plan_of

import analysis
from analysis.figures import style
from analysis.frames.load import Results
from nbsp_ray.specs import Plan
from nbsp_ray.store import Store


@pytest.fixture(autouse=True, scope="session")
def style_as_it_is() -> Iterator[dict[str, Any]]:
    """But here: choosing glyphs of TrueType fonts and compressing large pictures take a third of a report's time."""
    before = dict(style.STYLE)
    style.STYLE |= {"pdf.fonttype": 3, "savefig.dpi": 72}
    yield before
    style.STYLE |= before


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty results root."""
    return Store(tmp_path / "results", create=True)


@pytest.fixture
def plan() -> Plan:
    """Base and nbsp, two seeds."""
    return plan_of()


@pytest.fixture
def full(store: Store, plan: Plan) -> Store:
    """All four trials of `plan` done. Successes of 10 before, after, second: base 9 1 10, 3 0 5; nbsp 9 8 9, 3 3 2."""
    return filled(store, plan)


def filled(store: Store, plan: Plan) -> Store:
    for seed, first_before in ((0, 9), (1, 3)):
        learn_first(store, plan, find(plan, "base", seed), first_before)
    learn_second(store, plan, find(plan, "base", 0), 1, 10)
    learn_second(store, plan, find(plan, "base", 1), 0, 5, curve=(0, 0, 0, 0, 0.8))
    learn_second(store, plan, find(plan, "nbsp", 0), 8, 9, **NBSP_REPORT)
    learn_second(store, plan, find(plan, "nbsp", 1), 3, 2, curve=(0, 1, 1, 1), stop_reason="stable", **NBSP_REPORT)
    return store


class Report(NamedTuple):
    results: Results
    folder: Path
    paths: list[Path]
    """Of all that was written, the page first."""


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of `full`: written once, for all that only read it."""
    folder, plan = tmp_path_factory.mktemp("report"), plan_of()
    results = analysis.load(filled(Store(folder / "results", create=True), plan).root, plan)
    paths = analysis.write_report(results, folder / "r", name="x", title="Toy, both <tasks>")
    return Report(results, folder / "r", paths)
