"""Where the time of an update goes, as torch's profiler sees it."""

from collections import Counter
from typing import Any

PRODUCTS, OTHER = "matrix products", "other"
PRODUCT_NAMES = ("mm", "addmm", "bmm", "baddbmm", "convolution", "mkldnn", "linear")
LOOPS = {"sqrt": "Adam and targets", "relu": "activations", "threshold": "activations", "": "losses, copies, casts"}
"""Kinds of compiled loops, each by an operation that is in its name; the first that fits."""
TELLING = {"TORCHINDUCTOR_CPP_ENABLE_KERNEL_PROFILE": "1"}
"""The environment in which compiled code tells the profiler what it does."""


def kind_of(name: str) -> str:
    """Which part of an update an event of the profiler belongs to."""
    if "cpp_fused" in name:
        return next(kind for operation, kind in LOOPS.items() if operation in name)
    return PRODUCTS if any(product in name for product in PRODUCT_NAMES) else OTHER


def milliseconds(contender: Any) -> dict[str, float]:
    """Milliseconds of each kind in an update; the profiler itself costs some, and counts as other."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        updates, _ = contender.updates(1.0)
    found: Counter[str] = Counter()
    for event in recorded.key_averages():
        found[kind_of(event.key)] += event.self_cpu_time_total / 1e3 / updates
    return dict(found)
