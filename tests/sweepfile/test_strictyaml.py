from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from nbsp_ray.sweepfile.strictyaml import parse, parse_value, shown


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1e6", 1e6),
        ("1E+6", 1e6),
        ("3e-4", 3e-4),
        (".5", 0.5),
        ("1.", 1.0),
        ("-2", -2),
        ("+2", 2),
        ("1_000_000", 1_000_000),
        ("010", 10),
        ("1.0", 1.0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("No", "No"),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("0x10", "0x10"),
        ("0-4", "0-4"),
        ("1__0", "1__0"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("e5", "e5"),
        (".", "."),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("!!float 5", 5.0),
        ("drawer-open:drawer-close", "drawer-open:drawer-close"),
        ("drawer-open > drawer-close", "drawer-open > drawer-close"),
        ("9" * 400, float("inf")),
        ("[1, {a: b}]", [1, {"a": "b"}]),
    ],
)
def test_scalars_are_what_they_look_like(text: str, value: Any) -> None:
    found, wrong = parse_value(text)
    assert wrong is None
    assert found == value
    assert type(found) is type(value)


def test_plain_yaml_still_reads_a_rate_as_text() -> None:
    """Why this module is there; if it fails, PyYAML has changed."""
    assert yaml.safe_load("1e-3") == "1e-3"
    assert yaml.safe_load("{a: 1, a: 2}") == {"a": 2}


def test_lines_are_those_of_the_keys_and_items() -> None:
    document = parse("# comment\nsac:\n  tau: 0.1\n\nseeds:\n  - 0\n  - 1\nm: [a,\n  b]\n")
    assert document.lines == {
        ("sac",): 2,
        ("sac", "tau"): 3,
        ("seeds",): 5,
        ("seeds", 0): 6,
        ("seeds", 1): 7,
        ("m",): 8,
        ("m", 0): 8,
        ("m", 1): 9,
    }


def test_every_key_given_twice_is_named_with_both_lines() -> None:
    document = parse("a: 1\nb: {c: 1, c: 2}\na: 2\n")
    assert document.data == {"a": 1, "b": {"c": 1}}
    assert document.problems == [
        (2, "'b.c' is given twice, first on line 2"),
        (3, "'a' is given twice, first on line 1"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: [1\nb: 2", 2, "this is not YAML"),
        ("a: 1\n\tb: 2", 2, "this is not YAML"),
        ("a: 1\n---\nb: 2", 2, "single document"),
        ("a: b: c", 1, "mapping values are not allowed"),
        ("a: *x", 1, "undefined alias"),
        ("a: \x07", 1, "this is not YAML"),
        ("a: 1\nb: !!python/name:os.system ''", 2, "!!python/name:os.system has no meaning"),
        ("a: !!int x", 1, "!!int has no meaning"),
        ("a: !own x", 1, "!own has no meaning"),
        ("? [1, 2]\n: 3", 1, "a key must be a single word"),
        ("a: &x [*x]", 1, "an anchor that contains itself"),
    ],
)
def test_what_cannot_be_read_is_a_problem_with_its_line(text: str, line: int, words: str) -> None:
    ((found, problem),) = parse(text).problems
    assert found == line
    assert words in problem


def test_what_an_anchor_names_can_be_merged_and_what_stands_beside_it_wins() -> None:
    text = """x-a: &a {tau: 1, gamma: 2}
x-b: &b
  <<: *a
  gamma: 3
  alpha: 4
one: {<<: *b, tau: 5}
two:
  alpha: 6
  <<: [*a, *b]
"""
    found = parse(text)
    assert found.problems == []
    assert found.data["one"] == {"tau": 5, "gamma": 3, "alpha": 4}
    assert found.data["two"] == {"alpha": 6, "tau": 1, "gamma": 2}
    assert found.data == yaml.safe_load(text)
    lines = {keys[1]: line for keys, line in found.lines.items() if keys[:1] == ("one",) and len(keys) == 2}
    assert lines == {"tau": 6, "gamma": 4, "alpha": 5}


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: 1\n<<: 2", 2, "<< takes settings that an anchor names"),
        ("b: {<<: [3]}", 1, "<< takes settings that an anchor names"),
        ("a: &x\n  <<: *x", 1, "an anchor that contains itself"),
        ("a: &x {b: 1}\n<<: *x\n<<: *x", 3, "'<<' is given twice, first on line 2"),
    ],
)
def test_what_cannot_be_merged_is_a_problem(text: str, line: int, problem: str) -> None:
    ((found, words),) = parse(text).problems
    assert found == line
    assert words.startswith(problem)


def test_anchors_stand_for_what_they_name() -> None:
    document = parse("first: &one {env_steps: 5}\nsecond: *one")
    assert document.data == {"first": {"env_steps": 5}, "second": {"env_steps": 5}}
    assert document.problems == []


@pytest.mark.parametrize("text", ["", "# nothing", "---"])
def test_nothing_is_nothing(text: str) -> None:
    assert parse(text).data is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@hypothesis_settings(deadline=None, max_examples=100)
@given(JSON)
def test_what_yaml_writes_is_read_back(value: Any) -> None:
    assert parse(yaml.safe_dump(value, allow_unicode=False)).data == value


@hypothesis_settings(deadline=None, max_examples=100)
@given(st.text())
def test_no_text_is_too_much(text: str) -> None:
    parse(text)


def test_long_values_are_cut_short() -> None:
    assert shown([1, "a", True, None]) == '[1, "a", true, null]'
    assert len(shown("x" * 1000)) == 60
