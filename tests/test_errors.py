import copy

import pytest

from nbsp_ray import errors
from nbsp_ray.errors import NbspError, did_you_mean

ERRORS = [name for name in vars(errors) if name.endswith("Error") and name != "DamagedPhaseError"]


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_is_one_of_ours_and_keeps_its_text(name: str) -> None:
    error = getattr(errors, name)("what, where, the way out")
    assert isinstance(error, NbspError)
    assert str(error) == "what, where, the way out"


def test_damage_keeps_what_it_is_about_from_process_to_process() -> None:
    error = errors.DamagedPhaseError("0123", "a/replay.npy", "it is missing", "reach.rollouts")
    assert str(error) == (
        "a/replay.npy of the finished phase 0123 is damaged (it is missing); `nbsp-ray run` sets it aside and plays "
        "its evaluation reach.rollouts anew"
    )
    assert isinstance(error, NbspError)
    again = copy.copy(error)
    assert (str(again), vars(again)) == (str(error), vars(error))


def test_the_tree() -> None:
    assert issubclass(errors.CorruptCheckpointError, errors.StoreError)
    assert NbspError.__base__ is Exception


@pytest.mark.parametrize(
    ("word", "text"),
    [("gama", " (did you mean 'gamma'?)"), ("tua", " (did you mean 'tau'?)"), ("zebra", ""), ("", "")],
)
def test_did_you_mean_names_the_nearest_word_or_nothing(word: str, text: str) -> None:
    assert did_you_mean(word, {"gamma": 1, "tau": 2}) == text


def test_did_you_mean_takes_an_iterator_and_an_empty_one() -> None:
    assert did_you_mean("gama", iter(["gamma"])) == " (did you mean 'gamma'?)"
    assert did_you_mean("gama", []) == ""
