from typing import Any

import pytest

from nbsp_ray.config.describe import settings
from nbsp_ray.sweepfile.shorthand import MOST_SEEDS, expand, expand_tasks

A, B = ["drawer-open", "drawer-close"], ["window-open", "window-close"]


@pytest.mark.parametrize(
    ("path", "value", "expanded"),
    [
        ("seeds", 3, [3]),
        ("seeds", "0-4", [0, 1, 2, 3, 4]),
        ("seeds", "0 - 1", [0, 1]),
        ("seeds", "2-2", [2]),
        ("seeds", [0, 1], [0, 1]),
        ("seeds", "1,3,5-7", [1, 3, 5, 6, 7]),
        ("seeds", [0, "5-6"], [0, 5, 6]),
        ("seeds", None, []),
        ("seeds", "five", ["five"]),
        ("seeds", "5", ["5"]),
        ("seeds", True, [True]),
        ("seeds", 1e3, [1000]),
        ("skill_neurons", 0.2, [0.2]),
        ("skill_neurons", 1, [1]),
        ("skill_neurons", 1.0, [1.0]),
        ("skill_neurons", "0.1, 5, 1.0", [0.1, 5, 1.0]),
        ("methods", "base", ["base"]),
        ("methods", "base, nbsp", ["base", "nbsp"]),
        ("methods", ["base"], ["base"]),
        ("methods", "1,2", ["1", "2"]),
        ("sac.hidden", "64,64", [64, 64]),
        ("sac.hidden", 64, [64]),
        ("sac.hidden", [1e2, 64], [100, 64]),
        ("sac.tau", 1e-3, 1e-3),
        ("sac.tau", 1.0, 1.0),
        ("first.env_steps", 1e6, 1_000_000),
        ("first.env_steps", 1.5, 1.5),
        ("first.env_steps", "1e6", "1e6"),
        ("first.env_steps", float("inf"), float("inf")),
        ("first.env_steps", True, True),
        ("pairs", "paper", "paper"),
        ("pairs", None, []),
        ("pairs", "drawer-open:drawer-close", [A]),
        ("pairs", "drawer-open > drawer-close", [A]),
        ("pairs", "drawer-open:drawer-close,window-open:window-close", [A, B]),
        ("pairs", "drawer-open:drawer-close, window-open > window-close", [A, B]),
        ("pairs", ["drawer-open:drawer-close", B], [A, B]),
        ("pairs", [A, B], [A, B]),
        ("pairs", [], []),
        ("pairs", "a:b:a:b", [["a", "b", "a", "b"]]),
        ("pairs", "a > b > c, b:a", [["a", "b", "c"], ["b", "a"]]),
        ("pairs", ["a:b:c", ["a", "b", "c", "d"]], [["a", "b", "c"], ["a", "b", "c", "d"]]),
    ],
)
def test_expand(path: str, value: Any, expanded: Any) -> None:
    found = expand(settings()[path], value)
    assert found == expanded
    both = zip(found, expanded, strict=True) if isinstance(expanded, list) else [(found, expanded)]
    assert all(type(one) is type(other) for one, other in both)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("seeds", "4-0", "the range 4-0 of seeds is empty; the smaller comes first: 0-4"),
        ("seeds", "0-999999999", "has 1,000,000,000; at most 10,000 are taken"),
        (
            "pairs",
            "drawer-open,drawer-close",
            "tasks, but no pair of them (did you mean drawer-open:drawer-close?)",
        ),
        ("pairs", A, "did you mean drawer-open:drawer-close?"),
        ("pairs", "drawer-open", 'pairs has "drawer-open"; a pair is first:second'),
        ("pairs", ["a:b", "paper"], "`pairs: paper` stands alone"),
        ("pairs", "a,b,a", "tasks, but no pair of them (did you mean a:b:a?)"),
        (
            "pairs",
            [["a"]],
            "a pair is first:second, as in drawer-open:drawer-close, and a longer sequence first:second",
        ),
        ("pairs", ["paper", "paper"], "`pairs: paper` stands alone"),
        ("pairs", [["a", 1]], "a pair is first:second"),
        ("pairs", ["a:"], "a pair is first:second"),
        ("pairs", [{"drawer-open": "drawer-close"}], "a pair is first:second"),
        ("pairs", {"drawer-open": "drawer-close"}, "it takes paper, or pairs such as"),
        ("pairs", 5, "it takes paper, or pairs such as"),
    ],
)
def test_what_cannot_be_expanded_says_how(path: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        expand(settings()[path], value)
    assert words in str(caught.value)


def test_the_longest_range_is_taken() -> None:
    assert len(expand(settings()["seeds"], f"0-{MOST_SEEDS - 1}")) == MOST_SEEDS


@pytest.mark.parametrize("value", [["a", "b", "a"], "a,b,a", "a, b, a", "a:b:a", "a > b > a"])
def test_tasks_are_one_entry_of_pairs(value: Any) -> None:
    assert expand_tasks(value) == [["a", "b", "a"]]


@pytest.mark.parametrize("value", ["a", ["a"], [], None, 5, "a,,b", ["a", 5], ["a", ""], [["a", "b"]], {"a": "b"}])
def test_what_is_no_sequence_of_tasks(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^tasks is .*; it takes two tasks or more, such as \[a, b, a, b\]$"):
        expand_tasks(value)
