"""Its being here puts this folder on the path, so that tests can import `toy_phases`."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def denormal_numbers() -> Iterator[None]:
    """A phase lets this thread take denormal numbers for 0; other tests draw them."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="module")
def pixel_toy() -> Iterator[None]:
    """Tiny games are a benchmark as long as a module's tests run."""
    from pixel_toy import BENCHMARK

    from nbsp_ray.benchmarks import benchmarks, register_benchmark

    register_benchmark(BENCHMARK)
    yield
    del benchmarks()[BENCHMARK.name]


@pytest.fixture(scope="module")
def axes_toys() -> Iterator[None]:
    """Other meetings of observation, action and judgement are benchmarks as long as a module's tests run."""
    from axes_toys import BENCHMARKS

    from nbsp_ray.benchmarks import benchmarks, register_benchmark

    for one in BENCHMARKS:
        register_benchmark(one)
    yield
    for one in BENCHMARKS:
        del benchmarks()[one.name]
