"""Where a claim's sweeps ask for a number: computed from their plan, and from what is done."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.claims.loader import Claim
from analysis.claims.measures import Cell, Data, missing, read
from nbsp_ray.store import Store


def asked(folder: Path, sweep: str, rule: str, *methods: str) -> Data:
    """What a claim of one test asks for, with nothing done."""
    path = folder / "sweep.yaml"
    path.write_text(f"{sweep}\nmethods: [{', '.join(methods)}]\nseeds: 0-1\n")
    test = {"rule": rule, "methods": methods}
    claim = {"id": "C10", "claim": "x", "where": "y", "decided_by": "z", "sweeps": (str(path),), "tests": (test,)}
    return read(Claim.model_validate(claim), Store(folder / "results", create=True), {})


@pytest.fixture
def games(tmp_path: Path) -> Data:
    """Two methods and two seeds on two games."""
    return asked(tmp_path, "benchmark: atari\npairs: [Pong:Bowling]", "above", "replay_only", "base")


def test_all_is_missing_of_what_is_not_begun(games: Data) -> None:
    (test,) = games.claim.tests
    pair = "Pong > Bowling"
    assert missing(games, test, ()) == {Cell(pair, 0, reduced=False), Cell(pair, 1, reduced=False)}


def test_a_score_that_cannot_be_normalised_is_not_missing_and_a_success_is(games: Data) -> None:
    """A game without a human score is done and has no number: to wait for one would be for ever."""
    (test,) = games.claim.tests
    done = games.planned.assign(first_after=np.nan)
    assert missing(replace(games, finals=done.assign(measure="score")), test, ()) == set()
    assert missing(replace(games, finals=done.assign(measure="success")), test, ()) == missing(games, test, ())


def test_a_number_takes_both_methods(games: Data) -> None:
    (test,) = games.claim.tests
    done = games.planned.assign(first_after=0.5, measure="score")
    lacks_one = done[(done["method"] == "base") | (done["seed"] == 1)]
    assert {cell.seed for cell in missing(replace(games, finals=lacks_one), test, ())} == {0}


def test_an_order_takes_all_numbers_of_neurons(tmp_path: Path) -> None:
    curve = asked(tmp_path, "benchmark: metaworld\npairs: paper\nskill_neurons: [0.1, 0.2, 0.4, 0.8]", "rises", "nbsp")
    (test,) = curve.claim.tests
    done = curve.planned.assign(first_after=0.5, measure="success")
    one = (done["pair"] == "window-open > window-close") & (done["seed"] == 1) & (done["skill_neurons_given"] == "0.4")
    assert one.sum() == 1
    found = missing(replace(curve, finals=done[~one]), test, ())
    assert found == {Cell("window-open > window-close", 1, reduced=False)}
