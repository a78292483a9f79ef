"""A later phase that starts with the temperature of a new agent."""

import numpy as np
import pytest
import torch

from nbsp_ray.benchmarks import Continuous, Spaces, Vector
from nbsp_ray.config.schema import MethodOptions, Sac
from nbsp_ray.layout import NETWORKS
from nbsp_ray.learning.agent import Agent
from nbsp_ray.learning.hooks import ActiveMethod, Past
from nbsp_ray.learning.replay import Replay
from nbsp_ray.methods import ingredients_of, methods
from nbsp_ray.methods.reset_log_alpha import ResetLogAlpha


@pytest.mark.parametrize(("autotune", "before", "after"), [(True, -3.0, 0.0), (False, np.log(0.2), np.log(0.2))])
def test_it_is_put_back_where_it_is_learnt_and_the_past_keeps_its_own(
    autotune: bool, before: float, after: float
) -> None:
    spaces, sac = Spaces(Vector(2), Continuous(1)), Sac(hidden=(4,), autotune=autotune)
    mine, old = (Agent(sac, spaces, torch.device("cpu"), np.random.default_rng(0)) for _ in range(2))
    for one in (mine, old):
        one.state.log_alpha.fill_(before)
    past = Past(old, Replay(spaces, 1), None, {}, np.random.default_rng(0))
    influence = ActiveMethod((ResetLogAlpha(),))
    influence.prepare(past)
    influence.begin(past, mine)
    assert mine.state.log_alpha.item() == pytest.approx(after)
    assert old.state.log_alpha.item() == pytest.approx(before)
    assert (influence.arrays, influence.report) == ({}, {})
    for name in ("actor", "critic", "target"):
        assert torch.equal(getattr(mine.state, name), getattr(old.state, name))


@pytest.mark.parametrize("method", methods())
def test_the_option_adds_it_to_every_method(method: str) -> None:
    counts = dict.fromkeys(NETWORKS, 3)
    own = methods()[method].ingredients(MethodOptions(reset_log_alpha=True), counts)
    assert ingredients_of(methods()[method], MethodOptions(), counts) == own
    assert ingredients_of(methods()[method], MethodOptions(reset_log_alpha=True), counts) == (*own, ResetLogAlpha())
