"""One small Ray for all tests of this folder that need one, started as `run` starts it."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """A Ray of two CPUs in this process; `run_plan` uses it and leaves it running."""
    from nbsp_ray.orchestration import launch
    from nbsp_ray.stopping import StopRequest

    with ExitStack() as stack:
        with launch._quiet(), StopRequest(print) as stop:
            stack.enter_context(launch._ray(None, 2, stop))
        yield
