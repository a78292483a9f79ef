import pytest

import analysis


@pytest.fixture
def results(full, plan):
    """Of the four trials of `full`."""
    return analysis.load(full.root, plan)
