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
