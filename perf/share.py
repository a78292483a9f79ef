"""Where the time of an update goes: the share of matrix products and convolutions, as torch's profiler sees it."""

from typing import Any

PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "convolution", "mkldnn", "linear")


def gemm_share(contender: Any) -> float:
    """Share of the profiled time of updates that is spent inside of products; the profiler itself costs some."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        contender.updates(1.0)
    events = recorded.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    products = sum(event.self_cpu_time_total for event in events if any(word in event.key for word in PRODUCTS))
    return float(products / total)
