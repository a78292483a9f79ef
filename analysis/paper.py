"""What the paper reports, to stand beside our numbers. Nothing here is computed."""

from collections.abc import Mapping
from dataclasses import dataclass

from nbsp_ray.benchmarks import get_benchmark


@dataclass(frozen=True)
class Published:
    """A success rate over five seeds, with the number after +- (the paper does not say what it is in its tables)."""

    mean: float
    spread: float


TABLE_1: Mapping[tuple[str, str], tuple[Published, Published]] = {
    ("metaworld", "drawer-open > drawer-close"): (Published(0.98, 0.04), Published(0.00, 0.00)),
    ("metaworld", "drawer-close > drawer-open"): (Published(0.96, 0.02), Published(0.62, 0.20)),
    ("metaworld", "window-open > window-close"): (Published(0.98, 0.04), Published(0.00, 0.00)),
    ("metaworld", "window-close > window-open"): (Published(0.97, 0.04), Published(0.09, 0.08)),
}
"""Table 1: (benchmark, pair) -> individual and sequential success on the first task, plain SAC."""

BENCHMARKS = ("metaworld", "atari")
"""The paper's; others (the toy) have pairs of their own, which are none of the paper's."""


def is_paper_pair(benchmark: str, tasks: tuple[str, ...]) -> bool:
    """Whether the paper compares methods on these tasks in this order."""
    return benchmark in BENCHMARKS and tasks in get_benchmark(benchmark).pairs
