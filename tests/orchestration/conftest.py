"""One small Ray for all tests of this folder that need one, started as `run` starts it."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """A Ray of two CPUs in this process; `run_plan` uses it and leaves it running."""
    from nbsp_ray.orchestration.cluster import connected_ray, quiet_ray
    from nbsp_ray.stopping import StopRequest

    with ExitStack() as stack:
        with quiet_ray(), StopRequest(print) as stop:
            stack.enter_context(connected_ray(None, 2, stop))
        yield


@pytest.fixture(autouse=True)
def everything_given_back(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a run reserves of the cluster it gives back, however it ended."""
    yield
    if "cluster" in request.fixturenames:
        import ray

        end = time.monotonic() + 60
        while ray.available_resources().get("CPU") != 2:
            assert time.monotonic() < end, "a reservation was left"
            time.sleep(0.05)
