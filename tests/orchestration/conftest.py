"""One small Ray for all tests of this folder that need one, started as `run` starts it."""

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
